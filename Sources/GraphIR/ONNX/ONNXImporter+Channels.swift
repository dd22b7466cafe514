import ONNXSchema

/// Operators along the channels: layouts with these as the last axis, matrix products, normalizations, parts.
extension ONNXImporter {
    /// Steps of (x - mean) / sqrt(mean((x - mean)²) + epsilon) over the channels.
    enum Moment {
        case mean, centred, squares
        case variance(epsilon: Double)
        case deviation(epsilon: Double)
    }

    /// Operators that do not care where the channels are, besides the elementwise ones.
    private static let anyLayout: Set = [
        "LayerNormalization", "ReduceMean", "MatMul", "Transpose", "Identity", "Dropout", "Cast", "QuantizeLinear",
        "DequantizeLinear", "Gemm", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Shape", "Size",
    ]

    /// Adds a node whose values may have their channels last.
    mutating func addInLayout(_ node: Onnx_NodeProto, _ name: String) throws {
        let inputs = node.input.filter { isTensor($0) }
        isChannelsLast = inputs.contains { channelsLast.contains($0) }
        defer { isChannelsLast = false }
        if isChannelsLast {
            guard inputs.allSatisfy(channelsLast.contains) else {
                throw Problem("inputs of which only some have their channels as the last axis")
            }
            let isElementwise = Self.binaryOperators.contains(node.opType)
            guard try isElementwise || Self.anyLayout.contains(node.opType) || unary(node) != nil else {
                throw Problem("channels are the last axis here (supported: elementwise, MatMul, LayerNormalization)")
            }
        }
        try add(node, name)
        if isChannelsLast, node.opType != "Transpose", !Self.reshaping.contains(node.opType) {
            channelsLast.formUnion(node.output)
        }
    }

    private func isTensor(_ name: String) -> Bool {
        switch values[name] {
        case .tensor?, .function?, .moment?: true
        default: false
        }
    }

    mutating func transpose(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let source = try input(node, 0)
        if case .constant(let c) = source { return set(node, try transposed(c, ONNXAttributes(node).ints("perm"))) }
        if case .shape = source { return set(node, .shape) }
        let axes = Array(0..<(rank + 2))
        let order = ONNXAttributes(node).ints("perm") ?? axes.reversed()
        let toLast = [0] + axes[2...] + [1]
        let toFirst = [0, rank + 1] + axes[1..<(rank + 1)]
        switch (isChannelsLast, order) {
        case (_, axes): break
        case (false, toLast): channelsLast.formUnion(node.output)
        case (true, toFirst): return set(node, source)
        default: throw Problem("perm=\(order) (supported: channels from the second axis to the last and back)")
        }
        if isChannelsLast { channelsLast.formUnion(node.output) }
        set(node, source)
    }

    /// A matrix, or a tensor whose order stays.
    private func transposed(_ c: ONNXConstant, _ perm: [Int]?) throws(Problem) -> Value {
        guard c.shape.count == 2, perm ?? [1, 0] == [1, 0] else { throw Problem("of a constant \(c.shape)") }
        let (rows, columns) = (c.shape[0], c.shape[1])
        func turned<T>(_ values: [T]) -> [T] {
            (0..<values.count).map { values[$0 % rows * columns + $0 / rows] }
        }
        return .constant(
            ONNXConstant(
                shape: [columns, rows], values: turned(c.values), integers: c.integers.map(turned), codes: c.codes))
    }

