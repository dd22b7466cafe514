import FlatGraph
import GraphIR
import Ops

@testable import Quantize

/// How far any value of an integer network can be from the float network's on the same input, op by op: half a step for each
/// rounding, the weights' rounding times the largest input, and what comes in times the steepest slope. It holds where calibration saw
/// the input and ranges are its extremes, so that nothing is clipped that was not beyond a code by its own error.
struct ErrorBound {
    private let file: ModelFile
    private let graph: FloatGraph
    private let nodes: [Int]
    private var peaks: [ValueID: Double] = [:]
    private var spread: [ValueID: (low: Double, high: Double)] = [:]
    private var deviations: [Int: Double] = [:]
    /// By tensor of the file.
    private(set) var errors: [Int: Double] = [:]

    /// - Parameter codes: what input voxels become.
    init(_ file: ModelFile, _ model: LoweredModel, _ graph: FloatGraph, _ input: FloatTensor) {
        self.file = file
        self.graph = graph
        nodes = model.nodes
        observe(0, input)
        var seen: [(Int, FloatTensor)] = []
        _ = FloatExecutor(graph).run(input) { (index, tensor) throws(Never) in seen.append((index, tensor)) }
        var values: [ValueID: FloatTensor] = [0: input]
        for (index, tensor) in seen {
            observe(graph.nodes[index].output, tensor)
            values[graph.nodes[index].output] = tensor
        }
        for (index, node) in graph.nodes.enumerated() {
            if let x = values[node.inputs[0]] { deviations[index] = Self.leastDeviation(node.op, x) }
        }
        errors[Int(file.record.inputTensor)] = 0.5001 * scale(Int(file.record.inputTensor))
        for op in 0..<file.opCount { add(file.op(op), node: nodes[op]) }
    }

    private mutating func observe(_ value: ValueID, _ tensor: FloatTensor) {
        let low = Double(tensor.values.min() ?? 0)
        let high = Double(tensor.values.max() ?? 0)
        spread[value] = (low, high)
        peaks[value] = max(abs(low), abs(high))
    }

    private func scale(_ tensor: Int) -> Double {
        let record = file.tensor(tensor)
        return (0..<Int(record.scaleCount)).map { Double(file.scale(Int(record.scaleOffset) + $0)) }.max() ?? 0
    }

    private mutating func add(_ op: OpRecord, node: Int) {
        let output = Int(op.output)
        let inputs = (0..<Int(op.operandCount)).map { file.operand(op, $0) }
        let before = inputs.map { errors[$0]! }
        let half = 0.5001 * scale(output)
        // The layer of the op's own name: with a fused ReLU, `node` is the ReLU.
        let name = file.string(op.name)
        let own = graph.nodes.first { $0.name == name }
        let reads = own?.inputs.map { peaks[$0]! } ?? []
        switch op.kind {
        case .conv3d:
            guard case .conv3d(let conv)? = own?.op else { return }
            errors[output] = convolution(op, conv, before[0], reads[0]) + half
        case .depthwise:
            // Sixteen bits made of bytes have no node of their own.
            guard case .depthwise(let conv)? = own?.op else { return errors[output] = before[0] + half }
            let taps = conv.kernel.count
            let rows = stride(from: 0, to: conv.weights.count, by: taps).map { conv.weights[$0..<($0 + taps)] }
            let most = rows.map { $0.reduce(0) { $0 + Double(abs($1)) } }.max()!
            let step = rows.map { Double($0.map(abs).max()!) / 127 }.max()!
            errors[output] = (most + Double(taps) * step) * before[0] + Double(taps) * step / 2 * reads[0] + half
        case .lookup, .lookupWide:
            guard case .activation(let f)? = own?.op, let range = own.map({ spread[$0.inputs[0]]! }) else { return }
            // One entry stands for sixteen codes.
            let blur = op.kind == .lookupWide ? 8.5 * scale(inputs[0]) : 0
            errors[output] = steepest(f, range, before[0] + blur) + half
        case .add, .addWide: errors[output] = before[0] + before[1] + (op.kind == .add ? half : 0)
        case .multiply:
            errors[output] = reads[0] * before[1] + reads[1] * before[0] + before[0] * before[1] + half
        case .concat, .maxPool, .depthToSpace, .sliceOrder: errors[output] = before.max()!
        case .resize, .globalPool: errors[output] = before[0] + half
        case .narrow:
            guard case .batchNorm(let norm)? = own?.op else { return errors[output] = before[0] + half }
            errors[output] = before[0] * (0..<norm.scale.count).map { abs(norm.affine($0).gain) }.max()! + half
        case .groupNorm, .layerNorm: errors[output] = normalization(op, own, before[0]) + half
        default: break
        }
    }

