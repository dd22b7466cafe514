import COps

/// Per-channel constants of a normalization, 32 bytes in the `.mkq` file. With a statistic's mean μ and deviation σ in codes
/// of the input: `y = zeroPoint + bias / 2^16 + (a - μ) / σ · gain / 2^gainShift`.
public struct NormChannel: Equatable, Sendable {
    public static let size = 32
    public static let gainShiftRange: ClosedRange<Int32> = 0...62
    public static let epsilonShiftRange: ClosedRange<Int32> = -32...62

    /// γ / S_y as a mantissa, |gain| < 2^31.
    public var gain: Int32
    public var gainShift: Int32
    /// β / S_y in 2^-16 of an output code.
    public var bias: Int32
    /// ε / s_a² = epsilon / 2^epsilonShift, s_a being the real value of one input code.
    public var epsilon: UInt32
    public var epsilonShift: Int32

    public init(gain: Int32, gainShift: Int32, bias: Int32, epsilon: UInt32, epsilonShift: Int32) {
        self.gain = gain
        self.gainShift = gainShift
        self.bias = bias
        self.epsilon = epsilon
        self.epsilonShift = epsilonShift
    }
}

/// Exact sums over the codes of one group of a normalization.
public struct NormSums: Equatable, Sendable {
    /// Number of codes, below 2^31.
    public var count: Int64
    public var sum: Int64
    public var squares: Int64

    public init(count: Int64 = 0, sum: Int64 = 0, squares: Int64 = 0) {
        self.count = count
        self.sum = sum
        self.squares = squares
    }

    public static func += (a: inout NormSums, b: NormSums) {
        a.count += b.count
        a.sum += b.sum
        a.squares += b.squares
    }
}

/// Statistics of one group, reduced to what every channel of it needs. Integers only, the same on every machine.
///
/// With n codes of sum S and sum of squares Q, `n·Q - S²` is n² times the variance without any rounding. It is brought to
/// `v · 2^exponent` with v in 2^60 ..< 2^62, so that the integer root `d = ⌊√v⌋` has a relative error below 2^-30.
public struct NormScale: Sendable {
    private let count: Int64
    private let sum: Int64
    private let root: UInt64
    private let exponent: Int

    /// - Parameter channel: whose epsilon is used (that of any channel of the group: they share one input scale).
    public init(_ sums: NormSums, _ channel: NormChannel) {
        let n = UInt128(UInt64(sums.count))
        let variance = n * UInt128(UInt64(sums.squares)) - UInt128(sums.sum.magnitude) * UInt128(sums.sum.magnitude)
        let product = n * n * UInt128(channel.epsilon)
        let shift = Int(channel.epsilonShift)
        let epsilon = shift >= 0 ? product >> UInt128(shift) : product << UInt128(-shift)
        let total = variance + max(epsilon, 1)
        var exponent = 66 - total.leadingZeroBitCount  // total in 2^(61 + exponent) ..< 2^(62 + exponent)
        if exponent & 1 != 0 { exponent += 1 }
        let v = UInt64(truncatingIfNeeded: exponent >= 0 ? total >> UInt128(exponent) : total << UInt128(-exponent))
        count = sums.count
        sum = sums.sum
        self.exponent = exponent
        root = Self.squareRoot(v)
    }

    /// ⌊√v⌋ for v in 2^60 ..< 2^62: Newton from above, which falls until it is there. The start, the tangent of the root at
    /// 2^61, is 6 % too large at most.
    static func squareRoot(_ v: UInt64) -> UInt64 {
        let slope: UInt64 = 3_037_000_500  // 2^31.5, rounded up
        var x = (slope &* (v >> 31)) >> 32 &+ slope >> 2 &+ 2
        while x &* x > v { x = (x &+ v / x) >> 1 }
        return x
    }

    /// The channel's multiplier, offset (zero point and the half for rounding included) and shift.
    public func affine(_ channel: NormChannel, zeroPoint: Int32, element: ElementType) -> mk_affine {
        var (multiplier, shift) = multiplier(channel)
        // `a · 2^15 · multiplier / 2^32` is divided by 2^(shift - 17) in the end; before that, 8 or 16 bits of output and
        // shift - 17 bits of fraction must fit into a 32-bit lane.
        let most = element == .u8 ? 39 : 31
        if shift > most {
            multiplier = multiplier >> min(shift - most, 62)
            shift = most
        } else if shift < 18 {
            multiplier = multiplier << min(18 - shift, 31)
            shift = 18
        }
        multiplier = min(multiplier, Int64(Int32.max))
        let signed = channel.gain < 0 ? -multiplier : multiplier
        let fraction = shift - 17
        // (zeroPoint + bias / 2^16 - mean · multiplier / 2^shift) · 2^fraction + 2^(fraction - 1), rounded down once.
        let n = Int128(count)
        let constant = ((Int128(zeroPoint) << 16) + Int128(channel.bias)) << Int128(fraction + 1)
        let numerator = (constant + (Int128(1) << Int128(fraction + 16))) * n - Int128(sum) * Int128(signed)
        let offset = Self.floorDivide(numerator, n << 17)
        return mk_affine(
            multiplier: Int32(signed), offset: Int32(truncatingIfNeeded: min(max(offset, -1 << 30), 1 << 30)),
            shift: Int32(fraction))
    }

    /// |gain| · n / √(v · 2^exponent) as `multiplier / 2^shift`, multiplier in 2^30 ..< 2^31 (0 for a gain of 0).
    private func multiplier(_ channel: NormChannel) -> (Int64, Int) {
        let product = UInt64(channel.gain.magnitude) * UInt64(count)
        guard product > 0 else { return (0, 32) }
        let shift = product.leadingZeroBitCount - 2  // product in 2^61 ..< 2^62
        let quotient = (shift >= 0 ? product << UInt64(shift) : product >> UInt64(-shift)) / root
        let total = Int(channel.gainShift) + exponent / 2 + shift
        return quotient >= 1 << 31 ? (Int64(quotient >> 1), total - 1) : (Int64(quotient), total)
    }

    private static func floorDivide(_ a: Int128, _ b: Int128) -> Int128 {
        let (quotient, remainder) = a.quotientAndRemainder(dividingBy: b)
        return remainder < 0 ? quotient - 1 : quotient
    }
}
