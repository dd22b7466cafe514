import ONNXSchema

extension ONNXImporter {
    /// Zeros before and after each of three axes.
    typealias Pads = (begin: [Int], end: [Int])

    mutating func convolution(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let attributes = ONNXAttributes(node)
        let (source, extra) = try unpadded(node, name)
        let weights = try constant(node, 1, "weight")
        let kernel = try kernelSize(weights, attributes)
        let group = attributes.int("group", 1)
        let channels = graph.channels[source]
        guard group >= 1, channels % group == 0, weights.shape[1] * group == channels, weights.shape[0] % group == 0
        else { throw Problem("weight \(weights.shape) and group \(group) for \(channels) channels") }
        let out = weights.shape[0]
        let strides = try attributes.spatial("strides", rank: rank, 1)
        let dilation = try attributes.spatial("dilations", rank: rank, 1)
        var pads = try self.pads(attributes, kernel: kernel, dilation: dilation, stride: strides)
        for axis in 0..<3 {
            pads.begin[axis] += extra[axis]
            pads.end[axis] += extra[3 + axis]
        }
        let bias = try self.bias(node, 2, out)
        if group == channels, out == channels, strides == [1, 1, 1], dilation == [1, 1, 1],
            kernel.allSatisfy({ $0 % 2 == 1 && $0 <= 7 }),
            (0..<3).allSatisfy({ pads.begin[$0] == kernel[$0] / 2 && pads.end[$0] == kernel[$0] / 2 })
        {
            let size = Size3(depth: kernel[0], height: kernel[1], width: kernel[2])
            set(
                node,
                .tensor(
                    graph.append(
                        name, .depthwise(DepthwiseConv(kernel: size, weights: weights.values, bias: bias)), [source])))
            return
        }
        let dense = try Self.dense(
            weights.values, out: out, channels: channels, group: group, taps: kernel.reduce(1, *))
        let conv = try symmetric(
            dense, out: out, channels: channels, kernel: kernel, dilation: dilation, stride: try stride(strides),
            pads: pads, bias: bias)
        set(node, .tensor(graph.append(name, .conv3d(conv), [source])))
    }

    /// Input 0, and the zeros of a Pad before it.
    private mutating func unpadded(_ node: Onnx_NodeProto, _ name: String) throws(Problem) -> (ValueID, [Int]) {
        if case .padded(let source, let pads) = try input(node, 0) { return (source, pads) }
        return (try tensor(node, 0, name), [Int](repeating: 0, count: 6))
    }

    private func kernelSize(_ weights: ONNXConstant, _ attributes: ONNXAttributes) throws(Problem) -> [Int] {
        guard weights.shape.count == rank + 2, weights.shape.allSatisfy({ (1...4096).contains($0) }) else {
            throw Problem("weight \(weights.shape) (must have \(rank + 2) axes)")
        }
        let kernel = [Int](repeating: 1, count: 3 - rank) + weights.shape[2...]
        if let stated = attributes.ints("kernel_shape"), stated != Array(weights.shape[2...]) {
            throw Problem("kernel_shape=\(stated) but the weight is \(weights.shape)")
        }
        return kernel
    }

    private func bias(_ node: Onnx_NodeProto, _ index: Int, _ count: Int) throws(Problem) -> [Float] {
        guard hasInput(node, index) else { return [Float](repeating: 0, count: count) }
        let bias = try constant(node, index, "bias")
        guard bias.values.count == count else { throw Problem("bias \(bias.shape) for \(count) channels") }
        return bias.values
    }

    /// 1 or 2 along all axes.
    private func stride(_ strides: [Int]) throws(Problem) -> Int {
        guard strides.allSatisfy({ $0 == strides[2] }), [1, 2].contains(strides[2]) else {
            throw Problem("strides \(strides.suffix(rank)) of \(rank) axes (supported: 1, or 2 along all three)")
        }
        return strides[2]
    }

    /// - Note: "same" padding with stride 2 depends on the size; sides are taken to be even, as the planner demands.
    private func pads(
        _ attributes: ONNXAttributes, kernel: [Int], dilation: [Int], stride: [Int]
    ) throws(Problem) -> Pads {
        switch attributes.text("auto_pad", "NOTSET") {
        case "NOTSET":
            let absent = [Int](repeating: 0, count: 3 - rank)
            guard let list = attributes.ints("pads") else { return ([0, 0, 0], [0, 0, 0]) }
            guard list.count == 2 * rank, list.allSatisfy({ (0...4096).contains($0) }) else {
                throw Problem("pads=\(list) (must be \(2 * rank) numbers, not negative)")
            }
            return (absent + list.prefix(rank), absent + list.suffix(rank))
        case "VALID": return ([0, 0, 0], [0, 0, 0])
        case let same where same == "SAME_UPPER" || same == "SAME_LOWER":
            let total = (0..<3).map { max(0, dilation[$0] * (kernel[$0] - 1) + 1 - stride[$0]) }
            let small = total.map { $0 / 2 }
            let large = total.map { ($0 + 1) / 2 }
            return same == "SAME_UPPER" ? (small, large) : (large, small)
        case let other: throw Problem("auto_pad=\(other)")
        }
    }

