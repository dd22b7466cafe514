import ONNXSchema

/// Operators that lead to a coarser or finer grid.
extension ONNXImporter {
    // MARK: Transposed convolution

    /// A transposed convolution whose stride makes the grid that much finer: voxel s · i + r of the output takes the taps
    /// k = r + pad - s · j of input voxel i + j, so a convolution makes all values r, which are then put in place.
    mutating func transposed(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let attributes = ONNXAttributes(node)
        let source = try tensor(node, 0, name)
        let weights = try constant(node, 1, "weight")
        let kernel = try kernelSize(weights, attributes)
        let channels = graph.channels[source]
        let factor = try stride(try attributes.spatial("strides", rank: rank, 1))
        let group = attributes.int("group", 1)
        guard weights.shape[0] == channels, group >= 1, channels % group == 0 else {
            throw Problem("weight \(weights.shape) and group \(group) for \(channels) channels")
        }
        guard try attributes.spatial("dilations", rank: rank, 1) == [1, 1, 1],
            attributes.text("auto_pad", "NOTSET") == "NOTSET", attributes.ints("output_shape") == nil
        else { throw Problem("dilations, auto_pad or output_shape (supported: pads)") }
        let pads = try self.pads(attributes, kernel: kernel, dilation: [1, 1, 1], stride: factor, of: source)
        let added = try attributes.spatial("output_padding", rank: rank, 0)
        for axis in 0..<3 where kernel[axis] - pads.begin[axis] - pads.end[axis] + added[axis] != factor[axis] {
            throw Problem(
                "kernel \(kernel.suffix(rank)), pads \(pads.begin.suffix(rank)) and \(pads.end.suffix(rank)), output_padding \(added.suffix(rank)): the sides do not become \(factor.suffix(rank)) times as long"
            )
        }
        let out = weights.shape[1] * group
        guard out <= 4096 else { throw Problem("\(out) channels") }
        let phases = TransposedWeights(
            values: weights.values, channels: channels, out: out, group: group, kernel: kernel, begin: pads.begin,
            factor: factor)
        guard phases.size.allSatisfy({ $0 <= 15 }) else { throw Problem("kernel \(kernel.suffix(rank))") }
        let bias = try self.bias(node, 2, out)
        set(
            node,
            .tensor(try refined(name, source, try phases.convolution(bias: bias), factor: Size3(factor), out: out)))
    }

    /// The values of a convolution put in place. Channels move in fours: where there are fewer, absent ones are dropped behind.
    private mutating func refined(
        _ name: String, _ source: ValueID, _ conv: ConvWeights, factor: Size3, out: Int
    ) throws(Problem) -> ValueID {
        let fine = graph.append(name, .conv3d(conv), [source])
        guard factor.count > 1 else { return fine }
        let placed = graph.append("\(name).shuffle", .depthToSpace(factor), [fine])
        let padded = graph.channels[placed]
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
        let dilation = try attributes.spatial("dilations", rank: rank, 1)
        let pads = try self.pads(attributes, kernel: kernel, dilation: dilation, stride: strides, of: source)
        guard attributes.int("ceil_mode", 0) == 0 || kernel == strides else { throw Problem("ceil_mode=1") }
        let isPadded = (pads.begin + pads.end).contains { $0 != 0 }
        guard kernel.allSatisfy({ (1...15).contains($0) }) else { throw Problem("kernel \(kernel.suffix(rank))") }
        if isMax {
            if let size = size(of: source), size / Size3(strides) * Size3(strides) != size {
                throw Problem("sides \(size) that are no multiples of the strides")
            }
            // Kernel 3, stride 2, one voxel of padding before (and behind, where nothing is left).
            let overlaps = (0..<3).allSatisfy { axis in
                kernel[axis] == 2 * strides[axis] - 1 && pads.begin[axis] == strides[axis] - 1
            }
            guard overlaps || (strides == kernel && !isPadded), strides.allSatisfy((1...2).contains),
                dilation == [1, 1, 1]
            else {
                throw Problem(
                    "kernel \(kernel.suffix(rank)), strides \(strides.suffix(rank)), \(isPadded ? "" : "no ")padding (supported: 2 and stride 2 without, 3 and stride 2 with a voxel of padding)"
                )
            }
            return set(
                node,
                .tensor(
                    strides == [1, 1, 1]
                        ? source
                        : graph.append(
                            name, .maxPool(GridPool(factor: Size3(strides), overlaps: overlaps)), [source])))
        }
        guard !isPadded || attributes.int("count_include_pad", 0) == 1 else {
            throw Problem("padding that does not count (supported: none, or count_include_pad=1)")
        }
        let channels = graph.channels[source]
        let taps = kernel.reduce(1, *)
        var weights = try Self.zeros(channels, channels, taps)
        for c in 0..<channels { for t in 0..<taps { weights[(c * channels + c) * taps + t] = 1 / Float(taps) } }
        let conv = try symmetric(
            weights, out: channels, channels: channels, kernel: kernel, dilation: dilation, stride: try stride(strides),
            pads: pads, bias: [Float](repeating: 0, count: channels))
        set(node, .tensor(graph.append(name, .conv3d(conv), [source])))
    }

    // MARK: Resize

