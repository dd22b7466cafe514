import GraphIR

/// One convolution's integer output at the drawn voxels against the float one.
struct LayerFit {
    let conv: ConvWeights
    let moments: LayerMoments
    /// Largest magnitude of a code.
    let limit: Int
    var isWide: Bool { input.isWide }
    private let input: ValueCoding
    private let output: ValueCoding
    /// The output is clamped as a ReLU would.
    private let isRectified: Bool
    /// A normalization behind it takes any bias away.
    private let hasBias: Bool
    /// Whether refitted weights bring labels closer to float. A least-squares fit to noisy codes is a little too flat, which lowers
    /// the noise; where codes have 16 bits there is hardly any noise, and a normalization would scale it up again.
    var gainsFromRefitting: Bool { !isWide && hasBias }

    struct Candidate {
        var codes: [Int16]
        var scale: Double
        var bias: Double
        var error: Double
    }

    init(_ conv: ConvWeights, _ lowering: Lowering, _ node: Int, _ moments: LayerMoments) {
        self.conv = conv
        self.moments = moments
        input = lowering.readCoding(lowering.graph.nodes[node].inputs[0])
        output = lowering.output(of: node)
        limit = input.isWide ? 32767 : 127
        isRectified = lowering.target(of: node) != node
        hasBias = !lowering.graph.consumers(of: lowering.graph.nodes[node].output).contains {
            if case .groupNorm = lowering.graph.nodes[$0].op { true } else { false }
        }
    }

    /// Weights of output channel `o` per input code.
    func folded(_ o: Int) -> [Double] {
        let (taps, size) = (conv.kernel.count, conv.inChannels * conv.kernel.count)
        return (0..<size).map { Double(conv.weights[o * size + $0]) * Double(input.scale($0 / taps)) }
    }

    /// Whether the accumulator holds them (docs/arithmetic.md), whatever the bias becomes within reason.
    func fits(_ codes: [Int], _ scale: Double, _ bias: Double) -> Bool {
        let most = input.isWide ? 32768 : 255
        let magnitude = codes.reduce(0) { $0 + $1.magnitude }
        return Double(Int(magnitude) * most) + 2 * abs(bias / scale) < 0x1p31 - 0x1p24
    }

    /// Whether the accumulator holds weights with just this bias: 16-bit ones of a filter without a bias leave little room for one.
    private func holds(_ codes: [Int16], _ scale: Double, _ bias: Double) -> Bool {
        let (sum, magnitude) = codes.reduce((0, 0)) { ($0.0 + Int($1), $0.1 + Int($1.magnitude)) }
        let code = abs((bias / scale).rounded() - Double(sum * Int(input.zeroPoint)))
        return code < 0x1p30 && Double(magnitude * (input.isWide ? 32768 : 255)) + code < 0x1p31
    }

    /// - Parameter corrects: the bias, to keep the mean of the output.
    func candidate(_ o: Int, _ codes: [Int16], _ scale: Double, bias: Double, corrects: Bool) -> Candidate {
        let products = moments.products(codes.map { Double($0) * scale })
        let mean = zip(codes, moments.featureMeans).reduce(0) { $0 + Double($1.0) * scale * $1.1 }
        var bias = bias
        if !hasBias {
            // As if the mean were right: it does not matter.
            let error = zip(products, moments.targets[o]).reduce(0) {
                $0 + ($1.0 - Double($1.1)) * ($1.0 - Double($1.1))
            }
            return Candidate(codes: codes, scale: scale, bias: bias, error: error)
        }
        if corrects {
            var corrected = moments.targetMeans[o] - mean
            if isRectified { corrected += shift(o, products, mean + corrected) }
            if holds(codes, scale, corrected) { bias = corrected }
        }
        var error = 0.0
        for (product, target) in zip(products, moments.targets[o]) {
            let difference = clamped(o, product + mean + bias) - clamped(o, Double(target) + moments.targetMeans[o])
            error += difference * difference
        }
        return Candidate(codes: codes, scale: scale, bias: bias, error: error)
    }

    private func clamped(_ o: Int, _ value: Double) -> Double {
        isRectified ? min(max(value, 0), Double(output.scale(o)) * (output.isWide ? 32767 : 255)) : value
    }

    /// What must be added so that the means behind the ReLU agree, too.
    private func shift(_ o: Int, _ products: [Double], _ offset: Double) -> Double {
        let count = Double(max(1, products.count))
        let wanted = moments.targets[o].reduce(0) { $0 + clamped(o, Double($1) + moments.targetMeans[o]) } / count
        var shift = 0.0
        for _ in 0..<8 {
            var (sum, active) = (0.0, 0.0)
            for product in products {
                let value = product + offset + shift
                sum += clamped(o, value)
                active += value > 0 ? 1 : 0
            }
            // A channel that hardly ever lives tells nothing.
            guard active / count > 0.01 else { return 0 }
            shift += (wanted - sum / count) / (active / count)
        }
        return shift
    }
}
