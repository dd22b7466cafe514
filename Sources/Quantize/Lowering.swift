import COps
import FixedPoint
import FlatGraph
import Glibc
import GraphIR
import Ops

/// A finished model file, and which node of the float graph each of its ops computes.
public struct LoweredModel: Sendable {
    public var bytes: [UInt8]
    /// Node index by op index: the node whose float output the op's output stands for, -1 for a byte copy.
    public var nodes: [Int]
    public var codings: [ValueID: ValueCoding]
    /// Node of the convolution behind each conv3d op, by op index.
    var convolutions: [Int: Int]
}

/// Integer weights and real bias of a convolution.
struct TunedConvolution: Equatable, Sendable {
    var weights: QuantizedWeights
    /// Real, per output channel.
    var bias: [Double]
}

/// What the file holds of a convolution.
struct ConvolutionParts {
    /// In kernel order.
    var weights: [Int8]
    var channels: [mk_channel]
}

/// Turns a float graph with codings into integer records.
struct Lowering {
    let graph: FloatGraph
    var codings: [ValueID: ValueCoding]
    /// Codings of the copies that convolutions read in a value's place, and the copies made so far.
    let copyCodings: [ValueID: ValueCoding]
    var copies: [ValueID: UInt32] = [:]
    /// Codings in bytes of 16-bit values that a convolution with ReLU writes.
    var byteForms: [ValueID: ValueCoding]
    let importance: (ValueID) -> [Double]
    let clipsWeights: Bool
    /// By node index; what is not in it is rounded to the nearest.
    var tuned: [Int: TunedConvolution]
    /// By node index.
    let scanPeaks: [Int: [ScanPeaks]]

    var builder: ModelBuilder
    var tensors: [ValueID: UInt32] = [:]
    var nodes: [Int] = []
    private var convolutions: [Int: Int] = [:]
    let groups: CodingGroups
    /// Sizes of the values relative to the input's.
    let shapes: [RelativeSize]

    init(
        graph: FloatGraph, codings: [ValueID: ValueCoding], copyCodings: [ValueID: ValueCoding],
        byteForms: [ValueID: ValueCoding] = [:],
        importance: @escaping (ValueID) -> [Double], clipsWeights: Bool = true,
        tuned: [Int: TunedConvolution] = [:], scanPeaks: [Int: [ScanPeaks]], metadata: ModelBuilder
    ) {
        self.graph = graph
        self.codings = codings
        self.copyCodings = copyCodings
        self.byteForms = byteForms
        self.importance = importance
        self.clipsWeights = clipsWeights
        self.tuned = tuned
        self.scanPeaks = scanPeaks
        builder = metadata
        shapes = graph.relativeSizes()
        groups = CodingGroups(graph)
    }

    mutating func run() throws(QuantizeError) -> LoweredModel {
        do {
            try graph.checkStorable()
        } catch {
            throw QuantizeError(layer: error.node, message: error.message)
        }
        coarsenScales()
        addTensor(0, name: "input")
        if codings[0]!.isWide { builder.require(feature: "input-i16") }
        builder.record.inputTensor = 0
        let fused = graph.valuesInsideFusedActivations
        for (index, node) in graph.nodes.enumerated() {
            switch node.op {
            case .conv3d(let conv):
                let target = fused.contains(node.output) ? graph.consumers(of: node.output)[0] : index
                try addConvolution(index, node, conv, target: target)
            case .activation(.relu) where fused.contains(node.inputs[0]): break
            case .activation(let f): addLookup(index, node, f)
            case .add where codings[node.output]!.isWide: addPlain(index, node, .addWide, feature: "add-i16")
            case .add: try addSum(index, node)
            case .multiply: try addProduct(index, node)
            case .concat:
                addPlain(index, node, .concat, feature: codings[node.output]!.isWide ? "concat-i16" : "concat-u8")
            case .argmax: addArgmax(index, node)
            case .groupNorm(let norm):
                let target = fused.contains(node.output) ? graph.consumers(of: node.output)[0] : index
                try addGroupNorm(node, norm, target: target)
            case .depthwise(let conv):
                let target = fused.contains(node.output) ? graph.consumers(of: node.output)[0] : index
                try addDepthwise(index, node, conv, target: target)
            case .layerNorm(let norm): try addLayerNorm(index, node, norm)
            case .tokenConv(let conv): try addTokenConv(index, node, conv)
            case .kanBasis(let basis): addBasis(index, node, basis)
            case .scan(let scan): try addScan(index, node, scan)
            case .gate: try addGate(index, node)
            case .depthToSpace(let factor):
                addGrid(
                    index, node, .depthToSpace, factor,
                    feature: codings[node.output]!.isWide ? "depth-space-i16" : "depth-to-space")
            case .maxPool(let pool):
                addGrid(
                    index, node, .maxPool, pool.factor, mode: pool.overlaps ? 1 : 0,
                    feature: pool.overlaps ? "max-pool-3" : "max-pool")
            case .resize(let resize):
                addGrid(index, node, .resize, resize.factor, mode: resize.isLinear ? 1 : 0, feature: "resize")
            case .globalPool: try addGlobalPool(index, node)
            case .sliceOrder(let order): addSliceOrder(index, node, order)
            case .batchNorm(let norm): try addBatchNorm(index, node, norm)
            }
        }
        return LoweredModel(bytes: builder.bytes(), nodes: nodes, codings: codings, convolutions: convolutions)
    }

