import COps
import FixedPoint
import FlatGraph
import Glibc
import GraphIR
import Ops

extension Lowering {
    mutating func addWideSum(_ index: Int, _ node: Node) {
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .addWide
        addOp(op, node, output: node.output)
        finish(index, "add-i16")
    }

    mutating func addDepthToSpace(_ index: Int, _ node: Node) {
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .depthToSpace
        addOp(op, node, output: node.output)
        finish(index, "depth-to-space")
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
        finish(index, "token-conv-u8")
    }

    /// Int8 taps per channel by their largest magnitude: with so few of them nothing is gained by clipping.
    private mutating func quantizeTaps(
        _ node: Node, _ value: ValueID, _ weights: [Float], _ bias: [Float], taps: Int
    ) throws(QuantizeError) -> ([Int8], [mk_channel]) {
        let input = codings[node.inputs[0]]!
        let scales = bias.indices.map { c in
            let most = weights[(c * taps)..<((c + 1) * taps)].map(abs).max() ?? 0
            return max(Double(most) / 127, 1e-9) * Double(input.scale(c))
        }
        widen(value, for: scales)
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

    mutating func addScan(_ index: Int, _ node: Node, _ scan: SelectiveScan) throws(QuantizeError) {
        let (x, v, matrices) = (codings[node.inputs[0]]!, codings[node.inputs[1]]!, codings[node.inputs[2]]!)
        let output = codings[node.output]!
        let channels = graph.channels[node.output]
        var table = RecordBytes()
        for i in 0..<Scan.softplusEntries {
            let step = Double(i * 128 - 32768) * Double(v.scale(0))
            let delta = min(step > 30 ? step : log1p(exp(step)), 16)
            table.append(UInt32((delta * 0x1p20).rounded()))
        }
        for rate in scan.a {
            let alpha = (-Double(rate) * 1.4426950408889634 * 1024).rounded()
            guard alpha <= 0xFFFF else {
                throw QuantizeError(layer: node.name, message: "decay rate \(-rate) (must be below 44)")
            }
            table.append(UInt32(alpha))
        }
        let longest = min(Double(v.high), 16)
        let largestStep = min(longest > 30 ? longest : log1p(exp(longest)), 16)
        let largestMatrix = Double(matrices.scale(0)) * Double(max(matrices.zeroPoint, 255 - matrices.zeroPoint))
        for d in 0..<channels {
            let largestInput = Double(x.scale(d)) * Double(max(x.zeroPoint, 255 - x.zeroPoint))
            let slowest = scan.a[(d * scan.states)..<((d + 1) * scan.states)].map { -Double($0) }.min()!
            // Δ·B·x summed with weights that decay like exp(-Δ·|A|) stays below the integral of the decay plus one step.
            let bound = largestMatrix * largestInput * (1 / slowest + largestStep)
            let channel = try Scan.Channel.from(
                inputScale: Double(x.scale(d)), matrixScale: Double(matrices.scale(0)), stateBound: bound,
                largestStep: largestStep, skip: Double(scan.skip[d]), outputScale: Double(output.scale(d)),
                layer: node.name)
            for value in [channel.injectionShift, channel.multiplier, channel.skip, channel.shift] {
                table.append(value)
            }
        }
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .scan
        op.mode = scan.reversed ? 1 : 0
        op.multiplierA = Int64(scan.states)
        addOp(op, node, output: node.output, table: table.bytes, tableAlignment: 4)
        finish(index, "scan")
    }

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
                    c, node, row: [], bias: 0, scale: 2 * scale * Double(sum.scale(c)), zeroPoint: 0,
                    outputScale: output.scale(c)))
        }
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .gate
        addOp(op, node, output: node.output, channels: channels, table: table.bytes, tableAlignment: 4)
        finish(index, "gate")
    }
}

extension Scan.Channel {
    /// - Parameters:
    ///   - stateBound: no |h| can be larger.
    ///   - largestStep: nor any Δ, in calibration.
    static func from(
        inputScale: Double, matrixScale: Double, stateBound: Double, largestStep: Double, skip: Double,
        outputScale: Double, layer: String
    ) throws(QuantizeError) -> Scan.Channel {
        // One unit of the state at injection shift k is inputScale · matrixScale · 2^(k-20).
        let unit = inputScale * matrixScale * 0x1p-20
        let forState = log2(stateBound * 2 / (unit * 0x1p30))
        let forInjection = log2(largestStep * 0x1p20 * 255 / 0x1p22)
        let k = min(max(ceil(max(forState, forInjection)), 1), 24)
        let readOut = unit * exp2(k) * 0x1p13 * matrixScale / outputScale
        let direct = skip * inputScale / outputScale
        var shift = 53.0
        while shift > 1, max(readOut, abs(direct)) * exp2(shift) >= 0x1p31 - 1 { shift -= 1 }
        guard max(readOut, abs(direct)) * exp2(shift) < 0x1p31 - 1 else {
            throw QuantizeError(layer: layer, message: "the scan's output range is too small for its state")
        }
        return Scan.Channel(
            injectionShift: Int32(k), multiplier: Int32((readOut * exp2(shift)).rounded()),
            skip: Int32((direct * exp2(shift)).rounded()), shift: Int32(shift))
    }
}