    /// Weights of a grouped convolution with zeros between groups: `[out][channels][taps]`.
    private static func dense(_ weights: [Float], out: Int, channels: Int, group: Int, taps: Int) throws(Problem)
        -> [Float]
    {
        guard group > 1 else { return weights }
        let own = channels / group
        var result = try zeros(out, channels, taps)
        for o in 0..<out {
            let first = o / (out / group) * own
            for i in 0..<own {
                for t in 0..<taps { result[(o * channels + first + i) * taps + t] = weights[(o * own + i) * taps + t] }
            }
        }
        return result
    }

    /// A convolution with as many zeros before as behind: taps of weight 0 make up for the difference.
    private func symmetric(
        _ weights: [Float], out: Int, channels: Int, kernel: [Int], dilation: [Int], stride: Int, pads: Pads,
        bias: [Float]
    ) throws(Problem) -> ConvWeights {
        var size = kernel
        var lead = [0, 0, 0]
        var padding = [0, 0, 0]
        for axis in 0..<3 {
            padding[axis] = max(pads.begin[axis], pads.end[axis])
            let missing = (padding[axis] - pads.begin[axis], padding[axis] - pads.end[axis])
            guard missing.0 % dilation[axis] == 0, missing.1 % dilation[axis] == 0 else {
                throw Problem("pads \(pads) with dilation \(dilation)")
            }
            lead[axis] = missing.0 / dilation[axis]
            size[axis] += lead[axis] + missing.1 / dilation[axis]
            guard stride == 2 || size[axis] % 2 == 1 else {
                throw Problem(
                    "kernel \(kernel.suffix(rank)) with pads \(pads.begin.suffix(rank)) and \(pads.end.suffix(rank)): the output has no centre"
                )
            }
            guard size[axis] <= 15, dilation[axis] <= 64 else {
                throw Problem("kernel \(size.suffix(rank)), dilation \(dilation.suffix(rank)) (at most 15 and 64)")
            }
            guard padding[axis] <= dilation[axis] * (size[axis] - 1) else {
                throw Problem("more zeros around the input than the kernel reaches: \(padding.suffix(rank))")
            }
        }
        func volume(_ s: [Int]) -> Int { s[0] * s[1] * s[2] }
        var wider = try Self.zeros(out, channels, volume(size))
        for filter in 0..<(out * channels) {
            for t in 0..<volume(kernel) {
                let (z, y, x) = (t / (kernel[1] * kernel[2]), t / kernel[2] % kernel[1], t % kernel[2])
                let to = ((z + lead[0]) * size[1] + y + lead[1]) * size[2] + x + lead[2]
                wider[filter * volume(size) + to] = weights[filter * volume(kernel) + t]
            }
        }
        func size3(_ s: [Int]) -> Size3 { Size3(depth: s[0], height: s[1], width: s[2]) }
        return ConvWeights(
            outChannels: out, inChannels: channels, kernel: size3(size), dilation: size3(dilation),
            padding: size3(padding),
            stride: stride, weights: wider, bias: bias)
    }

    // MARK: Upsampling