    /// Σ |ŵ| · e + |w - ŵ| · peak + what the bias is rounded by, of the worst channel. ŵ: integer weights in real units.
    private func convolution(_ op: OpRecord, _ conv: ConvWeights, _ before: Double, _ peak: Double) -> Double {
        let shape = file.conv3D(op)
        let record = file.tensor(Int(op.output))
        let input = file.tensor(file.operand(op, 0))
        var worst = 0.0
        for o in 0..<conv.outChannels {
            let channel = file.channel(Int(op.channelOffset) + o)
            let outScale = Double(file.scale(Int(record.scaleOffset) + (record.scaleCount == 1 ? 0 : o)))
            let unit = Double(channel.multiplier) * 2.0.raised(-Int(channel.shift)) * outScale
            var sum = unit  // of the bias
            for i in 0..<conv.inChannels {
                let inScale = Double(file.scale(Int(input.scaleOffset) + (input.scaleCount == 1 ? 0 : i)))
                for t in 0..<conv.kernel.count {
                    let k = conv.kernel
                    let at = shape.weightIndex(
                        o: o, i: i, kz: t / (k.height * k.width), ky: t / k.width % k.height, kx: t % k.width)
                    let weights = unsafe file.weights(op)
                    let code =
                        shape.inputElement == .u8
                        ? Int(weights[at]) : Int(weights[at + 1]) * 256 + Int(UInt8(bitPattern: weights[at]))
                    let rounded = Double(code) * unit / inScale
                    let real = Double(conv.weights[(o * conv.inChannels + i) * k.count + t])
                    sum += abs(rounded) * before + abs(real - rounded) * peak
                }
            }
            worst = max(worst, sum)
        }
        return worst
    }

    /// The largest change of f within e of any x in the range.
    private func steepest(_ f: Activation, _ range: (low: Double, high: Double), _ e: Double) -> Double {
        var most = 0.0
        for i in 0...4000 {
            let x = range.low + (range.high - range.low) * Double(i) / 4000
            for part in 1...8 {
                for sign in [-1.0, 1] { most = max(most, abs(f(x + sign * e * Double(part) / 8) - f(x))) }
            }
        }
        return most * 1.01
    }

    /// With |x̂ - x| ≤ e, means differ by e at most, and so do deviations (centring shortens distances), hence
    /// |ŷ - y| ≤ (2·e + |y|·e) / (s - e) in units of the gain; and what `NormTests` allows the fixed-point form.
    private func normalization(_ op: OpRecord, _ node: Node?, _ e: Double) -> Double {
        guard let node, let s = deviations[node.output - 1] else { return .infinity }
        let (scale, shift): ([Float], [Float])
        switch node.op {
        case .groupNorm(let norm): (scale, shift) = (norm.scale, norm.shift)
        case .layerNorm(let norm): (scale, shift) = (norm.scale, norm.shift)
        default: return .infinity
        }
        guard s > e else { return .infinity }
        let gain = Double(scale.map(abs).max()!)
        let least = Double(scale.map(abs).filter { $0 > 0 }.min() ?? 1)
        let y = (peaks[node.output]! + Double(shift.map(abs).max()!)) / least
        return gain * ((2 * e + y * e) / (s - e) + 1e-3 * max(1, y))
    }

    /// The least sqrt(variance + ε) of any group, slice or voxel.
    private static func leastDeviation(_ op: FloatOp, _ x: FloatTensor) -> Double? {
        func deviation(_ values: [Float], _ epsilon: Double) -> Double {
            let mean = values.reduce(0.0) { $0 + Double($1) } / Double(values.count)
            let variance = values.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(values.count)
            return (variance + epsilon).squareRoot()
        }
        let count = x.size.count
        switch op {
        case .groupNorm(let norm):
            let part = norm.isPerSlice ? count / x.size.depth : count
            let each = x.channels / norm.groups
            return (0..<norm.groups).flatMap { group in
                stride(from: 0, to: count, by: part).map { first in
                    let values = (group * each..<(group + 1) * each).flatMap {
                        x.values[($0 * count + first)..<($0 * count + first + part)]
                    }
                    return deviation(values, norm.epsilon)
                }
            }.min()
        case .layerNorm(let norm):
            return (0..<count).map { t in
                deviation((0..<x.channels).map { x.values[$0 * count + t] }, norm.epsilon)
            }.min()
        default: return nil
        }
    }
}

extension Double {
    /// 2^power, of 2.
    fileprivate func raised(_ power: Int) -> Double { Double(sign: .plus, exponent: power, significand: 1) }
}
