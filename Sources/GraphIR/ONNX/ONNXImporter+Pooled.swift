import ONNXSchema

/// Means over the slice or the volume, and what is made of the one voxel that is left: squeeze-and-excitation, image pooling.
///
/// Exporters write that voxel as `[N, C, 1, …]`, as `[N, C]` (then its channels are the last axis) and with some of the axes behind the
/// channels, in turns. Copied over a grid it stays one voxel, and who reads it has to take it for all.
extension ONNXImporter {
    /// Operators that change the axes of a value.
    static let reshaping: Set = ["Flatten", "Reshape", "Squeeze", "Unsqueeze"]
    private static let ofAnyAxes = reshaping.union(["Identity", "Cast", "Dropout", "Shape", "Size"])
    private static let ofCopies: Set = [
        "Concat", "Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear", "Shape", "Size",
    ]

    // MARK: What is pooled

    /// Whether a value has one voxel for a slice or the volume.
    mutating func isPooled(_ value: ValueID) -> Bool {
        while spans.count <= value { spans.append(graph.nodes[spans.count - 1].span(spans)) }
        return spans[value] != .voxel
    }

    private func base(_ name: String) -> ValueID? {
        switch values[name] {
        case .tensor(let base)?, .function(let base, _)?: base
        default: nil
        }
    }

    /// Checks what a node reads of pooled values, adds it, and checks what it has become.
    mutating func addWithSpans(_ node: Onnx_NodeProto, _ add: (inout ONNXImporter) throws -> Void) throws {
        let isElementwise = try Self.binaryOperators.contains(node.opType) || unary(node) != nil
        let copies = node.input.contains(where: spread.contains)
        if copies, !isElementwise, !Self.ofCopies.contains(node.opType) {
            throw Problem("of one voxel that was copied (supported: functions, products, concatenations)")
        }
        let isOdd = node.input.contains { axesBehind[$0] != nil }
        if isOdd, !Self.ofAnyAxes.contains(node.opType) {
            throw Problem("of other axes than [N, C] and [N, C\(String(repeating: ", 1", count: rank))]")
        }
        let first = graph.nodes.count
        try add(&self)
        for node in graph.nodes[first...] {
            _ = isPooled(node.output)
            if let fault = node.spanFault(spans) { throw Problem(fault) }
        }
        for output in node.output {
            if copies, let base = base(output), isPooled(base) { spread.insert(output) }
            if isOdd, !Self.reshaping.contains(node.opType) { axesBehind[output] = axesBehind[node.input[0]] }
        }
    }

    // MARK: Pooling

    mutating func globalPool(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        set(node, .tensor(try pooled(node, name)))
    }

    private mutating func pooled(_ node: Onnx_NodeProto, _ name: String) throws(Problem) -> ValueID {
        guard rank >= 2 else { throw Problem("of one axis (supported: networks of two or three axes)") }
        let source = try tensor(node, 0, name)
        return graph.append(name, .globalPool(isPerSlice: rank == 2), [source])
    }

    /// Whether a ReduceMean is one over all axes behind the channels; then its value is set.
    mutating func addMeanOfSpace(_ node: Onnx_NodeProto, _ name: String) throws(Problem) -> Bool {
        let attributes = ONNXAttributes(node)
        let axes = hasInput(node, 1) ? try constant(node, 1, "axes").integers : attributes.ints("axes")
        guard let axes, !isChannelsLast, Set(axes.map { $0 < 0 ? $0 + rank + 2 : $0 }) == Set(2..<(rank + 2)),
            axes.count == rank
        else { return false }
        set(node, .tensor(try pooled(node, name)))
        if attributes.int("keepdims", 1) == 0 { channelsLast.formUnion(node.output) }
        return true
    }

    // MARK: Axes

    /// Whether the node changes the axes of a pooled value, or copies it; then its value is set.
    mutating func addReshaped(_ node: Onnx_NodeProto) throws(Problem) -> Bool {
        guard let name = node.input.first, let base = base(name), isPooled(base), let output = node.output.first else {
            return false
        }
        let behind = channelsLast.contains(name) ? 0 : axesBehind[name] ?? rank
        let source = try value(name)
        switch node.opType {
        case "Flatten":
            guard ONNXAttributes(node).int("axis", 1) == 1 else { throw Problem("axis other than 1") }
            setAxes(output, 0)
        case "Squeeze", "Unsqueeze": setAxes(output, try behindChanged(node, behind))
        case "Reshape": setAxes(output, try behindReshaped(node, behind, channels: graph.channels[base]))
        case "Expand", "Resize", "Upsample":
            guard behind == rank else { throw Problem("of one voxel with \(behind + 2) axes (must be \(rank + 2))") }
            guard ONNXAttributes(node).text("coordinate_transformation_mode", "") != "tf_crop_and_resize" else {
                throw Problem("tf_crop_and_resize coordinates")
            }
            spread.insert(output)
        default: return false
        }
        set(node, source)
        return true
    }