    /// A transposed convolution of stride 2 that doubles the sides: voxel 2 · i + r of the output takes the taps
    /// k = r + pad - 2 · j of input voxel i + j, so a convolution makes all eight values r, which are then put in place.
    mutating func transposed(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let attributes = ONNXAttributes(node)
        let source = try tensor(node, 0, name)
        let weights = try constant(node, 1, "weight")
        let kernel = try kernelSize(weights, attributes)
        let channels = graph.channels[source]
        let strides = try attributes.spatial("strides", rank: rank, 1)
        guard attributes.int("group", 1) == 1, weights.shape[0] == channels, rank == 3, strides == [2, 2, 2],
            try attributes.spatial("dilations", rank: rank, 1) == [1, 1, 1],
            attributes.text("auto_pad", "NOTSET") == "NOTSET",
            attributes.ints("output_shape") == nil
        else {
            throw Problem("strides \(strides.suffix(rank)), \(rank) axes (supported: 2 along three axes, one group)")
        }
        let pads = try self.pads(attributes, kernel: kernel, dilation: [1, 1, 1], stride: strides)
        let added = try attributes.spatial("output_padding", rank: rank, 0)
        for axis in 0..<3 where kernel[axis] - pads.begin[axis] - pads.end[axis] + added[axis] != 2 {
            throw Problem(
                "kernel \(kernel), pads \(pads.begin), \(pads.end), output_padding \(added): the sides are not doubled")
        }
        let out = weights.shape[1]
        let bias = try self.bias(node, 2, out)
        // Offsets j run from -reach to reach.
        var reach = 0
        for axis in 0..<3 {
            for k in 0..<kernel[axis] {
                for r in 0...1 where (r + pads.begin[axis] - k) % 2 == 0 {
                    reach = max(reach, abs(r + pads.begin[axis] - k) / 2)
                }
            }
        }
        let side = 2 * reach + 1
        guard side <= 15 else { throw Problem("kernel \(kernel)") }
        let padded = (out + 3) / 4 * 4
        var taps = try Self.zeros(8, padded, channels, side, side, side)
        for corner in 0..<8 {
            let r = [corner / 4, corner / 2 % 2, corner % 2]
            for offset in 0..<(side * side * side) {
                let j = [offset / (side * side) - reach, offset / side % side - reach, offset % side - reach]
                let k = (0..<3).map { r[$0] + pads.begin[$0] - 2 * j[$0] }
                guard (0..<3).allSatisfy({ (0..<kernel[$0]).contains(k[$0]) }) else { continue }
                let tap = (k[0] * kernel[1] + k[1]) * kernel[2] + k[2]
                for o in 0..<out {
                    for i in 0..<channels {
                        let from = (i * out + o) * kernel[0] * kernel[1] * kernel[2] + tap
                        taps[((corner * padded + o) * channels + i) * side * side * side + offset] =
                            weights.values[from]
                    }
                }
            }
        }
        let biases = (0..<8).flatMap { _ in bias + [Float](repeating: 0, count: padded - out) }
        set(node, .tensor(try doubled(name, source, out: out, padded: padded, side: side, taps: taps, bias: biases)))
    }

    /// Nearest-neighbour doubling: every value eight times.
    mutating func nearest(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let source = try tensor(node, 0, name)
        let channels = graph.channels[source]
        let padded = (channels + 3) / 4 * 4
        var taps = try Self.zeros(8, padded, channels)
        for corner in 0..<8 {
            for c in 0..<channels { taps[(corner * padded + c) * channels + c] = 1 }
        }
        let zeros = [Float](repeating: 0, count: 8 * padded)
        set(node, .tensor(try doubled(name, source, out: channels, padded: padded, side: 1, taps: taps, bias: zeros)))
    }

    /// Channels move in fours: where there are fewer, absent ones are dropped behind.
    private mutating func doubled(
        _ name: String, _ source: ValueID, out: Int, padded: Int, side: Int, taps: [Float], bias: [Float]
    ) throws(Problem) -> ValueID {
        let conv = ConvWeights(
            outChannels: 8 * padded, inChannels: graph.channels[source], kernel: Size3(cube: side),
            dilation: Size3(cube: 1),
            padding: Size3(cube: side / 2), weights: taps, bias: bias)
        let fine = graph.append(name, .conv3d(conv), [source])
        let placed = graph.append("\(name).shuffle", .depthToSpace, [fine])
        guard padded > out else { return placed }
        var kept = try Self.zeros(out, padded)
        for c in 0..<out { kept[c * padded + c] = 1 }
        let zeros = [Float](repeating: 0, count: out)
        return graph.append("\(name).channels", .conv3d(.pointwise(out, padded, kept, bias: zeros)), [placed])
    }

    // MARK: Pooling

    mutating func pool(_ node: Onnx_NodeProto, _ name: String, isMax: Bool) throws(Problem) {
        let attributes = ONNXAttributes(node)
        let source = try tensor(node, 0, name)
        let kernel = try attributes.spatial("kernel_shape", rank: rank, 1)
        let strides = try attributes.spatial("strides", rank: rank, 1)
        let pads = try self.pads(attributes, kernel: kernel, dilation: [1, 1, 1], stride: strides)
        guard rank == 3, kernel == [2, 2, 2], strides == kernel, pads == ([0, 0, 0], [0, 0, 0]),
            try attributes.spatial("dilations", rank: rank, 1) == [1, 1, 1]
        else {
            throw Problem(
                "kernel \(kernel.suffix(rank)), strides \(strides.suffix(rank)) (supported: 2 along three axes, no padding)"
            )
        }
        guard !isMax else { return set(node, .tensor(graph.append(name, .maxPool, [source]))) }
        let channels = graph.channels[source]
        var weights = try Self.zeros(channels, channels, 8)
        for c in 0..<channels { for t in 0..<8 { weights[(c * channels + c) * 8 + t] = 0.125 } }
        let conv = ConvWeights(
            outChannels: channels, inChannels: channels, kernel: Size3(cube: 2), dilation: Size3(cube: 1),
            padding: Size3(cube: 0),
            stride: 2, weights: weights, bias: [Float](repeating: 0, count: channels))
        set(node, .tensor(graph.append(name, .conv3d(conv), [source])))
    }
}

private func == (a: ONNXImporter.Pads, b: ONNXImporter.Pads) -> Bool { a.begin == b.begin && a.end == b.end }
