import GraphIR

/// Integer coding of one value: real = scale[channel] · (code - zeroPoint).
public struct ValueCoding: Equatable, Sendable {
    /// One for the whole tensor, or one per channel.
    public var scales: [Float]
    public var zeroPoint: UInt8
    /// Real values at the ends of the codes (of the widest channel).
    public var low: Float
    public var high: Float
    /// 16-bit codes -32,768 ... 32,767 with zero point 0, instead of bytes.
    public var isWide = false

    public func scale(_ channel: Int) -> Float { scales.count == 1 ? scales[0] : scales[channel] }

    /// The same with steps of at least four accumulator steps: finer ones carry next to no information, and a requantization
    /// factor must stay under a quarter (docs/arithmetic.md).
    func coarsened(for accumulatorScales: [Double]) -> ValueCoding {
        var result = self
        for o in accumulatorScales.indices {
            let index = scales.count == 1 ? 0 : o
            result.scales[index] = max(result.scales[index], Float(accumulatorScales[o] * 4.001))
        }
        return result
    }

    /// Codes 0 ... 255 over [low, high]; 0 lies exactly on a code, so that zero padding is exact.
    static func unsigned(low: Float, high: Float) -> ValueCoding {
        let scale = (high - low) / 255
        let zeroPoint = UInt8(min(max((-low / scale).rounded(), 0), 255))
        return ValueCoding(
            scales: [scale], zeroPoint: zeroPoint, low: -Float(zeroPoint) * scale,
            high: Float(255 - Int(zeroPoint)) * scale)
    }

    /// Bytes around a zero point of 128, -high ... high of every channel.
    static func centred(high: [Float]) -> ValueCoding {
        let most = high.max() ?? 0
        return ValueCoding(scales: high.map { max($0, 1e-6) / 127 }, zeroPoint: 128, low: -most, high: most)
    }

    /// 16-bit codes over -high ... high of every channel (or of all, when there is one).
    static func wide(high: [Float]) -> ValueCoding {
        let most = high.max() ?? 0
        return ValueCoding(
            scales: high.map { max($0, 1e-6) / 32767 }, zeroPoint: 0, low: -most, high: most, isWide: true)
    }

    /// 16-bit codes over the same range.
    var widened: ValueCoding { .wide(high: [max(-low, high)]) }

    /// One scale per channel, all starting at 0: free after a ReLU, because the next convolution's weights absorb it.
    static func perChannel(high: [Float]) -> ValueCoding {
        ValueCoding(scales: high.map { $0 / 255 }, zeroPoint: 0, low: 0, high: high.max() ?? 0)
    }
}
