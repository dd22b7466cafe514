import Glibc

// The C library's functions under names that do not collide with Swift's.
func expm1Value(_ x: Double) -> Double { Glibc.expm1(x) }
func erfcValue(_ x: Double) -> Double { Glibc.erfc(x) }