    // MARK: Tensors

    mutating func addTensor(_ value: ValueID, name: String) {
        let coding = codings[value]!
        var record = TensorRecord()
        record.storage = coding.isWide ? .i16 : .u8
        record.zeroPoint = coding.zeroPoint
        record.channels = UInt32(graph.channels[value])
        record.take(shapes[value])
        (record.low, record.high) = (coding.low, coding.high)
        tensors[value] = builder.addTensor(record, name: name, scales: coding.scales)
    }

    /// The coding in which a convolution reads a value.
    func readCoding(_ value: ValueID) -> ValueCoding { copyCodings[value] ?? codings[value]! }

    /// Adds the op of `node`, whose result is `output`.
    mutating func addOp(
        _ op: OpRecord, _ node: Node, output: ValueID, weights: [Int8] = [], channels: [mk_channel] = [],
        table: [UInt8] = [], tableAlignment: Int = 1
    ) {
        builder.addOp(
            op, name: node.name, inputs: node.inputs.map { input($0, of: op.kind) }, output: tensors[output]!,
            weights: weights,
            channels: channels, table: table, tableAlignment: tableAlignment)
    }

    private func input(_ value: ValueID, of kind: OpRecord.Kind) -> UInt32 {
        kind == .conv3d || kind == .multiply ? copies[value] ?? tensors[value]! : tensors[value]!
    }

    mutating func require(feature: String) { builder.require(feature: feature) }

    mutating func finish(_ index: Int, _ feature: String) {
        nodes.append(index)
        builder.require(feature: feature)
    }

    // MARK: Ops

    private mutating func addConvolution(
        _ index: Int, _ node: Node, _ conv: ConvWeights, target: Int
    ) throws(QuantizeError) {
        let input = readCoding(node.inputs[0])
        let value = graph.nodes[target].output
        let output = self.output(of: index)
        let found = tuned[index] ?? rounded(index, conv)
        tuned[index] = found
        let parts = try parts(index, found)
        addCopy(node.inputs[0])
        addTensor(value, name: graph.nodes[target].name)
        let isSplit = target != index && byteForms[value] != nil
        let written = isSplit ? addByteTensor(value, name: "\(node.name).bytes") : tensors[value]!
        var op = OpRecord()
        op.kind = .conv3d
        op.kernel = triple(conv.kernel)
        op.dilation = triple(conv.dilation)
        op.padding = triple(conv.padding)
        op.mode = output.isWide && target != index ? 2 : 0
        op.factor = Extent(conv.stride)
        convolutions[nodes.count] = index
        builder.addOp(
            op, name: node.name, inputs: [self.input(node.inputs[0], of: .conv3d)], output: written,
            weights: parts.weights, channels: parts.channels)
        finish(target, input.isWide ? "conv3d-i16" : "conv3d-u8")
        if output.isWide, target != index { builder.require(feature: "conv3d-relu-i16") }
        if isSplit { try addWideForm(node, value, from: written) }
    }

    /// The node whose value a convolution writes: its own, or that of the activation which its clamp does.
    func target(of index: Int) -> Int {
        let value = graph.nodes[index].output
        return graph.valuesInsideFusedActivations.contains(value) ? graph.consumers(of: value)[0] : index
    }

    /// The coding that a convolution writes.
    func output(of index: Int) -> ValueCoding {
        let target = target(of: index)
        let value = graph.nodes[target].output
        return (target != index ? byteForms[value] : nil) ?? codings[value]!
    }

    /// Weights rounded to the nearest code, in the scales with the least error.
    func rounded(_ index: Int, _ conv: ConvWeights) -> TunedConvolution {
        let value = graph.nodes[index].inputs[0]
        let input = readCoding(value)
        let scales = (0..<conv.inChannels).map { input.scale($0) }
        let weights =
            input.isWide
            ? WeightQuantizer.quantizeWide(conv, inputScales: scales)
            : WeightQuantizer.quantize(conv, inputScales: scales, importance: importance(value), clips: clipsWeights)
        return TunedConvolution(weights: weights, bias: conv.bias.map(Double.init))
    }

