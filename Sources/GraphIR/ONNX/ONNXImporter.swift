import ONNXSchema

/// Builds the float graph of an ONNX model: one input `[N, C, …]` of one to three axes, one output of class scores.
///
/// Networks of one or two axes become 3D ones whose kernels have size 1 along the others. Elementwise chains on one value become one
/// function (`Expression`), affine ones are left to be folded into convolutions, dropout and casts disappear, a softmax or argmax at
/// the end is dropped. What cannot be imported is collected, so that one message names all of it.
public struct ONNXImporter {
    /// What an ONNX value is here.
    enum Value {
        case constant(ONNXConstant)
        case tensor(ValueID)
        /// A function of a value that has not been needed by itself yet.
        case function(ValueID, Expression)
        /// A tensor with zeros around it (begin, end along three axes), which the next convolution takes up.
        case padded(ValueID, [Int])
        /// One normalization per group on a reshaped tensor: what older opsets make of group normalization.
        case grouped(ValueID, groups: Int, isNormalized: Bool, epsilon: Double)
        /// A step of a normalization over the channels that is written out.
        case moment(ValueID, Moment)
        /// Something computed from shapes.
        case shape
        /// Depends on a node that could not be imported, and was reported there.
        case unknown
    }

    /// One reason why a node cannot be imported.
    struct Problem: Error {
        var text: String
        init(_ text: String) { self.text = text }
    }

    let model: ONNXModel
    let reader: ONNXTensorReader
    var graph: FloatGraph
    /// Axes of the network: 1 to 3.
    let rank: Int
    /// Names of values whose channels are the last axis.
    var channelsLast: Set<String> = []
    /// Whether those of the node that is being added are.
    var isChannelsLast = false
    /// Names of values of one voxel that were copied over a grid.
    var spread: Set<String> = []
    /// How many axes of length 1 such a value has behind its channels, where that is neither none nor `rank`.
    var axesBehind: [String: Int] = [:]
    /// Of the graph's values, as far as they were asked for.
    var spans: [ValueSpan] = [.voxel]
    private(set) var values: [String: Value] = [:]
    /// Of the network's values, as far as they were asked for, where the file fixes that of its input.
    private var sizes: [Size3]
    /// Names of the nodes whose values are still functions: what the table that is made of one is called.
    private var functionNames: [String: String] = [:]
    private var problems: [String] = []

    /// - Throws: `malformed` for contradictions; `unsupported` with all that is missing in `details`.
    public static func graph(model: ONNXModel) throws(ImportError) -> FloatGraph {
        var importer = try ONNXImporter(model)
        return try importer.build()
    }

    private init(_ model: ONNXModel) throws(ImportError) {
        self.model = model
        reader = ONNXTensorReader(path: model.path)
        let constants = Set(model.graph.initializer.map(\.name))
        let inputs = model.graph.input.filter { !constants.contains($0.name) }
        guard inputs.count == 1, let shape = model.shape(of: inputs[0].name), (3...5).contains(shape.count),
            (1...4096).contains(shape[1])
        else {
            let shown = inputs.prefix(4).map { "\($0.name) \(model.shape(of: $0.name) ?? [])" }.joined(separator: ", ")
            throw ImportError(
                .unsupported, model.path,
                "\(inputs.count) inputs: \(shown) (must be one of [N, C, …] with one to three axes and known C)")
        }
        rank = shape.count - 2
        graph = FloatGraph(inputChannels: shape[1])
        let sides = [Int](repeating: 1, count: 3 - rank) + shape[2...]
        sizes = sides.allSatisfy((1...32767).contains) ? [Size3(sides)] : []
        values[inputs[0].name] = .tensor(0)
    }

    private mutating func build() throws(ImportError) -> FloatGraph {
        for tensor in model.graph.initializer { values[tensor.name] = .constant(try reader.read(tensor)) }
        for (index, node) in model.graph.node.enumerated() {
            let name = node.name.isEmpty ? "\(node.opType)_\(index)" : node.name
            do {
                try addWithSpans(node) { importer in try importer.addInLayout(node, name) }
                if let output = node.output.first, case .function? = values[output] { functionNames[output] = name }
            } catch let problem as Problem {
                report(node, name, problem.text)
            } catch let error as ImportError {
                throw error
            } catch {
                report(node, name, "\(error)")
            }
        }
        guard problems.isEmpty else {
            var error = ImportError(
                .unsupported, model.path, "\(problems.count) of \(model.graph.node.count) nodes cannot be imported")
            error.details = problems
            throw error
        }
        return try finish()
    }

