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
        var pads = try self.pads(attributes, kernel: kernel, dilation: dilation, stride: strides, of: source)
        for axis in 0..<3 {
            pads.begin[axis] += extra[axis]
            pads.end[axis] += extra[3 + axis]
        }
        let bias = try self.bias(node, 2, out)
        if group == channels, out == channels, strides == [1, 1, 1], dilation == [1, 1, 1],
            kernel.allSatisfy({ $0 % 2 == 1 && $0 <= 7 }),
            (0..<3).allSatisfy({ pads.begin[$0] == kernel[$0] / 2 && pads.end[$0] == kernel[$0] / 2 })
        {
            set(
                node,
                .tensor(
                    graph.append(
                        name, .depthwise(DepthwiseConv(kernel: Size3(kernel), weights: weights.values, bias: bias)),
                        [source])))
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

    func kernelSize(_ weights: ONNXConstant, _ attributes: ONNXAttributes) throws(Problem) -> [Int] {
        guard weights.shape.count == rank + 2, weights.shape.allSatisfy({ (1...4096).contains($0) }) else {
            throw Problem("weight \(weights.shape) (must have \(rank + 2) axes)")
        }
        let kernel = [Int](repeating: 1, count: 3 - rank) + weights.shape[2...]
        if let stated = attributes.ints("kernel_shape"), stated != Array(weights.shape[2...]) {
            throw Problem("kernel_shape=\(stated) but the weight is \(weights.shape)")
        }
        return kernel
    }

    func bias(_ node: Onnx_NodeProto, _ index: Int, _ count: Int) throws(Problem) -> [Float] {
        guard hasInput(node, index) else { return [Float](repeating: 0, count: count) }
        let bias = try constant(node, index, "bias")
        guard bias.values.count == count else { throw Problem("bias \(bias.shape) for \(count) channels") }
        return bias.values
    }

    /// As given, where each is 1 or 2.
    func stride(_ strides: [Int]) throws(Problem) -> [Int] {
        guard strides.allSatisfy((1...2).contains) else {
            throw Problem("strides \(strides.suffix(rank)) (supported: 1 and 2)")
        }
        return strides
    }

    /// - Note: "same" padding with stride 2 depends on the size; sides that the file leaves open are taken to be even.
    mutating func pads(
        _ attributes: ONNXAttributes, kernel: [Int], dilation: [Int], stride: [Int], of source: ValueID
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
            let sides = size(of: source).map { [$0.depth, $0.height, $0.width] } ?? [2, 2, 2]
            let total = (0..<3).map { axis in
                let last = (sides[axis] + stride[axis] - 1) / stride[axis] * stride[axis] - stride[axis]
                return max(0, last + dilation[axis] * (kernel[axis] - 1) + 1 - sides[axis])
            }
            let small = total.map { $0 / 2 }
            let large = total.map { ($0 + 1) / 2 }
            return same == "SAME_UPPER" ? (small, large) : (large, small)
        case let other: throw Problem("auto_pad=\(other)")
        }
    }

    /// Weights of a grouped convolution with zeros between groups: `[out][channels][taps]`.
    static func dense(_ weights: [Float], out: Int, channels: Int, group: Int, taps: Int) throws(Problem)
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
    func symmetric(
        _ weights: [Float], out: Int, channels: Int, kernel: [Int], dilation: [Int], stride: [Int], pads: Pads,
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
            guard stride[axis] == 2 || size[axis] % 2 == 1 else {
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
        return ConvWeights(
            outChannels: out, inChannels: channels, kernel: Size3(size), dilation: Size3(dilation),
            padding: Size3(padding), stride: Size3(stride), weights: wider, bias: bias)
    }
}

extension Size3 {
    /// Depth, height, width.
    init(_ sides: [Int]) { self.init(depth: sides[0], height: sides[1], width: sides[2]) }
}
