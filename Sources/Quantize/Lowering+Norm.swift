import FlatGraph
import Glibc
import GraphIR
import Ops

// `LayerNorm` is the float op here; the integer one is `Ops.LayerNorm`.
typealias LayerNorm = GraphIR.LayerNorm

extension Lowering {
    mutating func addGroupNorm(_ node: Node, _ norm: GroupNorm, target: Int) throws(QuantizeError) {
        let input = codings[node.inputs[0]]!
        let value = graph.nodes[target].output
        let output = codings[value]!
        var table = RecordBytes()
        for c in norm.scale.indices {
            let inputScale = Double(input.scale(c))
            table.append(
                try NormChannel.from(
                    gain: Double(norm.scale[c]) / Double(output.scale(c)),
                    bias: Double(norm.shift[c]) / Double(output.scale(c)),
                    epsilon: norm.epsilon / (inputScale * inputScale), layer: node.name))
        }
        addTensor(value, name: graph.nodes[target].name)
        var op = OpRecord()
        op.kind = .groupNorm
        op.multiplierA = Int64(norm.groups)
        op.mode = (output.isWide && graph.nodes[target].op == .activation(.relu) ? 1 : 0) + (norm.isPerSlice ? 2 : 0)
        addOp(op, node, output: value, table: table.bytes, tableAlignment: 4)
        finish(target, "group-norm")
        if norm.isPerSlice { require(feature: "norm-slices") }
    }
}

extension Lowering {
    /// A batch normalization that no convolution could take up: an affine map per channel, which `narrow` is.
    mutating func addBatchNorm(_ index: Int, _ node: Node, _ norm: BatchNorm) throws(QuantizeError) {
        let (input, output) = (codings[node.inputs[0]]!, codings[node.output]!)
        guard input.isWide, !output.isWide else {
            throw QuantizeError(layer: node.name, message: "batch normalization was not folded into a convolution")
        }
        var table = RecordBytes()
        for c in norm.scale.indices {
            let (gain, offset) = norm.affine(c)
            let factor = gain * Double(input.scale(c)) / Double(output.scale(c))
            let constant = Double(output.zeroPoint) + offset / Double(output.scale(c)) + 0.5
            // 17 bits of the product are cut off first (`Ops.Norm`); multiplier and constant share the rest.
            var shift = 39
            while shift > 18,
                abs(factor) * exp2(Double(shift)) >= 0x1p31 - 1 || abs(constant) * exp2(Double(shift - 17)) > 0x1p30
            {
                shift -= 1
            }
            guard abs(factor) * exp2(Double(shift)) < 0x1p31 - 1, abs(constant) * exp2(Double(shift - 17)) <= 0x1p30
            else {
                throw QuantizeError(layer: node.name, message: "channel \(c) is scaled by \(gain), moved by \(offset)")
            }
            table.append(Int32((factor * exp2(Double(shift))).rounded()))
            table.append(Int32((constant * exp2(Double(shift - 17))).rounded()))
            table.append(Int32(shift - 17))
        }
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .narrow
        addOp(op, node, output: node.output, table: table.bytes, tableAlignment: 4)
        finish(index, "narrow")
    }

    mutating func addLayerNorm(_ index: Int, _ node: Node, _ norm: LayerNorm) throws(QuantizeError) {
        let input = Double(codings[node.inputs[0]]!.scale(0))
        let output = codings[node.output]!
        let count = Double(norm.scale.count)
        let epsilon = max((norm.epsilon * count * count / (input * input)).rounded(), 1)
        let gains = norm.scale.indices.map { Double(norm.scale[$0]) / Double(output.scale($0)) }
        let biases = norm.shift.indices.map { Double(norm.shift[$0]) / Double(output.scale($0)) }
        guard epsilon < 0x1p48, (gains + biases).allSatisfy({ abs($0) < 32767 }) else {
            throw QuantizeError(layer: node.name, message: "a gain or offset is too large for its output range")
        }
        var table = RecordBytes()
        for (gain, bias) in zip(gains, biases) {
            table.append(Int32((gain * 65536).rounded()))
            table.append(Int32((bias * 65536).rounded()))
        }
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .layerNorm
        op.multiplierB = Int64(epsilon)
        addOp(op, node, output: node.output, table: table.bytes, tableAlignment: 4)
        finish(index, "layer-norm")
    }
}

/// Little-endian records for the tables section.
struct RecordBytes {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ value: some FixedWidthInteger) {
        for i in 0..<(value.bitWidth / 8) { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * i))) }
    }

    mutating func append(_ channel: NormChannel) {
        append(channel.gain)
        append(channel.gainShift)
        append(channel.bias)
        append(channel.epsilon)
        append(channel.epsilonShift)
        for _ in 0..<3 { append(Int32(0)) }
    }
}

extension NormChannel {
    /// - Parameters:
    ///   - gain: output codes per standard deviation.
    ///   - bias: output codes.
    ///   - epsilon: in squared input codes.
    static func from(gain: Double, bias: Double, epsilon: Double, layer: String) throws(QuantizeError) -> NormChannel {
        guard abs(gain) < 0x1p30, abs(bias) < 32767, epsilon > 0x1p-60, epsilon < 0x1p60 else {
            throw QuantizeError(layer: layer, message: "normalization with gain \(gain), offset \(bias) output codes")
        }
        let (mantissa, shift) = split(abs(gain), bits: 31, shifts: gainShiftRange)
        let (epsilonMantissa, epsilonShift) = split(epsilon, bits: 32, shifts: epsilonShiftRange)
        return NormChannel(
            gain: Int32(gain < 0 ? -mantissa : mantissa), gainShift: shift, bias: Int32((bias * 65536).rounded()),
            epsilon: UInt32(epsilonMantissa), epsilonShift: epsilonShift)
    }

    /// x as mantissa / 2^shift, the mantissa below 2^bits and as large as the shifts allow.
    private static func split(_ x: Double, bits: Int, shifts: ClosedRange<Int32>) -> (Int64, Int32) {
        guard x > 0 else { return (0, 30) }
        let shift = min(max(Int32(bits - 2) - Int32(floor(log2(x))), shifts.lowerBound), shifts.upperBound)
        return (Int64((x * exp2(Double(shift))).rounded()), shift)
    }
}