    private mutating func setAxes(_ output: String, _ behind: Int) {
        if behind == 0 { channelsLast.insert(output) } else if behind < rank { axesBehind[output] = behind }
    }

    private func behindChanged(_ node: Onnx_NodeProto, _ behind: Int) throws(Problem) -> Int {
        let found = hasInput(node, 1) ? try constant(node, 1, "axes").integers : ONNXAttributes(node).ints("axes")
        guard let axes = found else { throw Problem("of all axes of length 1 (supported: axes that are named)") }
        let isFewer = node.opType == "Squeeze"
        let result = behind + (isFewer ? -axes.count : axes.count)
        let total = 2 + max(behind, result)
        let places = Set(axes.map { $0 < 0 ? $0 + total : $0 })
        guard (0...rank).contains(result), places.count == axes.count, places.allSatisfy((2..<total).contains) else {
            throw Problem("axes \(axes) of one voxel with \(behind + 2) axes (supported: those behind the channels)")
        }
        return result
    }

    /// [N, C] and as many ones as there may be. Of a shape that is computed, what is constant counts.
    private func behindReshaped(_ node: Onnx_NodeProto, _ behind: Int, channels: Int) throws(Problem) -> Int {
        guard let sides = try shape(node.input.count > 1 ? node.input[1] : "") else {
            throw Problem("to a shape that is not known here")
        }
        func isCopied(_ axis: Int) -> Bool { sides[axis] == 0 && axis < behind + 2 }
        let result = sides.count - 2
        guard (0...rank).contains(result), sides.count(where: { $0 == -1 }) <= 1,
            sides[1].map({ [channels, -1].contains($0) }) ?? true || isCopied(1),
            (2..<sides.count).allSatisfy({ sides[$0] == 1 || isCopied($0) })
        else {
            let shown = sides.map { $0.map { "\($0)" } ?? "?" }.joined(separator: ", ")
            throw Problem("one voxel to [\(shown)] (supported: [N, C] and ones behind)")
        }
        return result
    }

    /// Sides of a shape, nil where one is computed; nil where nothing is known.
    private func shape(_ name: String) throws(Problem) -> [Int?]? {
        if case .constant(let c) = try value(name) { return c.integers }
        guard let node = model.graph.node.first(where: { $0.output.contains(name) }), node.opType == "Concat" else {
            return nil
        }
        // What is computed is one side: a length taken from another shape.
        return node.input.flatMap { input -> [Int?] in
            if case .constant(let c)? = values[input] { c.integers ?? [nil] } else { [nil] }
        }
    }

    // MARK: Layers of vectors

    /// alpha · x · B + beta · C of the channels.
    mutating func gemm(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let attributes = ONNXAttributes(node)
        let source = try tensor(node, 0, name)
        let matrix = try constant(node, 1, "a factor")
        let isTurned = attributes.int("transB", 0) != 0
        let channels = graph.channels[source]
        guard isChannelsLast, isPooled(source), attributes.int("transA", 0) == 0 else {
            throw Problem("of other axes than [N, C] after global pooling")
        }
        guard matrix.shape.count == 2, matrix.shape[isTurned ? 1 : 0] == channels,
            (1...4096).contains(matrix.shape[isTurned ? 0 : 1])
        else { throw Problem("a matrix \(matrix.shape) for \(channels) channels") }
        let out = matrix.shape[isTurned ? 0 : 1]
        let (alpha, beta) = (Float(attributes.float("alpha", 1)), Float(attributes.float("beta", 1)))
        var weights = try Self.zeros(out, channels)
        for o in 0..<out {
            for c in 0..<channels {
                weights[o * channels + c] = alpha * matrix.values[isTurned ? o * channels + c : c * out + o]
            }
        }
        var bias = [Float](repeating: 0, count: out)
        if hasInput(node, 2) {
            let added = try constant(node, 2, "bias")
            guard [1, out].contains(added.values.count), added.shape.last ?? 1 == added.values.count else {
                throw Problem("bias \(added.shape) for \(out) channels")
            }
            for o in 0..<out { bias[o] = beta * added.values[added.values.count == 1 ? 0 : o] }
        }
        set(node, .tensor(graph.append(name, .conv3d(.pointwise(out, channels, weights, bias: bias)), [source])))
    }
}
