import COps
import FixedPoint
import FlatGraph
import Glibc
import GraphIR
import Ops

/// Other forms of a value than the one it is stored in: what convolutions read in its place, and what they write for it.
extension Lowering {
    /// Adds the op that makes the copy in bytes of a 16-bit value that convolutions read in its place, once.
    mutating func addCopy(_ value: ValueID) {
        guard let coding = copyCodings[value], copies[value] == nil else { return }
        addNarrowed(value, coding)
    }

    private mutating func addNarrowed(_ value: ValueID, _ narrow: ValueCoding) {
        let wide = codings[value]!
        let producer = graph.nodes.first { $0.output == value }?.name ?? "input"
        var record = builder.tensors[Int(tensors[value]!)]
        record.storage = .u8
        record.zeroPoint = narrow.zeroPoint
        (record.low, record.high) = (narrow.low, narrow.high)
        let copy = builder.addTensor(record, name: "\(producer).narrow", scales: narrow.scales)
        var table = RecordBytes()
        for c in 0..<graph.channels[value] {
            let factor = Double(wide.scale(c)) / Double(narrow.scale(c))
            let shift = min(max(30 - Int(floor(log2(factor))), 18), 39)
            let fraction = shift - 17
            table.append(Int32((factor * exp2(Double(shift))).rounded()))
            table.append(Int32(narrow.zeroPoint) << Int32(fraction) + Int32(1) << Int32(fraction - 1))
            table.append(Int32(fraction))
        }
        var op = OpRecord()
        op.kind = .narrow
        builder.addOp(
            op, name: "\(producer).narrow", inputs: [tensors[value]!], output: copy, table: table.bytes,
            tableAlignment: 4)
        copies[value] = copy
        nodes.append(-1)
        builder.require(feature: "narrow")
    }

    /// Weight of each channel in the convolutions that make 16 bits of bytes.
    static let wideFormWeight: Float = 127

    private func wideningChannels(
        _ form: ValueCoding, _ wide: ValueCoding, _ count: Int, _ node: Node
    ) throws(QuantizeError) -> [mk_channel] {
        var result: [mk_channel] = []
        for c in 0..<count {
            result.append(
                try channel(
                    c, node, row: [Int8(Self.wideFormWeight)], bias: 0,
                    scale: Double(form.scale(c) / Self.wideFormWeight), zeroPoint: form.zeroPoint,
                    outputScale: wide.scale(c)))
        }
        return result
    }

    mutating func addByteTensor(_ value: ValueID, name: String) -> UInt32 {
        let form = byteForms[value]!
        var record = builder.tensors[Int(tensors[value]!)]
        record.storage = .u8
        record.zeroPoint = form.zeroPoint
        (record.low, record.high) = (form.low, form.high)
        return builder.addTensor(record, name: name, scales: form.scales)
    }

    /// Adds the op that makes a 16-bit value of its bytes: a depthwise convolution with one tap.
    mutating func addWideForm(_ node: Node, _ value: ValueID, from bytes: UInt32) throws(QuantizeError) {
        let (form, wide) = (byteForms[value]!, codings[value]!)
        let count = graph.channels[value]
        let shape = Depthwise(
            channels: count, kernel: Extent(cube: 1), inputZeroPoint: 0, outputZeroPoint: 0, outputElement: .i16,
            isRectified: false)
        var weights = [Int8](repeating: 0, count: shape.weightBytes)
        for c in 0..<count { weights[shape.weightIndex(channel: c, tap: 0)] = Int8(Self.wideFormWeight) }
        let channels = try wideningChannels(form, wide, count, node)
        var op = OpRecord()
        op.kind = .depthwise
        op.kernel = (1, 1, 1)
        builder.addOp(
            op, name: "\(node.name).wide", inputs: [bytes], output: tensors[value]!, weights: weights,
            channels: channels)
        finish(-1, "depthwise-u8")
    }
}