    private mutating func report(_ node: Onnx_NodeProto, _ name: String, _ text: String) {
        for output in node.output { values[output] = .unknown }
        let shapes = node.input.compactMap { input -> String? in
            switch values[input] {
            case .constant(let c): "\(c.shape)"
            case .tensor(let v), .function(let v, _), .padded(let v, _), .grouped(let v, _, _, _), .moment(let v, _):
                "\(graph.channels[v]) channels"
            default: model.shape(of: input).map { "\($0)" }
            }
        }
        problems.append("\(name): \(node.opType): \(text) (inputs: \(shapes.joined(separator: ", ")))")
    }

    // MARK: The end

    /// Scores of the first output, argmax behind them, and nothing that they do not need.
    private mutating func finish() throws(ImportError) -> FloatGraph {
        guard let output = model.graph.output.first, let value = values[output.name] else {
            throw ImportError(.malformed, model.path, "no node makes the output")
        }
        func fail(_ message: String) -> ImportError {
            ImportError(.unsupported, model.path, "output \(output.name): \(message)")
        }
        var scores: ValueID
        switch value {
        case .function(let base, .unary(.sigmoid, .x)) where graph.channels[base] == 1:
            // A probability of one class: above a half where its logit is above 0.
            scores = graph.append(
                "\(output.name).classes",
                .conv3d(.pointwise(2, 1, [0, 1], bias: [0, 0])), [base])
        default:
            do {
                scores = try materialize(value, functionNames[output.name] ?? "\(output.name).scores")
            } catch {
                throw fail(error.text)
            }
        }
        guard !isPooled(scores) else { throw fail("one voxel for all (class scores must have one for each voxel)") }
        guard (2...4096).contains(graph.channels[scores]) else {
            throw fail("\(graph.channels[scores]) channels (class scores must have 2 to 4096)")
        }
        // The argmax of sums, tables and the like needs scores of their own.
        if case .conv3d? = graph.nodes.last(where: { $0.output == scores })?.op {
        } else {
            scores = graph.append("\(output.name).copy", .conv3d(.identity(graph.channels[scores])), [scores])
        }
        graph.append("argmax", .argmax, [scores])
        let pruned = graph.pruned()
        do {
            try pruned.check()
            try pruned.foldingBatchNorm().check()
        } catch {
            throw ImportError(.malformed, model.path, error.description)
        }
        return pruned
    }

    /// Of a value; nil where the file leaves the input's open.
    mutating func size(of value: ValueID) -> Size3? {
        guard !sizes.isEmpty else { return nil }
        while sizes.count <= value {
            let node = graph.nodes[sizes.count - 1]
            _ = isPooled(node.output)
            let size = node.op.outputSize(sizes[node.sizing(spans)])
            guard [size.depth, size.height, size.width].allSatisfy((1...(1 << 20)).contains) else { return nil }
            sizes.append(size)
        }
        return sizes[value]
    }

    // MARK: Values

    func value(_ name: String) throws(Problem) -> Value {
        guard let value = values[name] else { throw Problem("\(name) does not exist before it") }
        return value
    }

    func input(_ node: Onnx_NodeProto, _ index: Int) throws(Problem) -> Value {
        guard node.input.count > index, !node.input[index].isEmpty else { throw Problem("input \(index) is missing") }
        return try value(node.input[index])
    }

    func hasInput(_ node: Onnx_NodeProto, _ index: Int) -> Bool {
        node.input.count > index && !node.input[index].isEmpty
    }

    func constant(_ node: Onnx_NodeProto, _ index: Int, _ what: String) throws(Problem) -> ONNXConstant {
        guard case .constant(let constant) = try input(node, index) else { throw Problem("\(what) is not a constant") }
        return constant
    }

