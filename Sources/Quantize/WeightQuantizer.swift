import COps
import FixedPoint
import GraphIR
import Ops

/// Integer weights of one convolution: symmetric with a scale per output channel, the input's scales folded in first.
struct QuantizedWeights: Equatable, Sendable {
    /// `[out][in][kz][ky][kx]`, -127 ... 127; -32767 ... 32767 where the input has 16 bits.
    var codes: [Int16]
    /// Real value of one accumulator unit, per output channel.
    var accumulatorScales: [Double]
}

enum WeightQuantizer {
    /// - Parameters:
    ///   - inputScales: real value of one input code, per input channel.
    ///   - importance: mean square of the input's codes per channel; errors of weights that meet large codes count more.
    ///   - clips: whether large weights may be cut off for finer steps.
    static func quantize(
        _ conv: ConvWeights, inputScales: [Float], importance: [Double], clips: Bool = true
    ) -> QuantizedWeights {
        let taps = conv.kernel.count
        let perChannel = conv.inChannels * taps
        var result = QuantizedWeights(codes: [], accumulatorScales: [])
        result.codes.reserveCapacity(conv.weights.count)
        for o in 0..<conv.outChannels {
            let folded = (0..<perChannel).map {
                Double(conv.weights[o * perChannel + $0]) * Double(inputScales[$0 / taps])
            }
            // Beside a bias that is 2^28 units large, weights of less than a unit do not matter; the accumulator does.
            let scale = max(
                bestScale(folded, steps: clips ? 40 : 0) { importance[$0 / taps] }, Double(abs(conv.bias[o])) * 0x1p-28)
            result.accumulatorScales.append(scale)
            result.codes += folded.map { Int16(code($0, scale)) }
        }
        return result
    }

    /// Weights for 16-bit input: as fine as Σ|w| · 2^15 + |bias| < 2^31 allows.
    static func quantizeWide(_ conv: ConvWeights, inputScales: [Float]) -> QuantizedWeights {
        let taps = conv.kernel.count
        let perChannel = conv.inChannels * taps
        // Rounding adds at most half a unit per weight, to the bias as well.
        let room = 0x1p31 - 1 - Double(perChannel + 1) * 0x1p14
        var result = QuantizedWeights(codes: [], accumulatorScales: [])
        result.codes.reserveCapacity(conv.weights.count)
        for o in 0..<conv.outChannels {
            let folded = (0..<perChannel).map {
                Double(conv.weights[o * perChannel + $0]) * Double(inputScales[$0 / taps])
            }
            let magnitude = folded.reduce(0) { $0 + abs($1) }
            let most = folded.reduce(0) { max($0, abs($1)) }
            // The bias may grow by its correction, and must stay under 2^30.
            let bias = 4 * Double(abs(conv.bias[o]))
            let scale = max((magnitude * 0x1p15 + bias) / max(room, 1), most / 32767, 1e-30)
            result.accumulatorScales.append(scale)
            result.codes += folded.map { Int16(($0 / scale).rounded()) }
        }
        return result
    }

    private static func code(_ weight: Double, _ scale: Double) -> Int8 {
        Int8(min(max((weight / scale).rounded(), -127), 127))
    }

    /// The scale with the least weighted squared error among 41 from the largest magnitude down to 0.6 of it.
    private static func bestScale(_ weights: [Double], steps: Int, importance: (Int) -> Double) -> Double {
        let most = weights.map(abs).max() ?? 0
        // A filter of zeros: any scale does, this one keeps the bias exact enough.
        guard most > 0 else { return 1e-9 }
        var best = most / 127
        var least = Double.infinity
        for step in 0...steps {
            let scale = most / 127 * (1 - Double(step) / 100)
            var error = 0.0
            for (index, weight) in weights.enumerated() {
                let difference = weight - Double(code(weight, scale)) * scale
                error += difference * difference * importance(index)
            }
            if error < least { (least, best) = (error, scale) }
        }
        return best
    }
}

extension Requantizer {
    /// The closest representation of a real factor, or nil at 0.25 and above (the shift would be under 33).
    static func nearest(_ factor: Double) -> Requantizer? {
        guard factor >= 0, factor < 0.25 else { return nil }
        var shift: Int32 = 53
        while shift > 33, (factor * Double(sign: .plus, exponent: Int(shift), significand: 1)).rounded() >= 0x1p31 {
            shift -= 1
        }
        let multiplier = (factor * Double(sign: .plus, exponent: Int(shift), significand: 1)).rounded()
        guard multiplier < 0x1p31 else { return nil }
        return Requantizer(multiplier: Int32(multiplier), shift: shift)
    }
}
