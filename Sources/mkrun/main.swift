print("mkrun")
