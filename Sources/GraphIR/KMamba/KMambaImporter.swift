/// Builds the graph of a KMamba-3D network: convolutional stem, four stages of gated spatial convolution, bidirectional
/// selective scan and feed-forward (or Kolmogorov-Arnold) blocks, and a convolutional decoder with skips. Tensor names are
/// those of the project's PyTorch reference.
///
/// The network's axes (D, H, W) are taken as (depth, height, width) in memory, which is the order of the tokens; where the
/// first axis of the network is the first NIfTI axis, the configuration's orientation is reversed instead
/// (`ModelConfig.inMemoryOrder`).
public struct KMambaImporter {
    let checkpoint: Checkpoint
    let config: KMambaConfig
    var graph: FloatGraph
    /// Position in the checkpoint by the name that is asked for.
    private let positions: [String: Int]
    private var used: Set<Int> = []

    /// - Throws: `malformed` when tensors are missing, left over, or contradict the configuration; `unsupported` for spline
    ///   grids that are not uniform.
    public static func graph(checkpoint: Checkpoint, config: KMambaConfig) throws(ImportError) -> FloatGraph {
        var positions: [String: Int] = [:]
        for (index, tensor) in checkpoint.tensors.enumerated() {
            let name = KMambaNames.canonical(tensor.name)
            if let other = positions.updateValue(index, forKey: name) {
                throw ImportError(
                    .malformed, checkpoint.path,
                    "tensors \(checkpoint.tensors[other].name) and \(tensor.name) both stand for \(name)")
            }
        }
        var importer = KMambaImporter(
            checkpoint: checkpoint, config: config, graph: FloatGraph(inputChannels: config.inChannels),
            positions: positions)
        try importer.build()
        return importer.graph
    }

    private init(
        checkpoint: Checkpoint, config: KMambaConfig, graph: FloatGraph, positions: [String: Int]
    ) {
        self.positions = positions
        self.checkpoint = checkpoint
        self.config = config
        self.graph = graph
    }

    private mutating func build() throws(ImportError) {
        let full = try conv("full.skip", [0], out: config.fullWidth, in: config.inChannels, kernel: 3, hasBias: false)
        let edge = try relu(norm("full.skip_norm", full, config.fullWidth))
        var trunk = try conv(
            "stem", [0], out: config.dims[0], in: config.inChannels, kernel: config.stemKernel, stride: 2)
        var skips: [ValueID] = []
        for stage in 0..<4 {
            trunk = try self.stage(stage, trunk)
            skips.append(try norm("stages.\(stage).out_norm", trunk, config.dims[stage]))
        }
        var value = skips[3]
        for level in [2, 1, 0] {
            value = try decoder(
                "dec.\(level)", value, skip: skips[level], from: config.dims[level + 1], to: config.dims[level])
        }
        value = try decoder("full", value, skip: edge, from: config.dims[0], to: config.fullWidth)
        let scores = try conv("head", [value], out: config.classes, in: config.fullWidth, kernel: 1)
        graph.append("argmax", .argmax, [scores])
        try finish()
    }

    private mutating func stage(_ stage: Int, _ input: ValueID) throws(ImportError) -> ValueID {
        let (name, channels) = ("stages.\(stage)", config.dims[stage])
        var trunk = input
        if stage > 0 {
            let before = config.dims[stage - 1]
            let normalized = try norm("\(name).down.norm", trunk, before)
            trunk = try conv("\(name).down.conv", [normalized], out: channels, in: before, kernel: 2, stride: 2)
        }
        var a = try relu(norm("\(name).gsc.norm1", square("\(name).gsc.conv1", trunk, channels, 3), channels))
        a = try relu(norm("\(name).gsc.norm2", square("\(name).gsc.conv2", a, channels, 3), channels))
        let c = try relu(norm("\(name).gsc.norm3", square("\(name).gsc.conv3", trunk, channels, 1), channels))
        let sum = graph.append("\(name).gsc.sum", .add, [a, c])
        let gate = try relu(norm("\(name).gsc.norm4", square("\(name).gsc.conv4", sum, channels, 1), channels))
        trunk = graph.append("\(name).gsc", .add, [trunk, gate])
        for block in 0..<config.depths[stage] {
            let name = "\(name).blocks.\(block)"
            trunk = try mixer(name, trunk, stage)
            trunk =
                config.kanStages[stage] == 1
                ? try kan("\(name).kan", trunk, channels)
                : try feedForward("\(name).ffn", trunk, channels)
        }
        return trunk
    }

    /// Transposed convolution as a pointwise one and a rearrangement, the skip beside it, and a residual block.
    private mutating func decoder(
        _ name: String, _ input: ValueID, skip: ValueID, from inputs: Int, to channels: Int
    ) throws(ImportError) -> ValueID {
        let stored = try tensor("\(name).up.weight", [inputs, channels, 2, 2, 2])
        var weights = [Float](repeating: 0, count: stored.count)
        for i in 0..<inputs {
            for o in 0..<channels {
                for slot in 0..<8 {
                    weights[(slot * channels + o) * inputs + i] = stored[(i * channels + o) * 8 + slot]
                }
            }
        }
        let expanded = pointwise(
            "\(name).up", input, weights: weights, bias: [Float](repeating: 0, count: 8 * channels))
        let up = graph.append("\(name).up.shuffle", .depthToSpace(Size3(cube: 2)), [expanded])
        let both = graph.append("\(name).cat", .concat, [up, skip])
        let residual = try norm(
            "\(name).res.norm3",
            conv("\(name).res.conv3", [both], out: channels, in: 2 * channels, kernel: 1, hasBias: false), channels)
        var value = try leaky(
            norm(
                "\(name).res.norm1",
                conv("\(name).res.conv1", [both], out: channels, in: 2 * channels, kernel: 3, hasBias: false), channels)
        )
        value = try norm(
            "\(name).res.norm2",
            conv("\(name).res.conv2", [value], out: channels, in: channels, kernel: 3, hasBias: false), channels)
        return leaky(graph.append("\(name).res", .add, [value, residual]))
    }

