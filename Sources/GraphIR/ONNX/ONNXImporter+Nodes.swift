import ONNXSchema

extension ONNXImporter {
    /// Operators that `add` knows: for messages and `mkquant inspect`.
    static let binaryOperators: Set = ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "PRelu"]

    mutating func add(_ node: Onnx_NodeProto, _ name: String) throws {
        guard node.domain.isEmpty || node.domain == "ai.onnx" else { throw Problem("domain \(node.domain)") }
        if node.input.contains(where: { if case .unknown = values[$0] { true } else { false } }) {
            for output in node.output { set(output, .unknown) }
            return
        }
        if try addMoment(node, name) { return }
        if try addReshaped(node) { return }
        if let f = try unary(node) { return try applyUnary(f, node, name) }
        if Self.binaryOperators.contains(node.opType) {
            guard node.input.count == 2 else { throw Problem("\(node.input.count) inputs (must be 2)") }
            return try binary(node, name)
        }
        switch node.opType {
        case "Conv": try convolution(node, name)
        case "ConvTranspose": try transposed(node, name)
        case "MaxPool": try pool(node, name, isMax: true)
        case "AveragePool": try pool(node, name, isMax: false)
        case "GlobalAveragePool": try globalPool(node, name)
        case "Gemm": try gemm(node, name)
        case "Resize", "Upsample": try resize(node, name)
        case "BatchNormalization": try batchNormalization(node, name)
        case "InstanceNormalization": try instanceNormalization(node, name)
        case "GroupNormalization": try groupNormalization(node, name)
        case "LayerNormalization": try layerNormalization(node, name)
        case "ReduceMean": try mean(node, name)
        case "MatMul": try matrixProduct(node, name)
        case "Split": try split(node, name)
        case "Slice": try slice(node, name)
        case "Transpose": try transpose(node, name)
        case "Concat": try concatenate(node, name)
        case "Pad": try pad(node, name)
        case "Constant": try constantNode(node)
        case "Dropout":
            if hasInput(node, 2), try constant(node, 2, "training_mode").scalar != 0 {
                throw Problem("training_mode=1")
            }
            set(node, try input(node, 0))
        case "Identity", "Cast": set(node, try input(node, 0))
        case "QuantizeLinear": try quantized(node, name)
        case "DequantizeLinear": set(node, try dequantized(node))
        case "Softmax", "LogSoftmax", "ArgMax": try dropped(node)
        case "Shape", "Size": set(node, .shape)
        case "Gather", "Unsqueeze", "Squeeze", "Range", "ConstantOfShape", "Expand", "Flatten":
            try shapeArithmetic(node)
        case "Reshape": try reshape(node)
        default: throw Problem("is not supported")
        }
    }

    // MARK: Normalizations

    private func parameters(_ node: Onnx_NodeProto, _ range: ClosedRange<Int>, _ count: Int) throws(Problem)
        -> [[Float]]
    {
        var result: [[Float]] = []
        for index in range {
            let found = try constant(node, index, "input \(index)")
            guard found.values.count == count else {
                throw Problem("input \(index) is \(found.shape) for \(count) channels")
            }
            result.append(found.values)
        }
        return result
    }

    private mutating func batchNormalization(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let source = try tensor(node, 0, name)
        guard ONNXAttributes(node).int("training_mode", 0) == 0 else { throw Problem("training_mode=1") }
        let lists = try parameters(node, 1...4, graph.channels[source])
        guard lists[3].allSatisfy({ $0 >= 0 }) else { throw Problem("a variance is negative") }
        let norm = BatchNorm(
            mean: lists[2], variance: lists[3], scale: lists[0], shift: lists[1],
            epsilon: ONNXAttributes(node).float("epsilon", 1e-5))
        set(node, .tensor(graph.append(name, .batchNorm(norm), [source])))
    }

    /// Statistics are those of the volume, or in a network of two axes those of each slice.
    private func requirePlanes() throws(Problem) {
        guard rank >= 2 else { throw Problem("statistics of one axis (supported: networks of two or three axes)") }
    }

    private func groupNorm(groups: Int, _ scale: [Float], _ shift: [Float], _ epsilon: Double) -> GroupNorm {
        GroupNorm(groups: groups, scale: scale, shift: shift, epsilon: epsilon, isPerSlice: rank == 2)
    }

    private mutating func instanceNormalization(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        try requirePlanes()
        let epsilon = ONNXAttributes(node).float("epsilon", 1e-5)
        if case .grouped(let source, let groups, false, _) = try input(node, 0) {
            let lists = try parameters(node, 1...2, groups)
            guard lists[0].allSatisfy({ $0 == 1 }), lists[1].allSatisfy({ $0 == 0 }) else {
                throw Problem("gain and shift for each group")
            }
            return set(node, .grouped(source, groups: groups, isNormalized: true, epsilon: epsilon))
        }
        let source = try tensor(node, 0, name)
        let count = graph.channels[source]
        let lists = try parameters(node, 1...2, count)
        set(
            node,
            .tensor(
                graph.append(
                    name, .groupNorm(groupNorm(groups: count, lists[0], lists[1], epsilon)),
                    [source])))
    }

    private mutating func groupNormalization(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        try requirePlanes()
        let source = try tensor(node, 0, name)
        let count = graph.channels[source]
        let attributes = ONNXAttributes(node)
        let groups = attributes.int("num_groups", 0)
        guard groups > 0, count % groups == 0 else { throw Problem("\(groups) groups of \(count) channels") }
        // Until opset 20 there was one gain and shift for each group.
        let perGroup = try constant(node, 1, "scale").values.count == groups && groups != count
        let lists = try parameters(node, 1...2, perGroup ? groups : count).map { list in
            perGroup ? list.flatMap { [Float](repeating: $0, count: count / groups) } : list
        }
        let norm = groupNorm(groups: groups, lists[0], lists[1], attributes.float("epsilon", 1e-5))
        set(node, .tensor(graph.append(name, .groupNorm(norm), [source])))
    }

    // MARK: Layout

    private mutating func concatenate(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let inputs = try node.input.map { value throws(Problem) in try self.value(value) }
        if inputs.contains(where: { if case .shape = $0 { true } else { false } }) { return set(node, .shape) }
        let constants = inputs.compactMap { if case .constant(let c) = $0 { c } else { nil } }
        if constants.count == inputs.count {
            guard constants.allSatisfy({ $0.shape.count <= 1 }) else { throw Problem("constants of several axes") }
            let values = constants.flatMap(\.values)
            let integers = constants.allSatisfy { $0.integers != nil } ? constants.flatMap { $0.integers! } : nil
            return set(node, .constant(ONNXConstant(shape: [values.count], values: values, integers: integers)))
        }
        let axis = ONNXAttributes(node).int("axis", 0)
        guard axis == 1 || axis == -(rank + 1) else { throw Problem("axis \(axis) (supported: channels, 1)") }
        var sources: [ValueID] = []
        for index in inputs.indices { sources.append(try tensor(node, index, name)) }
        // One voxel beside many has to have been copied.
        let copies = zip(node.input, sources).filter { spread.contains($0.0) }.count
        let pooled = sources.filter { isPooled($0) }.count
        guard copies == pooled || (copies == 0 && pooled == sources.count) else {
            throw Problem("one voxel beside all of them that was not copied")
        }
        set(node, .tensor(sources.count == 1 ? sources[0] : graph.append(name, .concat, sources)))
    }

    private mutating func pad(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let attributes = ONNXAttributes(node)
        guard attributes.text("mode", "constant") == "constant" else {
            throw Problem("mode=\(attributes.text("mode", ""))")
        }
        let list = hasInput(node, 1) ? try constant(node, 1, "pads").integers : attributes.ints("pads")
        let filling = hasInput(node, 2) ? try constant(node, 2, "value").scalar : Float(attributes.float("value", 0))
        guard let list, list.count == 2 * (rank + 2), filling == 0, list.allSatisfy({ (0...4096).contains($0) }),
            [list[0], list[1], list[rank + 2], list[rank + 3]] == [0, 0, 0, 0], !hasInput(node, 3)
        else {
            throw Problem("pads \(list ?? []) with \(filling.map { "\($0)" } ?? "?") (supported: zeros along the axes)")
        }
        let source = try tensor(node, 0, name)
        let absent = [Int](repeating: 0, count: 3 - rank)
        let pads = absent + list[2..<(rank + 2)] + absent + list[(rank + 4)...]
        set(node, pads.allSatisfy { $0 == 0 } ? .tensor(source) : .padded(source, pads))
    }

    /// What older opsets do around the normalization of groups: [N, groups, -1] and back.
    private mutating func reshape(_ node: Onnx_NodeProto) throws(Problem) {
        let source = try input(node, 0)
        switch source {
        case .shape: return set(node, .shape)
        case .constant(let c):
            guard let wanted = try constant(node, 1, "shape").integers, elementCount(wanted) == c.values.count else {
                throw Problem("a constant \(c.shape)")
            }
            return set(node, .constant(ONNXConstant(shape: wanted, values: c.values, integers: c.integers)))
        case .grouped(let base, let groups, true, let epsilon):
            let count = graph.channels[base]
            let norm = groupNorm(
                groups: groups, [Float](repeating: 1, count: count), [Float](repeating: 0, count: count), epsilon)
            return set(node, .tensor(graph.append("\(node.output.first ?? "").norm", .groupNorm(norm), [base])))
        default: break
        }
        guard !isChannelsLast else { throw Problem("of a tensor whose channels are the last axis") }
        let base = try tensor(node, 0, node.output.first ?? "reshape")
        guard let wanted = try constant(node, 1, "shape").integers, wanted.count == 3, wanted[2] == -1, wanted[1] > 0,
            graph.channels[base] % wanted[1] == 0
        else { throw Problem("other than around a group normalization") }
        try requirePlanes()
        set(node, .grouped(base, groups: wanted[1], isNormalized: false, epsilon: 0))
    }

    /// Only of shapes and constants of one axis.
    mutating func shapeArithmetic(_ node: Onnx_NodeProto) throws(Problem) {
        switch try input(node, 0) {
        case .shape, .constant: set(node, .shape)
        default: throw Problem("of a tensor")
        }
    }

    // MARK: Constants, quantization, ends

    private mutating func constantNode(_ node: Onnx_NodeProto) throws {
        let attributes = ONNXAttributes(node)
        if let tensor = attributes.tensor("value") { return set(node, .constant(try reader.read(tensor))) }
        if attributes.names.contains("value_float") {
            return set(node, .constant(ONNXConstant(shape: [], values: [Float(attributes.float("value_float", 0))])))
        }
        if attributes.names.contains("value_int") {
            let value = attributes.int("value_int", 0)
            return set(node, .constant(ONNXConstant(shape: [], values: [Float(value)], integers: [value])))
        }
        if let list = attributes.ints("value_ints") {
            return set(
                node, .constant(ONNXConstant(shape: [list.count], values: list.map { Float($0) }, integers: list)))
        }
        throw Problem("of \(attributes.names.joined(separator: ", "))")
    }

    /// A quantized constant is its codes. Activations are quantized anew, by our own calibration, but what codes cannot tell is cut
    /// off: quantizers leave out a ReLU where codes begin at 0.
    private mutating func quantized(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let scale = try constant(node, 1, "scale")
        guard let s = scale.scalar, s > 0 else { throw Problem("scale \(scale.shape)") }
        let zeroPoint = hasInput(node, 2) ? try constant(node, 2, "zero point") : nil
        let range: ClosedRange<Float>? = if let zeroPoint { zeroPoint.codes } else { 0...255 }
        guard let codes = range, let zero = zeroPoint == nil ? 0 : zeroPoint?.scalar else {
            throw Problem("zero point \(zeroPoint?.shape ?? [])")
        }
        if case .constant(let c) = try input(node, 0) {
            let values = c.values.map {
                min(max(($0 / s).rounded(.toNearestOrEven) + zero, codes.lowerBound), codes.upperBound)
            }
            return set(node, .constant(ONNXConstant(shape: c.shape, values: values, codes: codes)))
        }
        // In the midst of a group normalization in parts nothing was left out.
        if case .grouped = try input(node, 0) { return set(node, try input(node, 0)) }
        let limits = Expression.clip(Double((codes.lowerBound - zero) * s), Double((codes.upperBound - zero) * s))
        try applyUnary(limits, node, name)
    }

    /// Weights get the values that their codes stand for.
    private func dequantized(_ node: Onnx_NodeProto) throws(Problem) -> Value {
        guard case .constant(let c) = try input(node, 0) else { return try input(node, 0) }
        let scale = try constant(node, 1, "scale")
        let zeros = hasInput(node, 2) ? try constant(node, 2, "zero point").values : [0]
        let axis = ONNXAttributes(node).int("axis", 1)
        let count = scale.values.count
        guard count == 1 || (c.shape.indices.contains(axis) && c.shape[axis] == count),
            [1, count].contains(zeros.count)
        else {
            throw Problem("scale \(scale.shape) along axis \(axis) of \(c.shape)")
        }
        let inner = count == 1 ? c.values.count : c.shape[(axis + 1)...].reduce(1, *)
        let values = c.values.enumerated().map { index, code in
            let channel = index / max(1, inner) % count
            return (code - zeros[zeros.count == 1 ? 0 : channel]) * scale.values[channel]
        }
        return .constant(ONNXConstant(shape: c.shape, values: values))
    }

    /// The order of the scores decides; what keeps it is dropped at the end of a network.
    private mutating func dropped(_ node: Onnx_NodeProto) throws(Problem) {
        let axis = ONNXAttributes(node).int("axis", node.opType == "ArgMax" ? 0 : model.opset < 13 ? 1 : -1)
        guard axis == 1 || axis == -(rank + 1) else { throw Problem("axis \(axis) (supported: channels, 1)") }
        let output = node.output.first ?? ""
        guard
            !model.graph.node.contains(where: {
                $0.input.contains(output) && !["Cast", "Identity", "Squeeze"].contains($0.opType)
            })
        else {
            throw Problem("before the end of the network")
        }
        set(node, try input(node, 0))
    }
}
