/// The one rounding rule of the project: scales an int32 accumulator to an integer code.
///
///     y = clamp(zeroPoint + ((Int64(acc) · multiplier + 2^(shift-1)) >> shift))
///
/// A single 64-bit product, a single rounding (half up), an arithmetic shift. Every kernel, in every
/// instruction set, produces exactly this value. See docs/arithmetic.md for the derivation of the ranges.
///
/// - `multiplier` is in 0 ..< 2^31 (the converter emits 2^30 ..< 2^31 except where `shift` is at its limit).
/// - `shift` is in 33 ... 53. From 33 on the rounding constant is a multiple of 2^32, so that a SIMD unit finishes with the
///   upper 32 bits of the product alone; up to 53 the sum `product + rounding + (zeroPoint << shift)` stays below 2^63 for
///   every int32 accumulator and every zero point in 0 ... 255.
public struct Requantizer: Equatable, Sendable {
    public static let multiplierRange: Range<Int64> = 0..<(1 << 31)
    public static let shiftRange: ClosedRange<Int32> = 33...53

    public let multiplier: Int32
    public let shift: Int32

    /// Precondition: both values are in the ranges above (a file reader checks them before it gets here).
    public init(multiplier: Int32, shift: Int32) {
        precondition(multiplier >= 0 && Self.shiftRange.contains(shift), "requantizer out of range")
        self.multiplier = multiplier
        self.shift = shift
    }

    /// The scaled value before the clamp. |result| < 2^31 for every accumulator: |acc · multiplier| is below
    /// 2^62 and the shift is at least 33, so adding a zero point of 8 bits cannot overflow an Int32 either.
    @inlinable
    public func scaled(_ accumulator: Int32, zeroPoint: Int32 = 0) -> Int32 {
        let product = Int64(accumulator) &* Int64(multiplier)
        let rounding = (Int64(1) &<< Int64(shift &- 1)) &+ (Int64(zeroPoint) &<< Int64(shift))
        return Int32(truncatingIfNeeded: (product &+ rounding) &>> Int64(shift))
    }

    /// `scaled` clamped to an unsigned byte.
    @inlinable
    public func u8(_ accumulator: Int32, zeroPoint: Int32) -> UInt8 {
        UInt8(truncatingIfNeeded: min(max(scaled(accumulator, zeroPoint: zeroPoint), 0), 255))
    }

    /// `scaled` clamped to a signed 16-bit value.
    @inlinable
    public func i16(_ accumulator: Int32, zeroPoint: Int32) -> Int16 {
        Int16(truncatingIfNeeded: min(max(scaled(accumulator, zeroPoint: zeroPoint), -32768), 32767))
    }
}