    // MARK: Pieces

    func fail(_ message: String, _ kind: ImportError.Kind = .malformed) -> ImportError {
        ImportError(kind, checkpoint.path, message)
    }

    mutating func tensor(_ name: String, _ shape: [Int]) throws(ImportError) -> [Float] {
        guard let position = positions[name] else { throw fail("tensor \(name) is missing") }
        let found = checkpoint.tensors[position]
        guard found.shape == shape else {
            throw fail("tensor \(found.name) has shape \(found.shape) (must be \(shape))")
        }
        used.insert(position)
        return found.values
    }

    func has(_ name: String) -> Bool { positions[name] != nil }

    /// The tensor, or `count` times `value` where the checkpoint leaves it out (norms without affine part).
    mutating func tensor(_ name: String, count: Int, otherwise value: Float) throws(ImportError) -> [Float] {
        !has(name) ? [Float](repeating: value, count: count) : try tensor(name, [count])
    }

    mutating func conv(
        _ name: String, _ inputs: [ValueID], out: Int, in channels: Int, kernel: Int, stride: Int = 1,
        hasBias: Bool = true
    ) throws(ImportError) -> ValueID {
        let weights = try tensor("\(name).weight", [out, channels, kernel, kernel, kernel])
        let bias = hasBias ? try tensor("\(name).bias", [out]) : [Float](repeating: 0, count: out)
        return graph.append(
            name,
            .conv3d(
                ConvWeights(
                    outChannels: out, inChannels: channels, kernel: Size3(cube: kernel), dilation: Size3(cube: 1),
                    padding: Size3(cube: (kernel - 1) / 2), stride: Size3(cube: stride), weights: weights, bias: bias)),
            inputs)
    }

    private mutating func square(
        _ name: String, _ input: ValueID, _ channels: Int, _ kernel: Int
    ) throws(ImportError) -> ValueID {
        try conv(name, [input], out: channels, in: channels, kernel: kernel)
    }

    mutating func pointwise(_ name: String, _ input: ValueID, weights: [Float], bias: [Float]) -> ValueID {
        graph.append(
            name,
            .conv3d(
                ConvWeights(
                    outChannels: bias.count, inChannels: weights.count / bias.count, kernel: Size3(cube: 1),
                    dilation: Size3(cube: 1), padding: Size3(cube: 0), weights: weights, bias: bias)), [input])
    }

    mutating func batchNorm(_ name: String, _ channels: Int) throws(ImportError) -> BatchNorm {
        let norm = BatchNorm(
            mean: try tensor("\(name).running_mean", [channels]),
            variance: try tensor("\(name).running_var", [channels]),
            scale: try tensor("\(name).weight", count: channels, otherwise: 1),
            shift: try tensor("\(name).bias", count: channels, otherwise: 0), epsilon: 1e-5)
        for (channel, variance) in norm.variance.enumerated() where !(variance >= 0) {
            throw fail("tensor \(name).running_var[\(channel)]=\(variance) (must not be negative)")
        }
        return norm
    }

    private mutating func norm(_ name: String, _ input: ValueID, _ channels: Int) throws(ImportError) -> ValueID {
        if config.usesBatchNorm { return graph.append(name, .batchNorm(try batchNorm(name, channels)), [input]) }
        let norm = GroupNorm(
            groups: channels, scale: try tensor("\(name).weight", count: channels, otherwise: 1),
            shift: try tensor("\(name).bias", count: channels, otherwise: 0), epsilon: 1e-5)
        return graph.append(name, .groupNorm(norm), [input])
    }

    mutating func relu(_ value: ValueID) -> ValueID { activate(value, .relu) }
    private mutating func leaky(_ value: ValueID) -> ValueID { activate(value, .leakyRelu(slope: 0.01)) }

    mutating func activate(_ value: ValueID, _ f: Activation) -> ValueID {
        graph.append("\(graph.nodes[value - 1].name).\(f.name)", .activation(f), [value])
    }

    /// Heads of the training loss have no place in inference; anything else that is left over is a mistake.
    private func finish() throws(ImportError) {
        let leftovers = checkpoint.tensors.enumerated().filter { index, tensor in
            !used.contains(index) && !tensor.name.hasSuffix("num_batches_tracked")
                && !KMambaNames.canonical(tensor.name).hasPrefix("aux.")
        }.map(\.element.name)
        guard leftovers.isEmpty else {
            let shown = leftovers.prefix(5).joined(separator: ", ")
            throw fail("\(leftovers.count) tensors are not used by the configuration: \(shown)")
        }
        do {
            try graph.check()
        } catch {
            throw fail(error.description)
        }
    }
}
