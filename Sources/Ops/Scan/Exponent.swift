/// 2^-u for u in sixteenths with 16 fraction bits, by 16 segments of one quadratic each: three look-ups of 16 words, which
/// a vector register holds. The error is below 2^-20 of the result's unit before the last rounding.
public enum Exponent {
    /// 2^24 · 2^(-i/16), the slope and the curvature of segment i.
    static let base: InlineArray<16, UInt32> = [
        16_777_216, 16_065_917, 15_384_775, 14_732_511, 14_107_901, 13_509_772, 12_937_002, 12_388_516,
        11_863_283, 11_360_319, 10_878_679, 10_417_458, 9_975_792, 9_552_851, 9_147_842, 8_760_003,
    ]
    static let slope: InlineArray<16, UInt32> = [
        726_706, 695_896, 666_392, 638_139, 611_084, 585_176, 560_367, 536_609,
        513_858, 492_073, 471_210, 451_233, 432_102, 413_782, 396_239, 379_440,
    ]
    static let curvature: InlineArray<16, UInt32> = [
        15_407, 14_754, 14_128, 13_529, 12_955, 12_406, 11_880, 11_377,
        10_894, 10_432, 9_990, 9_566, 9_161, 8_773, 8_401, 8_044,
    ]

    /// 2^16 · 2^(-u / 2^16), rounded; 0 ... 65,536.
    /// - Parameter u: below 20 · 2^16.
    public static func decay(_ u: UInt32) -> UInt32 {
        let i = Int((u >> 12) & 15)
        let r = u & 4095
        let bend = slope[i] &- ((curvature[i] &* r) >> 12)
        let value = base[i] &- ((bend &* r) >> 12)
        let shift = 8 &+ (u >> 16)
        return (value &+ (1 << (shift &- 1))) >> shift
    }
}
