import Dispatch
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
    /// What a layer is tuned on: enough voxels for the moments to be right, and so many for each weight that none is fitted to chance.
    private static let fewestVoxels = 8192
    private static let voxelsPerWeight = 8
    /// Of a layer, at a time.
    private static let mostFeatureBytes = 1 << 27
    /// Share of the mean second moment that is added to each one: how much a weight must gain to leave its place.
    private static let damping = 1e-3
    /// Steps that are tried, as shares of the largest weight's.
    private static let shares = [1, 0.9, 0.8, 0.7, 0.6]

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

    private func tune(_ node: Int, _ conv: ConvWeights, _ lowering: Lowering, _ views: [TensorView]) -> TunedConvolution
    {
        let start = lowering.tuned[node]!
        // One voxel for each input would be fitted, not the layer.
        guard lowering.shapes[lowering.graph.nodes[node].output].span == .voxel else { return start }
        let size = conv.inChannels * conv.kernel.count
        let moments = moments(node, conv, views)
        guard moments.count > 0 else { return start }
        let fit = LayerFit(conv, lowering, node, moments)
        let rounding = size <= Self.mostWeights ? self.rounding(moments, limit: fit.limit) : nil
        var found = [LayerFit.Candidate?](repeating: nil, count: conv.outChannels)
        unsafe found.withUnsafeMutableBufferPointer { buffer in
            nonisolated(unsafe) let found = unsafe buffer
            DispatchQueue.concurrentPerform(iterations: conv.outChannels) { o in
                let rows = (o * size)..<((o + 1) * size)
                let scale = start.weights.accumulatorScales[o]
                var best = fit.candidate(
                    o, Array(start.weights.codes[rows]), scale, bias: start.bias[o],
                    corrects: methods.contains(.biasCorrection))
                if let rounding, let other = better(o, fit, rounding, start), other.error < best.error { best = other }
                unsafe found[o] = best
            }
        }
        var result = start
        for (o, best) in found.enumerated() {
            result.weights.codes.replaceSubrange((o * size)..<((o + 1) * size), with: best!.codes)
            result.weights.accumulatorScales[o] = best!.scale
            result.bias[o] = best!.bias
        }
        return result
    }

    private func rounding(_ moments: LayerMoments, limit: Int) -> WeightRounding? {
        guard !methods.isDisjoint(with: [.weightCorrection, .adaptiveRounding]) else { return nil }
        var matrix = moments.secondMoments()
        matrix.addToDiagonal(max(Self.damping * matrix.meanDiagonal, 1e-9))
        return WeightRounding(matrix, limit: limit)
    }

    /// Other weights for output channel `o`; nil where the accumulator could not hold them.
    private func better(
        _ o: Int, _ fit: LayerFit, _ rounding: WeightRounding, _ start: TunedConvolution
    ) -> LayerFit.Candidate? {
        let folded = fit.folded(o)
        var wanted = folded
        if methods.contains(.weightCorrection), fit.gainsFromRefitting, fit.moments.count >= 4 * folded.count {
            let pull = Self.damping * rounding.moments.meanDiagonal
            wanted = rounding.factor.solve(zip(fit.moments.crossMoments(o), folded).map { $0 + pull * $1 })
        }
        let scale = start.weights.accumulatorScales[o]
        var found: (codes: [Int], scale: Double)?
        if methods.contains(.adaptiveRounding) {
            // Rounded together, other steps may be best than to the nearest.
            let most = folded.reduce(0) { max($0, abs($1)) } / Double(fit.limit)
            let isFree = methods.contains(.weightClipping) && !fit.isWide && most > 0
            var least = Double.infinity
            for scale in isFree ? Self.shares.map({ max($0 * most, abs(start.bias[o]) * 0x1p-28) }) : [scale] {
                let codes = rounding.round(wanted, scale: scale)
                let error = rounding.error(codes, wanted, scale: scale)
                if error < least { (least, found) = (error, (codes, scale)) }
            }
        } else {
            found = (wanted.map { min(max(Int(($0 / scale).rounded()), -fit.limit), fit.limit) }, scale)
        }
        guard let found, fit.fits(found.codes, found.scale, start.bias[o]) else { return nil }
        return fit.candidate(o, found.codes.map { Int16($0) }, found.scale, bias: start.bias[o], corrects: true)
    }

    private func moments(_ node: Int, _ conv: ConvWeights, _ views: [TensorView]) -> LayerMoments {
        let sizes = views.map { view in
            let extent = view.layout.extent
            return conv.outputSize(of: Size3(depth: extent.depth, height: extent.height, width: extent.width))
        }
        var voxels = sizes.indices.map { reference.draw.voxels(of: $0, in: sizes[$0]) }
        var targets = reference.targets[node] ?? []
        let size = conv.inChannels * conv.kernel.count
        let most = min(max(Self.fewestVoxels, Self.voxelsPerWeight * size), Self.mostFeatureBytes / (4 * size))
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
