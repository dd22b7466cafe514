import GraphIR
import Testing

/// Tensors of a small network, as a safetensors file in memory.
struct TensorSet {
    var items: [(name: String, shape: [Int], values: [Float])] = []

    mutating func add(_ name: String, _ shape: [Int], _ random: inout SmallRandom) {
        items.append((name, shape, random.floats(shape.reduce(1, *))))
    }

    mutating func remove(_ name: String) { items.removeAll { $0.name == name } }

    func checkpoint() throws -> Checkpoint {
        var data: [UInt8] = []
        let entries = items.map { item in
            let begin = data.count
            for value in item.values {
                for shift: UInt32 in [0, 8, 16, 24] {
                    data.append(UInt8(truncatingIfNeeded: value.bitPattern >> shift))
                }
            }
            return
                "\"\(item.name)\":{\"dtype\":\"F32\",\"shape\":\(item.shape),\"data_offsets\":[\(begin),\(data.count)]}"
        }
        let header = Array("{\(entries.joined(separator: ","))}".utf8)
        let length = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
        return try Checkpoint.read(bytes: length + header + data, path: "net.safetensors")
    }
}

struct MeshNetImporterTests {
    /// 2 → 3 channels, kernel 3; then a 1^3 layer of 4 classes.
    private func flat() -> TensorSet {
        var (set, random) = (TensorSet(), SmallRandom(seed: 11))
        set.add("model.0.weight", [3, 2, 3, 3, 3], &random)
        set.add("model.0.bias", [3], &random)
        set.add("model.2.weight", [4, 3, 1, 1, 1], &random)
        set.add("model.2.bias", [4], &random)
        return set
    }

    private func nested(affine: Bool = true) -> TensorSet {
        var (set, random) = (TensorSet(), SmallRandom(seed: 12))
        set.add("model.0.0.weight", [3, 2, 3, 3, 3], &random)
        for name in affine ? ["weight", "bias"] : [] { set.add("model.0.1.\(name)", [3], &random) }
        set.add("model.0.1.running_mean", [3], &random)
        set.items.append(("model.0.1.running_var", [3], [0.5, 0.25, 2]))
        set.items.append(("model.0.1.num_batches_tracked", [], [3]))
        set.add("model.1.weight", [4, 3, 1, 1, 1], &random)
        set.add("model.1.bias", [4], &random)
        return set
    }

    private func graph(_ set: TensorSet, top: String = "", extras: String = "", layers: String? = nil) throws
        -> FloatGraph
    {
        let config = try ModelConfig(
            json: configJSON(layers: layers, top: top, extras: extras), path: "model.json", fallbackName: "m")
        return try MeshNetImporter.graph(checkpoint: set.checkpoint(), config: config)
    }

    private func conv(_ graph: FloatGraph, _ node: Int) throws -> ConvWeights {
        guard case .conv3d(let conv) = graph.nodes[node].op else {
            throw ImportError(.malformed, "test", "no convolution")
        }
        return conv
    }

    @Test func flatNames() throws {
        let graph = try graph(flat())
        #expect(graph.inputChannels == 2 && graph.classCount == 4 && graph.channels == [2, 3, 3, 4, 1])
        #expect(graph.nodes.map(\.name) == ["model.0", "model.0.relu", "model.2", "argmax"])
        #expect(try conv(graph, 0).padding == Size3(cube: 1))
        #expect(graph.parameterCount == 3 * 2 * 27 + 3 + 12 + 4)
    }

    @Test(arguments: [
        ("\"gelu\":true", Activation.gelu), ("\"elu\":true", .elu(alpha: 1)), ("\"dropout_p\":0", .relu),
    ])
    func activation(_ key: String, _ expected: Activation) throws {
        #expect(try graph(flat(), top: key).nodes[1].op == .activation(expected))
    }

