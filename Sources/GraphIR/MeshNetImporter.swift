/// Builds the graph of a MeshNet: a chain of [convolution, batch normalization?, activation] and a last convolution
/// whose channels are the classes.
///
/// Two naming schemes are in use: `model.{2i}.weight` (activations take the odd numbers) and `model.{i}.0.weight` with
/// batch normalization at `model.{i}.1.*`; the last layer is `model.{n-1}.weight` in the second.
public struct MeshNetImporter {
    private let checkpoint: Checkpoint
    private let config: ModelConfig
    private var used: Set<String> = []

    /// The network of a checkpoint, batch normalization not yet folded, with an argmax at its end.
    ///
    /// - Throws: `malformed` when tensors are missing, left over, or contradict the configuration.
    public static func graph(checkpoint: Checkpoint, config: ModelConfig) throws(ImportError) -> FloatGraph {
        var importer = MeshNetImporter(checkpoint: checkpoint, config: config)
        return try importer.build()
    }

    private init(checkpoint: Checkpoint, config: ModelConfig) {
        self.checkpoint = checkpoint
        self.config = config
    }

    private var isNested: Bool { checkpoint["model.0.0.weight"] != nil }

    private mutating func build() throws(ImportError) -> FloatGraph {
        let last = config.layers.count - 1
        var channels = try inputChannels()
        var graph = FloatGraph(inputChannels: channels)
        var value = 0
        for index in config.layers.indices {
            let base = isNested ? "model.\(index)\(index < last ? ".0" : "")" : "model.\(2 * index)"
            let conv = try convolution(index, base, inChannels: channels)
            value = graph.append(base, .conv3d(conv), [value])
            channels = conv.outChannels
            guard index < last else { break }
            if config.bnorm {
                let norm = try normalization(index, channels: channels)
                value = graph.append("model.\(index).1", norm, [value])
            }
            let activation: Activation = config.gelu ? .gelu : config.elu ? .elu(alpha: 1) : .relu
            value = graph.append("\(base).\(activation.name)", .activation(activation), [value])
        }
        graph.append("argmax", .argmax, [value])
        try checkLeftovers()
        try checkLabels(classes: channels)
        do {
            // Folded too: huge statistics could make a finite weight infinite.
            try graph.check()
            try graph.foldingBatchNorm().check()
        } catch {
            throw fail(error.description)
        }
        return graph
    }

    private func fail(_ message: String, _ kind: ImportError.Kind = .malformed) -> ImportError {
        ImportError(kind, checkpoint.path, message)
    }

    private mutating func tensor(_ name: String, shape: [Int]) throws(ImportError) -> [Float] {
        guard let found = checkpoint[name] else { throw fail("tensor \(name) is missing") }
        guard found.shape == shape else {
            throw fail("tensor \(name) has shape \(found.shape) (must be \(shape))")
        }
        used.insert(name)
        return found.values
    }

    private func inputChannels() throws(ImportError) -> Int {
        let name = isNested ? "model.0.0.weight" : "model.0.weight"
        guard let first = checkpoint[name], first.shape.count == 5, (1...4096).contains(first.shape[1]) else {
            throw fail("not a MeshNet checkpoint: tensor \(name) of five dimensions is missing")
        }
        return first.shape[1]
    }

    private mutating func convolution(
        _ index: Int, _ base: String, inChannels: Int
    ) throws(ImportError) -> ConvWeights {
        let layer = config.layers[index]
        let k = layer.kernel_size
        guard let found = checkpoint["\(base).weight"] else { throw fail("tensor \(base).weight is missing") }
        guard let out = found.shape.first, (1...4096).contains(out) else {
            throw fail("tensor \(base).weight has shape \(found.shape)")
        }
        guard found.shape.count == 5, found.shape[2...].allSatisfy({ $0 == k }) else {
            throw fail("layers[\(index)].kernel_size=\(k) but tensor \(base).weight has shape \(found.shape)")
        }
        let stored = try tensor("\(base).weight", shape: [out, inChannels, k, k, k])
        let hasBias = checkpoint["\(base).bias"] != nil
        let bias = hasBias ? try tensor("\(base).bias", shape: [out]) : [Float](repeating: 0, count: out)
        return ConvWeights(
            outChannels: out, inChannels: inChannels, kernel: Size3(cube: k),
            dilation: Size3(cube: layer.dilation),
            padding: Size3(cube: layer.padding),
            weights: config.axes == "xyz" ? Self.swapFirstAndLast(stored, side: k) : stored, bias: bias)
    }

    /// Checkpoints of these networks index a kernel [x][y][z]; ours is [z][y][x].
    private static func swapFirstAndLast(_ weights: [Float], side: Int) -> [Float] {
        let cube = side * side * side
        var result = weights
        for filter in stride(from: 0, to: weights.count, by: cube) {
            for a in 0..<side {
                for b in 0..<side {
                    for c in 0..<side {
                        result[filter + (c * side + b) * side + a] =
                            weights[filter + (a * side + b) * side + c]
                    }
                }
            }
        }
        return result
    }

    /// "bnorm" without running statistics is instance normalization over the whole volume.
    private mutating func normalization(_ index: Int, channels: Int) throws(ImportError) -> FloatOp {
        if ["running_mean", "running_var"].contains(where: { checkpoint["model.\(index).1.\($0)"] != nil }) {
            return .batchNorm(try batchNorm(index, channels: channels))
        }
        let base = "model.\(index).1"
        let ones = [Float](repeating: 1, count: channels)
        let zeros = [Float](repeating: 0, count: channels)
        return .groupNorm(
            GroupNorm(
                groups: channels,
                scale: checkpoint["\(base).weight"] != nil ? try tensor("\(base).weight", shape: [channels]) : ones,
                shift: checkpoint["\(base).bias"] != nil ? try tensor("\(base).bias", shape: [channels]) : zeros,
                epsilon: 1e-5))
    }

    private mutating func batchNorm(_ index: Int, channels: Int) throws(ImportError) -> BatchNorm {
        let base = "model.\(index).1"
        let ones = [Float](repeating: 1, count: channels)
        let zeros = [Float](repeating: 0, count: channels)
        let isAffine = checkpoint["\(base).weight"] != nil
        let norm = BatchNorm(
            mean: try tensor("\(base).running_mean", shape: [channels]),
            variance: try tensor("\(base).running_var", shape: [channels]),
            scale: isAffine ? try tensor("\(base).weight", shape: [channels]) : ones,
            shift: checkpoint["\(base).bias"] != nil ? try tensor("\(base).bias", shape: [channels]) : zeros,
            epsilon: 1e-5)
        for (channel, variance) in norm.variance.enumerated() where !(variance >= 0) {
            throw fail("tensor \(base).running_var[\(channel)]=\(variance) (must not be negative)")
        }
        return norm
    }

    /// A tensor that no layer uses means that the configuration is of another network.
    private func checkLeftovers() throws(ImportError) {
        let leftovers = checkpoint.tensors.map(\.name).filter {
            !used.contains($0) && !$0.hasSuffix("num_batches_tracked")
        }
        guard leftovers.isEmpty else {
            let shown = leftovers.prefix(5).joined(separator: ", ")
            throw fail("\(leftovers.count) tensors are not used by the configuration's layers: \(shown)")
        }
    }

    private func checkLabels(classes: Int) throws(ImportError) {
        guard let labels = config.labels, labels.count != classes else { return }
        throw fail("the network has \(classes) classes but the configuration names \(labels.count) labels")
    }
}
