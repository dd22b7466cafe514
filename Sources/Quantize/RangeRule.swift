import Glibc

/// How a tensor's integer range is chosen from what calibration saw.
public enum RangeRule: Equatable, Sendable {
    /// The extremes.
    case minMax
    /// A moving average of the extremes of the volumes or patches: one outlier among many does not decide.
    case average
    /// The share of values that stays unclipped, e.g. 0.9999.
    case percentile(Double)
    /// The range with the least mean squared error after rounding and clipping.
    case mse
    /// The range whose codes tell most of the distribution: the least Kullback-Leibler divergence of the coded histogram from
    /// the real one, what lies outside counting at the ends (Migacz 2017, as TensorRT's calibration does).
    case entropy

    /// What is worth trying when labels differ more than they should.
    public static let usual: [RangeRule] = [
        .mse, .minMax, .average, .entropy, .percentile(0.999), .percentile(0.9999), .percentile(0.99999),
    ]

    public var name: String {
        switch self {
        case .minMax: "minmax"
        case .average: "average"
        case .percentile(let p): "percentile:\(p)"
        case .mse: "mse"
        case .entropy: "entropy"
        }
    }

    /// Range of real values that codes 0 ... 255 span. Contains 0; never empty.
    func range(_ histogram: Histogram) -> (low: Float, high: Float) {
        guard histogram.count > 0 else { return (0, 1) }
        var low = min(histogram.low, 0)
        var high = max(histogram.high, 0)
        switch self {
        case .minMax: break
        case .average: (low, high) = (min(histogram.averageLow, 0), max(histogram.averageHigh, 0))
        case .percentile(let p):
            high = max(histogram.quantile(p), 0)
            low = histogram.low < 0 ? min(histogram.quantile(1 - p), 0) : 0
        case .mse:
            (low, high) = Self.least(low, high) { Self.squaredError(histogram, $0, $1) }
        case .entropy:
            (low, high) = Self.least(low, high) { Self.divergence(histogram, $0, $1) }
        }
        // A channel that is always 0 still needs a scale.
        if high - low < 1e-12 { high = low + 1e-6 }
        return (low, high)
    }

    /// Shrinks the extremes by a common factor and keeps the best of 64 candidates.
    private static func least(_ low: Float, _ high: Float, _ loss: (Float, Float) -> Double) -> (Float, Float) {
        var best = (low, high)
        var least = Double.infinity
        for step in 0..<64 {
            let factor = 1 - Float(step) / 72
            let candidate = (low * factor, high * factor)
            let error = loss(candidate.0, candidate.1)
            if error < least { (least, best) = (error, candidate) }
        }
        return best
    }

    /// Of the histogram after coding in 256 steps from the one before, in nats: the values of a step become equally frequent in
    /// those of its bins that hold any.
    private static func divergence(_ histogram: Histogram, _ low: Float, _ high: Float) -> Double {
        let scale = 255 / (high - low)
        func level(_ bin: Int) -> Int { min(max(Int(((histogram.centre(bin) - low) * scale).rounded()), 0), 255) }
        var inside = [Double](repeating: 0, count: 256)
        var occupied = [Double](repeating: 0, count: 256)
        for (bin, amount) in histogram.bins.enumerated() where amount > 0 {
            let value = histogram.centre(bin)
            guard value >= low, value <= high else { continue }
            inside[level(bin)] += Double(amount)
            occupied[level(bin)] += 1
        }
        let (total, seen) = (Double(histogram.count), inside.reduce(0, +))
        guard seen > 0 else { return .infinity }
        // What is clipped is as frequent as before in the real histogram, but at the ends; the coded one knows nothing of it.
        var sum = 0.0
        var clipped = [0.0, 0.0]
        var ends = [0.0, 0.0]
        for (bin, amount) in histogram.bins.enumerated() where amount > 0 {
            let value = histogram.centre(bin)
            if value < low || value > high {
                clipped[value > high ? 1 : 0] += Double(amount)
                continue
            }
            let coded = inside[level(bin)] / occupied[level(bin)] / seen
            let real = Double(amount) / total
            if level(bin) == 0 { ends[0] = max(ends[0], coded) }
            if level(bin) == 255 { ends[1] = max(ends[1], coded) }
            sum += real * log(real / coded)
        }
        for side in 0..<2 where clipped[side] > 0 {
            let real = clipped[side] / total
            sum += real * log(real / max(ends[side], 1e-9))
        }
        return sum
    }

    /// Σ over the values of the rounding error (step²/12 inside, distance to the end outside).
    private static func squaredError(_ histogram: Histogram, _ low: Float, _ high: Float) -> Double {
        let step = Double(high - low) / 255
        let rounding = step * step / 12
        var error = 0.0
        for (bin, amount) in histogram.bins.enumerated() where amount > 0 {
            let value = histogram.centre(bin)
            let outside = Double(max(value - high, low - value, 0))
            error += Double(amount) * (outside > 0 ? outside * outside : rounding)
        }
        return error
    }
}
