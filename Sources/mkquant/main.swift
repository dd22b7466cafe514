print("mkquant")