    mutating func resize(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let attributes = ONNXAttributes(node)
        let source = try tensor(node, 0, name)
        let factor = try resizeFactor(node, attributes, source)
        let mode = attributes.text("mode", "nearest")
        let transform = attributes.text(
            "coordinate_transformation_mode", node.opType == "Upsample" ? "asymmetric" : "half_pixel")
        guard attributes.int("antialias", 0) == 0 || factor.allSatisfy({ $0 >= 1 }) else {
            throw Problem("antialias=1")
        }
        switch mode {
        case "nearest":
            let rounding = attributes.text("nearest_mode", node.opType == "Upsample" ? "floor" : "round_prefer_floor")
            // Doubling by the floor of x / 2, which half-pixel coordinates rounded down at the half come to as well.
            guard
                (transform == "asymmetric" && rounding == "floor")
                    || (transform.hasSuffix("half_pixel") && rounding.hasPrefix("round_prefer"))
            else { throw Problem("\(transform) coordinates, \(rounding)") }
        case "linear":
            guard ["half_pixel", "pytorch_half_pixel"].contains(transform) else {
                throw Problem("mode=linear with \(transform) coordinates (supported: half_pixel)")
            }
        default: throw Problem("mode=\(mode) (supported: nearest, linear)")
        }
        guard factor != [1, 1, 1] else { return set(node, .tensor(source)) }
        let op = GridResize(factor: Size3(factor), isLinear: mode == "linear")
        set(node, .tensor(graph.append(name, .resize(op), [source])))
    }

    /// 1 or 2 along each axis, from scales or from sizes that are known here.
    private mutating func resizeFactor(
        _ node: Onnx_NodeProto, _ attributes: ONNXAttributes, _ source: ValueID
    ) throws(Problem) -> [Int] {
        let axes = attributes.ints("axes") ?? Array(0..<(rank + 2))
        let index = node.opType == "Upsample" ? 1 : 2
        var all = [Double](repeating: 1, count: rank + 2)
        if hasInput(node, 3), node.opType == "Resize" {
            guard case .constant(let c) = try input(node, 3), let sizes = c.integers, sizes.count == axes.count,
                let size = size(of: source)
            else { throw Problem("sizes that are not known here (supported: constant scales, sizes of a fixed input)") }
            let known = [1, graph.channels[source]] + [size.depth, size.height, size.width].suffix(rank)
            for (axis, wanted) in zip(axes, sizes) {
                let axis = axis < 0 ? axis + rank + 2 : axis
                guard all.indices.contains(axis) else { throw Problem("axes=\(axes)") }
                all[axis] = Double(wanted) / Double(known[axis])
            }
        } else {
            guard hasInput(node, index), case .constant(let scales) = try input(node, index),
                scales.values.count == axes.count
            else { throw Problem("scales that are not known here (supported: constants)") }
            for (axis, scale) in zip(axes, scales.values) {
                let axis = axis < 0 ? axis + rank + 2 : axis
                guard all.indices.contains(axis) else { throw Problem("axes=\(axes)") }
                all[axis] = Double(scale)
            }
        }
        guard all[0] == 1, all[1] == 1, all.allSatisfy({ $0 == 1 || $0 == 2 }) else {
            throw Problem("scales \(all.suffix(rank)) (supported: 1 and 2)")
        }
        return [Int](repeating: 1, count: 3 - rank) + all.suffix(rank).map { Int($0) }
    }
}

/// Weights of a transposed convolution, sorted by the place of the output voxel that they make.
private struct TransposedWeights {
    /// `[channels][out / group][kz][ky][kx]`
    let values: [Float]
    let channels: Int
    let out: Int
    let group: Int
    let kernel: [Int]
    /// Zeros taken away before the first voxel.
    let begin: [Int]
    /// Strides.
    let factor: [Int]

    /// How far the convolution looks on each side.
    private var reach: [Int] {
        (0..<3).map { axis in
            var most = 0
            for k in 0..<kernel[axis] {
                for r in 0..<factor[axis] where (r + begin[axis] - k) % factor[axis] == 0 {
                    most = max(most, abs(r + begin[axis] - k) / factor[axis])
                }
            }
            return most
        }
    }

    var size: [Int] { reach.map { 2 * $0 + 1 } }

    /// Output channels of one place: whole words where voxels are moved afterwards.
    private var padded: Int { factor.allSatisfy { $0 == 1 } ? out : (out + 3) / 4 * 4 }

    func convolution(bias: [Float]) throws(ONNXImporter.Problem) -> ConvWeights {
        let (reach, size) = (reach, size)
        let places = factor.reduce(1, *)
        let taps = size.reduce(1, *)
        var weights = try ONNXImporter.zeros(places, padded, channels, taps)
        for place in 0..<places {
            let r = [place / (factor[1] * factor[2]), place / factor[2] % factor[1], place % factor[2]]
            for tap in 0..<taps {
                let j = [tap / (size[1] * size[2]), tap / size[2] % size[1], tap % size[2]]
                let k = (0..<3).map { r[$0] + begin[$0] - factor[$0] * (j[$0] - reach[$0]) }
                guard (0..<3).allSatisfy({ (0..<kernel[$0]).contains(k[$0]) }) else { continue }
                let from = (k[0] * kernel[1] + k[1]) * kernel[2] + k[2]
                copy(from, to: tap, of: taps, place: place, &weights)
            }
        }
        let biases = (0..<places).flatMap { _ in bias + [Float](repeating: 0, count: padded - out) }
        return ConvWeights(
            outChannels: places * padded, inChannels: channels, kernel: Size3(size), dilation: Size3(cube: 1),
            padding: Size3(reach), weights: weights, bias: biases)
    }

    private func copy(_ from: Int, to tap: Int, of taps: Int, place: Int, _ weights: inout [Float]) {
        let (own, volume) = (out / group, kernel.reduce(1, *))
        for i in 0..<channels {
            let first = i / (channels / group) * own
            for o in 0..<own {
                weights[((place * padded + first + o) * channels + i) * taps + tap] =
                    values[(i * own + o) * volume + from]
            }
        }
    }
}
