/// Distribution of the values of one channel, in constant memory however many volumes are seen: 2,048 equal bins around
/// zero whose width doubles when a value falls outside.
public struct Histogram: Sendable {
    static let half = 1024
    public private(set) var bins = [Int](repeating: 0, count: 2 * Histogram.half)
    /// Width of a bin, a power of two; bin b covers (b - 1024 ..< b - 1023) · width.
    public private(set) var width: Float = 0x1p-40
    public private(set) var low = Float.infinity
    public private(set) var high = -Float.infinity
    public private(set) var count = 0
    /// Extremes of the inputs one after the other, each new one with a weight of a tenth.
    private(set) var averageLow: Float = 0
    private(set) var averageHigh: Float = 0
    private static let averageWeight: Float = 0.1
    /// Sum of squares, of all values.
    public private(set) var energy = 0.0

    public init() {}

    public mutating func add(_ values: ArraySlice<Float>) {
        guard let least = values.min(), let most = values.max() else { return }
        let share = count == 0 ? 1 : Self.averageWeight
        averageLow += (least - averageLow) * share
        averageHigh += (most - averageHigh) * share
        low = min(low, least)
        high = max(high, most)
        while !(Float(Self.half) * width > max(most, -least)) { doubleWidth() }
        count += values.count
        let perUnit = 1 / width
        var squares = 0.0
        for value in values {
            let bin = Int((value * perUnit).rounded(.down)) + Self.half
            bins[min(max(bin, 0), 2 * Self.half - 1)] += 1
            squares += Double(value) * Double(value)
        }
        energy += squares
    }

    private mutating func doubleWidth() {
        if count == 0 {
            width *= 2
            return
        }
        var merged = [Int](repeating: 0, count: 2 * Self.half)
        for (bin, amount) in bins.enumerated() {
            // Floor division: bin indices relative to zero may be negative.
            merged[((bin - Self.half) >> 1) + Self.half] += amount
        }
        bins = merged
        width *= 2
    }

    public mutating func merge(_ other: Histogram) {
        guard other.count > 0 else { return }
        guard count > 0 else {
            self = other
            return
        }
        var other = other
        while width < other.width { doubleWidth() }
        while other.width < width { other.doubleWidth() }
        for bin in bins.indices { bins[bin] += other.bins[bin] }
        (low, high) = (min(low, other.low), max(high, other.high))
        (averageLow, averageHigh) = (min(averageLow, other.averageLow), max(averageHigh, other.averageHigh))
        count += other.count
        energy += other.energy
    }

    /// Of the values times a positive factor, to a bin's width.
    func scaled(by factor: Float) -> Histogram {
        guard count > 0 else { return self }
        var result = Histogram()
        (result.low, result.high) = (low * factor, high * factor)
        (result.averageLow, result.averageHigh) = (averageLow * factor, averageHigh * factor)
        while !(Float(Self.half) * result.width > max(result.high, -result.low)) { result.width *= 2 }
        for (bin, amount) in bins.enumerated() where amount > 0 {
            let target = Int((centre(bin) * factor / result.width).rounded(.down)) + Self.half
            result.bins[min(max(target, 0), 2 * Self.half - 1)] += amount
        }
        result.count = count
        result.energy = energy * Double(factor * factor)
        return result
    }

    /// Centre of a bin.
    func centre(_ bin: Int) -> Float { (Float(bin - Self.half) + 0.5) * width }

    /// The value below which the share `p` of the values lies, to a bin's width.
    package func quantile(_ p: Double) -> Float {
        var left = p * Double(count)
        for (bin, amount) in bins.enumerated() {
            left -= Double(amount)
            if left <= 0 { return min(max(Float(bin - Self.half + 1) * width, low), high) }
        }
        return high
    }
}
