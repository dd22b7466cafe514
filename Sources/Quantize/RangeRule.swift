/// How a tensor's integer range is chosen from what calibration saw.
public enum RangeRule: Equatable, Sendable {
    /// The extremes.
    case minMax
    /// The share of values that stays unclipped, e.g. 0.9999.
    case percentile(Double)
    /// The range with the least mean squared error after rounding and clipping.
    case mse

    public var name: String {
        switch self {
        case .minMax: "minmax"
        case .percentile(let p): "percentile:\(p)"
        case .mse: "mse"
        }
    }

    /// Range of real values that codes 0 ... 255 span. Contains 0; never empty.
    func range(_ histogram: Histogram) -> (low: Float, high: Float) {
        guard histogram.count > 0 else { return (0, 1) }
        var low = min(histogram.low, 0)
        var high = max(histogram.high, 0)
        switch self {
        case .minMax: break
        case .percentile(let p):
            high = max(histogram.quantile(p), 0)
            low = histogram.low < 0 ? min(histogram.quantile(1 - p), 0) : 0
        case .mse:
            (low, high) = Self.leastError(histogram, low, high)
        }
        // A channel that is always 0 still needs a scale.
        if high - low < 1e-12 { high = low + 1e-6 }
        return (low, high)
    }

    /// Shrinks the extremes by a common factor and keeps the best of 64 candidates.
    private static func leastError(_ histogram: Histogram, _ low: Float, _ high: Float) -> (Float, Float) {
        var best = (low, high)
        var least = Double.infinity
        for step in 0..<64 {
            let factor = 1 - Float(step) / 72
            let candidate = (low * factor, high * factor)
            let error = squaredError(histogram, candidate.0, candidate.1)
            if error < least { (least, best) = (error, candidate) }
        }
        return best
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
