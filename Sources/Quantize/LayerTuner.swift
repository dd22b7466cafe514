import FlatGraph
import GraphIR
import MKRuntime
import Ops

/// Tunes convolutions one after the other, each on what the integer layers before it, tuned already, make of the calibration
/// inputs. The inputs go through the network in step, so that each op runs once.
struct LayerTuner {
    let reference: FloatReference
    let methods: Methods
    let threads: Int

    /// Filters with more weights are only rounded to the nearest; the matrix takes 8 · 2048² bytes.
    private static let mostWeights = 2048
    /// Of a layer, at a time.
    private static let mostFeatureBytes = 1 << 27
    /// Share of the mean second moment that is added to each one: how much a weight must gain to leave its place.
    private static let damping = 1e-3

    /// - Parameter lowering: that has run and made `model`.
    /// - Returns: by node.
    func run(
        _ lowering: Lowering, _ model: LoweredModel, report: (Double) -> Void
    ) throws(QuantizeError) -> [Int: TunedConvolution] {
        let network: IntegerNetwork
        let runs: [SteppedRun]
        do {
            network = try IntegerNetwork(model.bytes, threads: threads)
            runs = try reference.inputs.map { input throws(RuntimeError) in try SteppedRun(network, input) }
        } catch {
            throw QuantizeError(layer: "input", message: "cannot be tuned on the calibration volume: \(error)")
        }
        var result: [Int: TunedConvolution] = [:]
        for op in 0..<network.file.opCount {
            if let node = model.convolutions[op], case .conv3d(let conv) = lowering.graph.nodes[node].op {
                let tuned = tune(node, conv, lowering, runs.map { $0.operand(of: op) })
                result[node] = tuned
                network.replace(op, with: try lowering.parts(node, tuned))
                report(Double(result.count) / Double(model.convolutions.count))
            }
            // A last convolution that runs row by row with the argmax is no step.
            guard op < runs[0].stepCount else { break }
            do {
                for run in runs { try run.step(op) }
            } catch {
                throw QuantizeError(layer: "op \(op)", message: "\(error)")
            }
        }
        return result
    }

    private func tune(_ node: Int, _ conv: ConvWeights, _ lowering: Lowering, _ views: [TensorView]) -> TunedConvolution {
        let start = lowering.tuned[node]!
        let size = conv.inChannels * conv.kernel.count
        let moments = moments(node, conv, views)
        guard moments.count > 0 else { return start }
        let fit = LayerFit(conv, lowering, node, moments)
        var rounding: WeightRounding?
        var matrix: SymmetricMatrix?
        if !methods.isDisjoint(with: [.weightCorrection, .adaptiveRounding]), size <= Self.mostWeights {
            var found = moments.secondMoments()
            found.addToDiagonal(max(Self.damping * found.meanDiagonal, 1e-9))
            matrix = found
            rounding = WeightRounding(found, limit: fit.limit)
        }
        var result = start
        for o in 0..<conv.outChannels {
            let folded = fit.folded(o)
            var codes = Array(start.weights.codes[(o * size)..<((o + 1) * size)])
            let scale = start.weights.accumulatorScales[o]
            var best = fit.candidate(o, codes, scale, bias: start.bias[o], corrects: methods.contains(.biasCorrection))
            if let rounding, let matrix {
                var wanted = folded
                if methods.contains(.weightCorrection), moments.count >= 4 * size {
                    let pull = Self.damping * matrix.meanDiagonal
                    wanted = rounding.factor.solve(zip(moments.crossMoments(o), folded).map { $0 + pull * $1 })
                }
                let rounded =
                    methods.contains(.adaptiveRounding)
                    ? rounding.round(wanted, scale: scale)
                    : wanted.map { min(max(Int(($0 / scale).rounded()), -fit.limit), fit.limit) }
                if fit.fits(rounded, scale, start.bias[o]) {
                    codes = rounded.map { Int16($0) }
                    let other = fit.candidate(o, codes, scale, bias: start.bias[o], corrects: true)
                    if other.error < best.error { best = other }
                }
            }
            result.weights.codes.replaceSubrange((o * size)..<((o + 1) * size), with: best.codes)
            result.bias[o] = best.bias
        }
        return result
    }

    private func moments(_ node: Int, _ conv: ConvWeights, _ views: [TensorView]) -> LayerMoments {
        let sizes = views.map { view in
            let extent = view.layout.extent
            return conv.outputSize(of: Size3(depth: extent.depth, height: extent.height, width: extent.width))
        }
        var voxels = sizes.indices.map { reference.draw.voxels(of: $0, in: sizes[$0]) }
        var targets = reference.targets[node] ?? []
        let most = Self.mostFeatureBytes / (4 * conv.inChannels * conv.kernel.count)
        let count = voxels.reduce(0) { $0 + $1.count }
        if count > most {
            // Every so many of them.
            let step = (count + most - 1) / most
            let kept = stride(from: 0, to: count, by: step)
            targets = kept.flatMap { targets[($0 * conv.outChannels)..<(($0 + 1) * conv.outChannels)] }
            var first = 0
            for i in voxels.indices {
                let all = voxels[i]
                voxels[i] = all.indices.filter { (first + $0) % step == 0 }.map { all[$0] }
                first += all.count
            }
        }
        return LayerMoments(conv, views: views, voxels: voxels, targets: targets)
    }
}
