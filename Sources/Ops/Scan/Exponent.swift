/// The decay of a state, 2^-u for u = Δ · alpha, in 16-bit arithmetic so that one vector instruction serves 32 states:
///
///     Δ·alpha = hi · 2^16 + lo                 (32 bits, the upper e of them the integer part of u)
///     i = min(hi + r, 2^16 - 1) >> (16 - e)    r = 2^(15-e): u rounded to a whole number
///     f = the 16 bits below, signed            -0.5 ..< 0.5 with 16 fraction bits; lo + r, saturated, rounds it
///     E = f·(c1 - f·(c2 - f·(c3 - f·c4)))      1 - 2^-f with 15 fraction bits, every product rounded
///     weight = ((2^15 - E) >> i) - 2^15        2^15 · (2^-u - 1), in -2^15 ... 0
///
/// u stays below 2^e - 0.5, else the whole number saturates; the converter sees to it. The coefficients are a minimax fit of (1 - 2^-f) / f over -0.5 ... 0.5 (within 1e-5), rounded together. The weight is
/// within 2.3 units of 2^-15, and for small u, where only the rounding remains, within 0.85.
public enum Exponent {
    /// With 14, 13, 12 and 11 fraction bits.
    public static let coefficients: (c1: Int16, c2: Int16, c3: Int16, c4: Int16) = (11356, 1968, 229, 20)
    /// Integer bits of u.
    public static let bitsRange: ClosedRange<Int32> = 1...12

    /// - Parameters:
    ///   - step, rate: Δ and alpha, whose product has 32 - bits fraction bits.
    /// - Returns: 2^15 · (2^-u - 1)
    public static func weight(step: UInt16, rate: UInt16, bits: Int32) -> Int32 {
        let product = UInt32(step) &* UInt32(rate)
        let r = UInt32(1) << UInt32(15 - bits)
        let (high, low) = (product >> 16, min(product & 0xFFFF &+ r, 0xFFFF))
        let whole = min(high &+ r, 0xFFFF) >> UInt32(16 - bits)
        let f = Int16(truncatingIfNeeded: ((high << 16 | low) << UInt32(bits)) >> 16)
        let c = coefficients
        let loss = rounded(f, c.c1 &- rounded(f, c.c2 &- rounded(f, c.c3 &- rounded(f, c.c4))))
        let kept = UInt32(UInt16(truncatingIfNeeded: 0x8000 &- Int32(loss)))
        return Int32(whole > 15 ? 0 : kept >> whole) &- 0x8000
    }

    /// (a·b + 2^14) >> 15
    private static func rounded(_ a: Int16, _ b: Int16) -> Int16 {
        Int16(truncatingIfNeeded: (Int32(a) &* Int32(b) &+ 0x4000) >> 15)
    }
}
