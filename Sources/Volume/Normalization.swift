/// How voxel values become the network's input numbers. The model file says which.
public enum Normalization: Sendable, Equatable {
    /// x = v.
    case none
    /// x = clip((v - q_low) / (q_high - q_low + epsilon), 0, 1) with quantiles over all voxels.
    case quantile(low: Double, high: Double, epsilon: Double)
    /// x = clip((v - min) / (max - min), 0, 1).
    case minMax
    /// x = clip((v - mean) / deviation, -clip, clip); `clip` 0 means no limit. With `nonzeroOnly` the statistics are those
    /// of the voxels that are not 0, and the others stay 0.
    case zScore(nonzeroOnly: Bool, clip: Double)
}

/// One channel's map from real voxel value to input number, in double: x = clip((v - offset) * gain / divisor, low, high),
/// then rounded to float32.
public struct IntensityMap: Sendable, Equatable {
    public var offset: Double
    /// One of `gain` and `divisor` is 1, so the other acts with a single rounding.
    public var gain: Double
    public var divisor: Double
    public var low: Double
    public var high: Double
    /// A value of exactly 0 gives x = 0.
    public var keepsZero: Bool

    /// All values give x = 0 (for an image without contrast).
    static let flat = IntensityMap(offset: 0, gain: 0, low: 0, high: 0)

    public init(
        offset: Double, gain: Double = 1, divisor: Double = 1, low: Double = -.infinity,
        high: Double = .infinity,
        keepsZero: Bool = false
    ) {
        self.offset = offset
        self.gain = gain
        self.divisor = divisor
        self.low = low
        self.high = high
        self.keepsZero = keepsZero
    }

    /// The map for a volume, from its own statistics.
    /// - Parameter warnings: gets a line when the image is constant; the map then gives x = 0 everywhere except for `none`.
    public init(_ rule: Normalization, of volume: VoxelVolume, warnings: inout [String]) {
        self.init(rule, passes: volume, warnings: &warnings)
    }

    /// The same for voxels that come in parts.
    init<P: VoxelPasses>(_ rule: Normalization, passes volume: P, warnings: inout [String]) throws(P.Failure) {
        if case .none = rule {
            self.init(offset: 0)
            return
        }
        // One call, because each is a pass over the volume.
        var fractions = [0.0, 1]
        if case .quantile(let low, let high, _) = rule { fractions += [low, high] }
        let ends = try volume.quantilesByPasses(fractions)
        let spread = ends[1] - ends[0]
        guard spread > 0, spread.isFinite else {
            warnings.append(
                "\(volume.header.path): \(spread.isFinite ? "constant image (every voxel is \(ends[0]))" : "value range is not finite"); normalized to 0"
            )
            self = .flat
            return
        }
        switch rule {
        case .none: self.init(offset: 0)
        case .minMax: self.init(offset: ends[0], divisor: spread, low: 0, high: 1)
        case .quantile(_, _, let epsilon):
            self.init(offset: ends[2], divisor: ends[3] - ends[2] + epsilon, low: 0, high: 1)
        case .zScore(let nonzeroOnly, let clip):
            let found = try volume.statisticsByPasses()
            let limit = clip > 0 ? clip : .infinity
            self.init(
                offset: nonzeroOnly ? found.nonzeroMean : found.mean,
                divisor: nonzeroOnly ? found.nonzeroDeviation : found.deviation, low: -limit, high: limit,
                keepsZero: nonzeroOnly)
        }
        guard divisor > 0, divisor.isFinite, offset.isFinite else {
            warnings.append(
                "\(volume.header.path): no contrast to normalize by (divisor \(divisor)); normalized to 0")
            self = .flat
            return
        }
    }

    /// The input number for a real voxel value. Never NaN.
    @inline(__always)
    public func number(_ value: Double) -> Float {
        if keepsZero && value == 0 { return 0 }
        let x = (value - offset) * gain / divisor
        // The comparisons put NaN (an infinite value times 0) on 0.
        let clipped = x < low ? low : x > high ? high : x == x ? x : 0
        return Float(clipped)
    }
}

/// What a code of the network's input is stored as: a byte, or 16 bits with a sign.
public protocol InputCode: FixedWidthInteger, BitwiseCopyable, Sendable {}

extension UInt8: InputCode {}
extension Int16: InputCode {}

/// From a real voxel value to the network's first integer code:
/// clamp(floor(x / scale + 0.5) + zeroPoint, least, most), x from the intensity map, division and sum in double; least and most are
/// those of the code's type.
public struct VoxelCoder<Code: InputCode>: Sendable, Equatable {
    public let map: IntensityMap
    /// Real step of one code, > 0.
    public let scale: Double
    /// The code of x = 0.
    public let zeroPoint: Code

    public init(map: IntensityMap, scale: Double, zeroPoint: Code) {
        precondition(scale > 0 && scale.isFinite, "scale must be positive")
        self.map = map
        self.scale = scale
        self.zeroPoint = zeroPoint
    }

    /// The code of a real voxel value.
    @inline(__always)
    public func code(_ value: Double) -> Code {
        let step = (Double(map.number(value)) / scale + 0.5).rounded(.down) + Double(zeroPoint)
        return step <= Double(Code.min) ? .min : step >= Double(Code.max) ? .max : Code(step)
    }
}