    /// A convolution as the file holds it.
    func parts(_ index: Int, _ tuned: TunedConvolution) throws(QuantizeError) -> ConvolutionParts {
        let node = graph.nodes[index]
        guard case .conv3d(let conv) = node.op else { preconditionFailure("not a convolution") }
        let (input, output) = (readCoding(node.inputs[0]), output(of: index))
        let shape = Conv3D(
            inChannels: conv.inChannels, outChannels: conv.outChannels, kernel: Extent(conv.kernel),
            dilation: Extent(conv.dilation), padding: Extent(conv.padding), inputElement: input.isWide ? .i16 : .u8,
            inputZeroPoint: input.zeroPoint, outputZeroPoint: output.zeroPoint,
            outputElement: output.isWide ? .i16 : .u8)
        let perChannel = conv.weights.count / conv.outChannels
        var channels: [mk_channel] = []
        for o in 0..<conv.outChannels {
            channels.append(
                try channel(
                    o, node, row: tuned.weights.codes[(o * perChannel)..<((o + 1) * perChannel)],
                    bias: tuned.bias[o], scale: tuned.weights.accumulatorScales[o], zeroPoint: input.zeroPoint,
                    largestCode: input.isWide ? 32768 : 255, outputScale: output.scale(o)))
        }
        return ConvolutionParts(weights: kernelOrder(tuned.weights.codes, shape), channels: channels)
    }

    /// - Parameters:
    ///   - row: the weights of output channel `o`.
    ///   - bias: real.
    ///   - scale: real value of one accumulator unit.
    ///   - largestCode: magnitude that no code of the input exceeds.
    func channel(
        _ o: Int, _ node: Node, row: ArraySlice<some SignedInteger>, bias real: Double, scale: Double,
        zeroPoint: UInt8, largestCode: Int = 255, outputScale: Float
    ) throws(QuantizeError) -> mk_channel {
        let sum = row.reduce(0) { $0 + Int($1) }
        let magnitude = row.reduce(0) { $0 + Int($1.magnitude) }
        let bias = (real / scale).rounded() - Double(sum * Int(zeroPoint))
        guard bias.magnitude < 0x1p30, Double(magnitude * largestCode) + bias.magnitude < 0x1p31 else {
            throw QuantizeError(
                layer: node.name, message: "channel \(o) could overflow the 32-bit accumulator (bias \(real))")
        }
        guard let requantizer = Requantizer.nearest(scale / Double(outputScale)) else {
            throw QuantizeError(layer: node.name, message: "channel \(o) has no requantization factor under a quarter")
        }
        return mk_channel(
            bias: Int32(bias), multiplier: requantizer.multiplier, shift: requantizer.shift, reserved: 0)
    }

    private func kernelOrder(_ codes: [Int16], _ conv: Conv3D) -> [Int8] {
        var result = [Int8](repeating: 0, count: conv.weightBytes)
        var source = 0
        for o in 0..<conv.outChannels {
            for i in 0..<conv.inChannels {
                for kz in 0..<conv.kernel.depth {
                    for ky in 0..<conv.kernel.height {
                        for kx in 0..<conv.kernel.width {
                            let at = conv.weightIndex(o: o, i: i, kz: kz, ky: ky, kx: kx)
                            result[at] = Int8(truncatingIfNeeded: codes[source])
                            if conv.inputElement == .i16 { result[at + 1] = Int8(codes[source] >> 8) }
                            source += 1
                        }
                    }
                }
            }
        }
        return result
    }

    private mutating func addLookup(_ index: Int, _ node: Node, _ f: Activation) {
        let input = codings[node.inputs[0]]!
        let output = codings[node.output]!
        let codes = output.isWide ? -32768.0...32767 : 0...255
        func code(_ x: Double) -> Int {
            let y = (f(x) / Double(output.scale(0))).rounded() + Double(output.zeroPoint)
            return Int(min(max(y, codes.lowerBound), codes.upperBound))
        }
        let scale = Double(input.scale(0))
        let step = 1 << LookupWide.indexShift
        var table = RecordBytes()
        switch (input.isWide, output.isWide) {
        case (true, true):
            for i in 0...LookupWide.entries { table.append(Int16(code(scale * Double(i * step - 32768)))) }
        case (true, false):
            // The middle of the codes that share an entry.
            let middle = Double(step - 1) / 2
            for i in 0..<LookupWide.entries { table.append(UInt8(code(scale * (Double(i * step - 32768) + middle)))) }
        default: for i in 0..<256 { table.append(UInt8(code(scale * Double(i - Int(input.zeroPoint))))) }
        }
        var op = OpRecord()
        op.kind = input.isWide ? .lookupWide : .lookup
        addTensor(node.output, name: node.name)
        addOp(op, node, output: node.output, table: table.bytes, tableAlignment: output.isWide ? 2 : 1)
        finish(index, output.isWide ? "lookup-i16-i16" : input.isWide ? "lookup-i16" : "lookup-u8")
    }

    private mutating func addArgmax(_ index: Int, _ node: Node) {
        var record = TensorRecord()
        record.storage = .labels
        record.channels = 1
        record.take(shapes[node.inputs[0]])
        let labels = builder.addTensor(record, name: "labels", scales: [])
        builder.record.labelTensor = labels
        var op = OpRecord()
        op.kind = .argmax
        builder.addOp(op, name: node.name, inputs: [tensors[node.inputs[0]]!], output: labels)
        finish(index, "argmax")
    }

    func triple(_ size: Size3) -> (UInt16, UInt16, UInt16) {
        (UInt16(size.depth), UInt16(size.height), UInt16(size.width))
    }
}

extension Extent {
    init(_ size: Size3) { self.init(depth: size.depth, height: size.height, width: size.width) }
}
