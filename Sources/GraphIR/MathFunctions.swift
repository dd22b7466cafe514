import Glibc

// The C library's functions under names that do not collide with Swift's.
func expValue(_ x: Double) -> Double { Glibc.exp(x) }
func log1pValue(_ x: Double) -> Double { Glibc.log1p(x) }
func expm1Value(_ x: Double) -> Double { Glibc.expm1(x) }
func erfcValue(_ x: Double) -> Double { Glibc.erfc(x) }
func logValue(_ x: Double) -> Double { Glibc.log(x) }
func powValue(_ x: Double, _ y: Double) -> Double { Glibc.pow(x, y) }