    /// Input `index` as a value of the graph.
    mutating func tensor(_ node: Onnx_NodeProto, _ index: Int, _ name: String) throws(Problem) -> ValueID {
        let result = try materialize(
            try input(node, index), functionNames[node.input[index]] ?? "\(name).input\(index)")
        // Whoever reads it next need not compute it again.
        if case .function = values[node.input[index]] { values[node.input[index]] = .tensor(result) }
        return result
    }

    mutating func materialize(_ value: Value, _ name: String) throws(Problem) -> ValueID {
        switch value {
        case .tensor(let id): return id
        case .function(let base, let f): return materialize(f, of: base, name)
        case .padded: throw Problem("zeros around a tensor that is not the input of a convolution")
        case .grouped: throw Problem("a reshaped tensor")
        case .moment: throw Problem("a mean over the channels outside of a normalization")
        case .constant: throw Problem("a constant where a tensor should be")
        case .shape: throw Problem("a shape that is not known here")
        case .unknown: throw Problem("an input cannot be imported")
        }
    }

    private mutating func materialize(_ f: Expression, of base: ValueID, _ name: String) -> ValueID {
        if let (gain, offset) = f.affine, case .conv3d? = graph.nodes.last(where: { $0.output == base })?.op {
            let count = graph.channels[base]
            return affine(
                name, base, gain: [Float](repeating: Float(gain), count: count),
                offset: [Float](repeating: Float(offset), count: count))
        }
        // A ReLU joins the convolution before it; the upper end is a table of what is left.
        if case .maximum(.minimum(.x, .constant(let high)), .constant(0)) = f, high > 0 {
            let rectified = graph.append("\(name).relu", .activation(.relu), [base])
            return graph.append(name, .activation(.expression(.minimum(.x, .constant(high)))), [rectified])
        }
        return graph.append(name, .activation(f == .relu ? .relu : .expression(f)), [base])
    }

    /// Per channel gain · x + offset.
    mutating func affine(_ name: String, _ base: ValueID, gain: [Float], offset: [Float]) -> ValueID {
        let zeros = [Float](repeating: 0, count: gain.count)
        let ones = [Float](repeating: 1, count: gain.count)
        return graph.append(
            name, .batchNorm(BatchNorm(mean: zeros, variance: ones, scale: gain, shift: offset, epsilon: 0)), [base])
    }

    /// As many zeros as the product of the factors: weights that are larger here than in the file have a limit of 2^26.
    static func zeros(_ factors: Int...) throws(Problem) -> [Float] {
        guard let count = elementCount(factors), count <= 1 << 26 else {
            throw Problem("\(factors.map(String.init).joined(separator: " × ")) weights written out (limit \(1 << 26))")
        }
        return [Float](repeating: 0, count: count)
    }

    mutating func set(_ node: Onnx_NodeProto, _ value: Value) {
        if let output = node.output.first { set(output, value) }
    }

    mutating func set(_ name: String, _ value: Value) { values[name] = value }
}

extension ConvWeights {
    static func pointwise(_ out: Int, _ channels: Int, _ weights: [Float], bias: [Float]) -> ConvWeights {
        ConvWeights(
            outChannels: out, inChannels: channels, kernel: Size3(cube: 1), dilation: Size3(cube: 1),
            padding: Size3(cube: 0), weights: weights, bias: bias)
    }

    /// Copies its input.
    public static func identity(_ channels: Int) -> ConvWeights {
        var weights = [Float](repeating: 0, count: channels * channels)
        for c in 0..<channels { weights[c * channels + c] = 1 }
        return pointwise(channels, channels, weights, bias: [Float](repeating: 0, count: channels))
    }
}

extension FloatGraph {
    /// The same network without nodes that its end does not depend on.
    func pruned() -> FloatGraph {
        var needed: Set<ValueID> = [nodes[nodes.count - 1].output]
        for node in nodes.reversed() where needed.contains(node.output) { needed.formUnion(node.inputs) }
        var result = FloatGraph(inputChannels: inputChannels)
        var renamed: [ValueID: ValueID] = [0: 0]
        for node in nodes where needed.contains(node.output) {
            renamed[node.output] = result.append(node.name, node.op, node.inputs.map { renamed[$0]! })
        }
        return result
    }
}