    /// Every voxel's channels times a constant matrix: a pointwise convolution.
    mutating func matrixProduct(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let isFirst = if case .constant = try input(node, 0) { true } else { false }
        let matrix = try constant(node, isFirst ? 0 : 1, "a factor")
        let source = try tensor(node, isFirst ? 1 : 0, name)
        // x[…, C] · W[C, O], or W[O, C] · x[C, width] in networks of one axis.
        guard isFirst ? rank == 1 && !isChannelsLast : isChannelsLast else {
            throw Problem("of other axes than the channels")
        }
        let channels = graph.channels[source]
        guard matrix.shape.count == 2, matrix.shape[isFirst ? 1 : 0] == channels, matrix.shape[isFirst ? 0 : 1] <= 4096
        else { throw Problem("a matrix \(matrix.shape) for \(channels) channels") }
        let out = matrix.shape[isFirst ? 0 : 1]
        var weights = try Self.zeros(out, channels)
        for o in 0..<out {
            for c in 0..<channels {
                weights[o * channels + c] = matrix.values[isFirst ? o * channels + c : c * out + o]
            }
        }
        let bias = [Float](repeating: 0, count: out)
        set(node, .tensor(graph.append(name, .conv3d(.pointwise(out, channels, weights, bias: bias)), [source])))
    }

    // MARK: Normalization over the channels

    private var channelAxes: Set<Int> { isChannelsLast ? [rank + 1, -1] : [1, -(rank + 1)] }

    mutating func layerNormalization(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let attributes = ONNXAttributes(node)
        let source = try tensor(node, 0, name)
        let axis = attributes.int("axis", -1)
        guard isChannelsLast, channelAxes.contains(axis) else {
            throw Problem("axis \(axis) (supported: channels that are the last axis)")
        }
        let count = graph.channels[source]
        let scale = try constant(node, 1, "scale").values
        let shift = hasInput(node, 2) ? try constant(node, 2, "shift").values : [Float](repeating: 0, count: count)
        guard scale.count == count, shift.count == count else {
            throw Problem("\(scale.count) gains and \(shift.count) shifts for \(count) channels")
        }
        set(
            node,
            .tensor(try normalized(source, scale, shift, epsilon: attributes.float("epsilon", 1e-5), name)))
    }

    private mutating func normalized(
        _ source: ValueID, _ scale: [Float], _ shift: [Float], epsilon: Double, _ name: String
    ) throws(Problem) -> ValueID {
        guard scale.count <= 512 else { throw Problem("\(scale.count) channels (limit 512)") }
        return graph.append(name, .layerNorm(LayerNorm(scale: scale, shift: shift, epsilon: epsilon)), [source])
    }

    mutating func mean(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        if try addMeanOfSpace(node, name) { return }
        let attributes = ONNXAttributes(node)
        let axes = hasInput(node, 1) ? try constant(node, 1, "axes").integers : attributes.ints("axes")
        guard let axes, axes.count == 1, channelAxes.contains(axes[0]), attributes.int("keepdims", 1) == 1 else {
            throw Problem("axes \(axes ?? []) (supported: the channels, keepdims=1, or all others)")
        }
        switch try input(node, 0) {
        case .moment(let base, .squares): set(node, .moment(base, .variance(epsilon: 0)))
        default: set(node, .moment(try tensor(node, 0, name), .mean))
        }
    }

    /// Whether the node is a step of a normalization that is written out; then its value is set.
    mutating func addMoment(_ node: Onnx_NodeProto, _ name: String) throws(Problem) -> Bool {
        guard let found = try step(node) else { return false }
        guard case .moment(let base, .deviation(let epsilon)) = found, node.opType == "Div" else {
            set(node, found)
            return true
        }
        let count = graph.channels[base]
        set(
            node,
            .tensor(
                try normalized(
                    base, [Float](repeating: 1, count: count), [Float](repeating: 0, count: count), epsilon: epsilon,
                    name)))
        return true
    }

