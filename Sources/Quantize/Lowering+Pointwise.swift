import COps
import FixedPoint
import FlatGraph
import Glibc
import GraphIR
import Ops

extension Lowering {
    mutating func addSum(_ index: Int, _ node: Node) throws(QuantizeError) {
        let (a, b) = (codings[node.inputs[0]]!, codings[node.inputs[1]]!)
        let output = codings[node.output]!
        var op = OpRecord()
        op.kind = .add
        op.shift = 40
        let multipliers = [a, b].map { (Double($0.scale(0)) / Double(output.scale(0)) * 0x1p40).rounded() }
        guard multipliers.allSatisfy({ $0 < 0x1p48 }) else {
            throw QuantizeError(layer: node.name, message: "an input has over 256 times the range of the sum")
        }
        (op.multiplierA, op.multiplierB) = (Int64(multipliers[0]), Int64(multipliers[1]))
        addTensor(node.output, name: node.name)
        addOp(op, node, output: node.output)
        finish(index, "add-u8")
    }

    mutating func addProduct(_ index: Int, _ node: Node) throws(QuantizeError) {
        let scales = node.inputs.map { Double(readCoding($0).scale(0)) }
        let factor = scales[0] * scales[1] / Double(codings[node.output]!.scale(0))
        guard let requantizer = Requantizer.nearest(factor) else {
            throw QuantizeError(
                layer: node.name, message: "the factors' steps are too coarse for the product's: \(factor)")
        }
        for value in node.inputs { addCopy(value) }
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .multiply
        (op.multiplierA, op.shift) = (Int64(requantizer.multiplier), requantizer.shift)
        addOp(op, node, output: node.output)
        finish(index, "multiply-u8")
    }

    /// The means of each channel, in the output's scale.
    mutating func addGlobalPool(_ index: Int, _ node: Node) throws(QuantizeError) {
        let (input, output) = (codings[node.inputs[0]]!, codings[node.output]!)
        var channels: [mk_channel] = []
        for c in 0..<graph.channels[node.output] {
            guard let channel = GlobalPool.channel(Double(input.scale(c)) / Double(output.scale(c))) else {
                throw QuantizeError(
                    layer: node.name, message: "the means of channel \(c) are too small for the scale of its values")
            }
            channels.append(channel)
        }
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .globalPool
        addOp(op, node, output: node.output, channels: channels)
        finish(index, "global-pool")
    }

    /// An op between grids.
    mutating func addGrid(
        _ index: Int, _ node: Node, _ kind: OpRecord.Kind, _ factor: Size3, mode: UInt16 = 0, feature: String
    ) {
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = kind
        op.mode = mode
        op.factor = Extent(factor)
        addOp(op, node, output: node.output)
        finish(index, feature)
    }

    /// An op that has nothing but its inputs.
    mutating func addPlain(_ index: Int, _ node: Node, _ kind: OpRecord.Kind, feature: String) {
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = kind
        addOp(op, node, output: node.output)
        finish(index, feature)
    }
}

extension GlobalPool {
    /// The constants nearest to a factor; nil for one of 2^29 and more.
    fileprivate static func channel(_ factor: Double) -> mk_channel? {
        guard factor > 0, factor < 0x1p29 else { return nil }
        let shift = min(30 - Int(floor(log2(factor))), Int(shiftRange.upperBound))
        let multiplier = min((factor * exp2(Double(shift))).rounded(), 0x1p31 - 1)
        return mk_channel(bias: 0, multiplier: Int32(multiplier), shift: Int32(shift), reserved: 0)
    }
}
