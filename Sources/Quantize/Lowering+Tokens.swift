import COps
import FixedPoint
import FlatGraph
import Glibc
import GraphIR
import Ops

extension Lowering {
    mutating func addSliceOrder(_ index: Int, _ node: Node, _ order: GraphIR.SliceOrder) {
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .sliceOrder
        op.mode = order.isInverse ? 1 : 0
        addOp(op, node, output: node.output)
        finish(index, "slice-order")
    }

    // MARK: Depthwise convolutions

    mutating func addDepthwise(
        _ index: Int, _ node: Node, _ conv: DepthwiseConv, target: Int
    ) throws(QuantizeError) {
        let value = graph.nodes[target].output
        let taps = conv.kernel.count
        let (codes, channels) = try quantizeTaps(node, value, conv.weights, conv.bias, taps: taps)
        let shape = Depthwise(
            channels: conv.bias.count, kernel: Extent(conv.kernel), inputZeroPoint: 0, outputZeroPoint: 0,
            outputElement: .u8, isRectified: false)
        var ordered = [Int8](repeating: 0, count: shape.weightBytes)
        for (i, code) in codes.enumerated() { ordered[shape.weightIndex(channel: i / taps, tap: i % taps)] = code }
        addTensor(value, name: graph.nodes[target].name)
        var op = OpRecord()
        op.kind = .depthwise
        op.kernel = triple(conv.kernel)
        op.mode = codings[value]!.isWide && target != index ? 1 : 0
        addOp(op, node, output: value, weights: ordered, channels: channels)
        finish(target, "depthwise-u8")
    }

    mutating func addTokenConv(_ index: Int, _ node: Node, _ conv: GraphIR.TokenConv) throws(QuantizeError) {
        let (codes, channels) = try quantizeTaps(node, node.output, conv.weights, conv.bias, taps: conv.taps)
        let shape = Ops.TokenConv(
            channels: conv.bias.count, taps: conv.taps, isReversed: conv.reversed, inputZeroPoint: 0,
            outputZeroPoint: 0)
        var ordered = [Int8](repeating: 0, count: shape.weightBytes)
        for (i, code) in codes.enumerated() {
            ordered[shape.weightIndex(channel: i / conv.taps, tap: i % conv.taps)] = code
        }
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .tokenConv
        op.kernel = (0, 0, UInt16(conv.taps))
        op.mode = conv.reversed ? 1 : 0
        addOp(op, node, output: node.output, weights: ordered, channels: channels)
        finish(index, codings[node.output]!.isWide ? "token-conv-i16" : "token-conv-u8")
    }

    /// Int8 taps per channel by their largest magnitude: with so few of them nothing is gained by clipping.
    private func quantizeTaps(
        _ node: Node, _ value: ValueID, _ weights: [Float], _ bias: [Float], taps: Int
    ) throws(QuantizeError) -> ([Int8], [mk_channel]) {
        let input = codings[node.inputs[0]]!
        let scales = tapScales(node, weights, taps: taps)
        let output = codings[value]!
        var codes: [Int8] = []
        var channels: [mk_channel] = []
        for c in bias.indices {
            let row = weights[(c * taps)..<((c + 1) * taps)].map {
                Int8((Double($0) * Double(input.scale(c)) / scales[c]).rounded())
            }
            channels.append(
                try channel(
                    c, node, row: row[...], bias: Double(bias[c]), scale: scales[c], zeroPoint: input.zeroPoint,
                    outputScale: output.scale(c)))
            codes += row
        }
        return (codes, channels)
    }

    // MARK: Kolmogorov-Arnold

    mutating func addBasis(_ index: Int, _ node: Node, _ basis: GraphIR.KANBasis) {
        let input = codings[node.inputs[0]]!
        let output = codings[node.output]!
        var table: [UInt8] = []
        for code in 0..<256 {
            let x = Double(input.scale(0)) * Double(code - Int(input.zeroPoint))
            for k in 0..<basis.outputsPerChannel {
                let y = (basis.output(k, x) / Double(output.scale(k))).rounded()
                table.append(UInt8(min(max(y, 0), 255)))
            }
        }
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .kanBasis
        op.multiplierA = Int64(basis.outputsPerChannel)
        addOp(op, node, output: node.output, table: table)
        finish(index, "kan-basis")
    }

    // MARK: State space

    mutating func addGate(_ index: Int, _ node: Node) throws(QuantizeError) {
        let (sum, z) = (codings[node.inputs[0]]!, codings[node.inputs[2]]!)
        let output = codings[node.output]!
        let silu = (0..<256).map { Activation.silu(Double(z.scale(0)) * Double($0 - Int(z.zeroPoint))) }
        let scale = max(silu.map(abs).max()!, 1e-6) / 32767
        var table = RecordBytes()
        for value in silu { table.append(Int16((value / scale).rounded())) }
        var channels: [mk_channel] = []
        for c in 0..<graph.channels[node.output] {
            channels.append(
                try channel(
                    c, node, row: [Int8]()[...], bias: 0, scale: 2 * scale * Double(sum.scale(c)), zeroPoint: 0,
                    outputScale: output.scale(c)))
        }
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .gate
        addOp(op, node, output: node.output, channels: channels, table: table.bytes, tableAlignment: 4)
        finish(index, "gate")
    }
}
