/// Class probabilities of a voxel from its integer scores, as bytes that add up to exactly 255:
///
///     w_c = 2^15 · 2^(-(max - s_c) · k)             k = scale of the scores · log2(e), by `Exponent`
///     p_c = ⌊255 · w_c / Σ w⌋, and what is missing from 255 goes to the winner
///
/// A weight is within 2.3 · 2^-15 of the real one, so with n classes p_c / 255 is within 2.3 · (n + 1) · 2^-15 + 1 / 255 of the
/// softmax for all but the winner, which may have up to n / 255 more. The winner's is the largest.
public struct Softmax: Equatable, Sendable {
    public let classes: Int
    private let rate: UInt16
    private let bits: Int32
    /// Differences are shifted up where one unit is a large step.
    private let shift: Int

    /// - Parameter scale: real value of one unit of score, positive.
    public init(classes: Int, scale: Float) {
        self.classes = classes
        var shift = 0
        var unit = Self.rate(of: scale)
        // The largest exponent that `Exponent` can tell is 2^12; differences beyond saturate, where the weight is 0 anyhow.
        while unit > 1 << 44, shift < 16 {
            unit >>= 1
            shift += 1
        }
        self.shift = shift
        var bits: Int32 = 1
        while bits < 12, ((UInt64(1) << UInt64(bits)) - 1) << 32 < unit { bits += 1 }
        self.bits = bits
        rate = UInt16(min(max(unit >> UInt64(16 + bits), 1), 65535))
    }

    /// ⌊2^48 · scale · log2(e)⌋, at most 2^63, from the number's bits: boards may have no floating point.
    private static func rate(of scale: Float) -> UInt64 {
        let log2e: UInt64 = 1_549_082_005  // 30 fraction bits
        let product = UInt64(scale.significandBitPattern | 1 << 23) * log2e
        let exponent = Int(scale.exponentBitPattern) - 127 - 5
        guard exponent <= 8 else { return 1 << 63 }
        return exponent >= 0 ? product << UInt64(exponent) : product >> UInt64(min(-exponent, 63))
    }

    /// 2^15 · 2^(-difference · k)
    @inline(__always)
    func weight(_ difference: Int32) -> Int32 {
        let step = min(Int64(difference) << Int64(shift), 65535)
        return Exponent.weight(step: UInt16(truncatingIfNeeded: step), rate: rate, bits: bits) &+ 0x8000
    }

    /// - Parameters:
    ///   - winner: a class with the largest score.
    ///   - score: of a class; called twice for each.
    ///   - store: gets class and probability, each class once but the winner last.
    @inline(__always)
    public func run(winner: Int, score: (Int) -> Int32, store: (Int, UInt8) -> Void) {
        let most = score(winner)
        var total: Int32 = 0
        for c in 0..<classes { total &+= weight(most &- score(c)) }
        var rest: Int32 = 255
        for c in 0..<classes where c != winner {
            let part = 255 &* weight(most &- score(c)) / total
            rest &-= part
            store(c, UInt8(truncatingIfNeeded: part))
        }
        store(winner, UInt8(truncatingIfNeeded: rest))
    }

    /// One row.
    /// - Parameters:
    ///   - scores: the row's first word in block 0, i16 or u8.
    ///   - labels: what `Argmax` made of the same columns, one or two bytes each.
    ///   - output: `[class][columns]`, `plane` bytes from class to class.
    public func run(
        scores: UnsafeRawPointer, layout: TensorLayout, columns: Range<Int>, labels: UnsafeRawPointer,
        output: UnsafeMutablePointer<UInt8>, plane: Int
    ) {
        let isWide = layout.element == .i16
        let isLong = classes > 256
        for (index, x) in columns.enumerated() {
            let winner =
                unsafe isLong
                ? Int(labels.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self))
                : Int(labels.load(fromByteOffset: index, as: UInt8.self))
            let column = unsafe scores + 4 * x
            run(
                winner: winner,
                score: { c in
                    unsafe isWide
                        ? Int32(
                            column.load(fromByteOffset: (c >> 1) * layout.blockStride + 2 * (c & 1), as: Int16.self))
                        : Int32(column.load(fromByteOffset: (c >> 2) * layout.blockStride + (c & 3), as: UInt8.self))
                },
                store: { c, value in unsafe output[c * plane + index] = value })
        }
    }
}