    /// What a node makes of a moment; of the last step the deviation.
    private func step(_ node: Onnx_NodeProto) throws(Problem) -> Value? {
        guard (1...2).contains(node.input.count) else { return nil }
        let a = try input(node, 0)
        let b = node.input.count == 2 ? try input(node, 1) : nil
        switch (node.opType, a, b) {
        case ("Sub", .tensor(let x), .moment(let base, .mean)?) where x == base: return .moment(base, .centred)
        case ("Pow", .moment(let base, .centred), .constant(let c)?) where c.scalar == 2:
            return .moment(base, .squares)
        case ("Mul", .moment(let base, .centred), .moment(let other, .centred)?) where base == other:
            return .moment(base, .squares)
        case ("Add", .moment(let base, .variance), .constant(let c)?),
            ("Add", .constant(let c), .moment(let base, .variance)?):
            guard let epsilon = c.scalar, epsilon > 0 else { return nil }
            return .moment(base, .variance(epsilon: Double(epsilon)))
        case ("Sqrt", .moment(let base, .variance(let epsilon)), nil):
            return .moment(base, .deviation(epsilon: epsilon))
        case ("Div", .moment(let base, .centred), .moment(let other, .deviation(let epsilon))?) where base == other:
            return .moment(base, .deviation(epsilon: epsilon))
        default: return nil
        }
    }

    // MARK: Parts

    mutating func split(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let attributes = ONNXAttributes(node)
        let axis = attributes.int("axis", 0)
        guard axis == 1 || axis == -(rank + 1) else { throw Problem("axis \(axis) (supported: channels, 1)") }
        let source = try tensor(node, 0, name)
        let count = graph.channels[source]
        let parts = node.output.count
        var sizes = hasInput(node, 1) ? try constant(node, 1, "split").integers ?? [] : attributes.ints("split") ?? []
        if sizes.isEmpty {
            let each = (count + parts - 1) / max(1, parts)
            sizes = (0..<parts).map { min(each, count - $0 * each) }
        }
        guard sizes.count == parts, sizes.allSatisfy({ (1...count).contains($0) }), sizes.reduce(0, +) == count else {
            throw Problem("\(sizes) of \(count) channels")
        }
        var first = 0
        for (index, size) in sizes.enumerated() {
            let channels = first..<(first + size)
            set(node.output[index], .tensor(try selected(channels, of: source, "\(name).\(index)")))
            first += size
        }
    }

    /// Some of the channels, by a convolution that copies them.
    private mutating func selected(_ range: Range<Int>, of source: ValueID, _ name: String) throws(Problem) -> ValueID {
        let count = graph.channels[source]
        guard range.count < count else { return source }
        var weights = try Self.zeros(range.count, count)
        for (o, c) in range.enumerated() { weights[o * count + c] = 1 }
        let zeros = [Float](repeating: 0, count: range.count)
        return graph.append(name, .conv3d(.pointwise(range.count, count, weights, bias: zeros)), [source])
    }

    mutating func slice(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        switch try input(node, 0) {
        case .shape, .constant: return try shapeArithmetic(node)
        default: break
        }
        func list(_ index: Int, _ attribute: String) throws(Problem) -> [Int]? {
            hasInput(node, index) ? try constant(node, index, attribute).integers : ONNXAttributes(node).ints(attribute)
        }
        let source = try tensor(node, 0, name)
        let starts = try list(1, "starts") ?? []
        let ends = try list(2, "ends") ?? []
        let axes = try list(3, "axes") ?? Array(starts.indices)
        let steps = try list(4, "steps") ?? starts.map { _ in 1 }
        guard !starts.isEmpty, [ends.count, axes.count, steps.count].allSatisfy({ $0 == starts.count }),
            steps.allSatisfy({ $0 == 1 })
        else { throw Problem("starts \(starts), ends \(ends), steps \(steps) (supported: steps of 1)") }
        let count = graph.channels[source]
        var range = 0..<count
        for (axis, (start, end)) in zip(axes, zip(starts, ends)) {
            if axis == 1 || axis == -(rank + 1) {
                func bound(_ at: Int) -> Int { min(max(at < 0 ? at + count : at, 0), count) }
                guard bound(start) < bound(end) else { throw Problem("channels \(start) to \(end) of \(count)") }
                range = bound(start)..<bound(end)
            } else if start != 0 || end < 1 << 31 - 1 {
                throw Problem("axis \(axis) from \(start) to \(end) (supported: channels)")
            }
        }
        set(node, .tensor(try selected(range, of: source, name)))
    }
}