    /// Kernel axes of an "xyz" checkpoint are x, y, z; ours are z, y, x.
    @Test func kernelAxes() throws {
        let stored = flat().items[0].values
        let swapped = try conv(graph(flat()), 0).weights
        let kept = try conv(graph(flat(), extras: "\"axes\":\"zyx\""), 0).weights
        #expect(kept == stored)
        for filter in 0..<6 {
            for x in 0..<3 {
                for y in 0..<3 {
                    for z in 0..<3 {
                        #expect(
                            swapped[filter * 27 + (z * 3 + y) * 3 + x]
                                == stored[filter * 27 + (x * 3 + y) * 3 + z])
                    }
                }
            }
        }
    }

    @Test(arguments: [true, false])
    func nestedNamesWithBatchNorm(_ affine: Bool) throws {
        let set = nested(affine: affine)
        let graph = try graph(set, top: "\"bnorm\":true")
        #expect(graph.nodes.map(\.name) == ["model.0.0", "model.0.1", "model.0.0.relu", "model.1", "argmax"])
        guard case .batchNorm(let norm) = graph.nodes[1].op else {
            Issue.record("no batch normalization")
            return
        }
        #expect(norm.variance == [0.5, 0.25, 2] && norm.epsilon == 1e-5)
        #expect(affine || (norm.scale == [1, 1, 1] && norm.shift == [0, 0, 0]))
        #expect(try conv(graph, 0).bias == [0, 0, 0])
        #expect(graph.foldingBatchNorm().nodes.count == 4)
    }

    /// Without running statistics the statistics are the input's own.
    @Test(arguments: [true, false])
    func normalizationWithoutStatisticsIsInstanceNorm(_ affine: Bool) throws {
        var set = nested(affine: affine)
        set.items.removeAll { $0.name.hasPrefix("model.0.1.running") }
        let graph = try graph(set, top: "\"bnorm\":true")
        guard case .groupNorm(let norm) = graph.nodes[1].op else {
            Issue.record("no instance normalization")
            return
        }
        #expect(norm.groups == 3 && norm.epsilon == 1e-5)
        #expect(affine || (norm.scale == [1, 1, 1] && norm.shift == [0, 0, 0]))
    }

    private func expectRefusal(
        _ message: String, _ set: TensorSet, kind: ImportError.Kind = .malformed, top: String = "",
        extras: String = "",
        layers: String? = nil, location: SourceLocation = #_sourceLocation
    ) {
        let error = #expect(throws: ImportError.self, sourceLocation: location) {
            _ = try graph(set, top: top, extras: extras, layers: layers)
        }
        #expect(error?.message.contains(message) == true, "\(error?.message ?? "")", sourceLocation: location)
        #expect(error?.kind == kind, sourceLocation: location)
    }

    @Test func refusals() {
        var set = flat()
        set.remove("model.2.weight")
        expectRefusal("tensor model.2.weight is missing", set)
        set = flat()
        set.remove("model.0.weight")
        expectRefusal("not a MeshNet checkpoint: tensor model.0.weight", set)
        set = flat()
        set.items.append(("model.9.weight", [1], [1]))
        expectRefusal("model.9.weight", set)
        set = flat()
        set.items[2].shape = [3, 4, 1, 1, 1]
        expectRefusal("tensor model.2.weight has shape [3, 4, 1, 1, 1] (must be [3, 3, 1, 1, 1])", set)
        set = flat()
        set.items[1] = ("model.0.bias", [2], [1, 2])
        expectRefusal("tensor model.0.bias has shape [2] (must be [3])", set)
        expectRefusal(
            "layers[0].kernel_size=5 but tensor model.0.weight has shape [3, 2, 3, 3, 3]", flat(),
            layers: layerJSON(kernel: "5", padding: "2") + "," + layerJSON(kernel: "1", padding: "0"))
        expectRefusal("model.2.weight, model.2.bias", flat(), layers: layerJSON())
        expectRefusal(
            "4 classes but the configuration names 1 labels", flat(),
            extras: "\"labels\":[{\"value\":0,\"name\":\"a\"}]")
        expectRefusal("model.0.1.", nested())
    }

    @Test func batchNormRefusals() {
        var set = nested()
        set.remove("model.0.1.running_var")
        expectRefusal("tensor model.0.1.running_var is missing", set, top: "\"bnorm\":true")
        set = nested()
        set.items[4].values[1] = -1
        expectRefusal(
            "tensor model.0.1.running_var[1]=-1.0 (must not be negative)", set, top: "\"bnorm\":true")
        set = nested()
        set.items[1].values = [3e38, 3e38, 3e38]
        set.items[4].values = [0, 0, 0]
        expectRefusal("not finite", set, top: "\"bnorm\":true")
    }
}
