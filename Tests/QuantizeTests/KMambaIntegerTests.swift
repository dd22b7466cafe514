import FlatGraph
import Foundation
import MKRuntime
import Testing

@testable import GraphIR
@testable import Quantize

@Suite struct KMambaIntegerTests {
    static let sizes = [
        "kmamba-tiny": Size3(cube: 32), "kmamba-tiny-batch": Size3(depth: 32, height: 16, width: 32),
        "kmamba-tiny-slices": Size3(depth: 32, height: 16, width: 48),
    ]

    private struct Tiny {
        var converter: Converter
        var input: FloatTensor
        var model: LoweredModel
    }

    /// - Parameter change: of the float network.
    private static func tiny(
        _ name: String, wide: WideLayers = .none, change: (FloatGraph) -> FloatGraph = { $0 }
    ) throws -> Tiny {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Goldens/\(name)")
        let checkpoint = try Checkpoint.read(path: folder.appending(path: "model.safetensors").path)
        let config = try ModelConfig(path: folder.appending(path: "model.json").path, fallbackName: "tiny")
        let network = try NetworkImporter.network(checkpoint: checkpoint, config: config)
        let io = try Checkpoint.read(path: folder.appending(path: "io.safetensors").path)
        let input = FloatTensor(channels: 2, size: try #require(sizes[name]), values: try #require(io["input"]).values)
        var options = Converter.Options()
        (options.threads, options.wide) = (2, wide)
        var converter = Converter(graph: change(network.graph), options: options) { _, _ in }
        converter.calibrate(input, volume: 1, of: 1)
        let metadata = try Metadata.builder(
            config: network.config, classes: 3, inputChannels: 2, provenance: [])
        let model = try converter.convert(inputCoding: nil, metadata: metadata, samples: [input])
        return Tiny(converter: converter, input: input, model: model)
    }

    /// The converted network of Goldens/kmamba-tiny, or of a variant.
    static func tinyModel(_ name: String = "kmamba-tiny", wide: WideLayers = .none) throws -> LoweredModel {
        try tiny(name, wide: wide).model
    }

    @Test(arguments: sizes.keys.sorted()) func integerScoresFollowTheFloatNetwork(_ name: String) throws {
        let tiny = try Self.tiny(name)
        _ = try IntegerNetwork(tiny.model.bytes, threads: 1)
        let comparison = try tiny.converter.compare(tiny.model, tiny.input)
        print("\(name): agreement \(comparison.agreement), Dice \(comparison.meanForegroundDice ?? 0)")
        #expect(comparison.agreement > 0.95)
        // A wrong scale, sign, offset or order leaves a layer 5 dB at most. The least are 12 dB, of a spline basis at the end of
        // four stages: steep functions of accumulated noise.
        for layer in comparison.layers {
            #expect(layer.sqnr > 8, "\(layer.name): \(layer.sqnr) dB, \(layer.floatLow) … \(layer.floatHigh)")
        }
    }

    /// Every kind of layer that convolutions read can hand them 16 bits, and the scores come closer to float for it.
    @Test(arguments: sizes.keys.sorted()) func sixteenBitsBringScoresCloser(_ name: String) throws {
        let (narrow, wide) = try (Self.tiny(name), Self.tiny(name, wide: .all))
        let names = wide.converter.graph.convolvedValues().map(\.layer)
        // Batch normalizations are part of convolutions, or write bytes alone.
        let hasNorms = name != "kmamba-tiny-batch"
        for layer in ["input", "stages.0.gsc.sum", "dec.0.res.leaky relu", "full.cat"]
            + (hasNorms ? ["stages.0.gsc.norm1", "dec.0.cat"] : [])
        {
            #expect(names.contains(layer), "\(names)")
        }
        let network = try IntegerNetwork(wide.model.bytes, threads: 1)
        for kind in [.lookupWide, .concat, .depthToSpace, .conv3d] + (hasNorms ? [.groupNorm] : []) as [OpRecord.Kind] {
            #expect(
                (0..<network.file.opCount).contains { index in
                    let op = network.file.op(index)
                    return op.kind == kind && network.file.tensor(Int(op.output)).storage == .i16
                }, "\(kind)")
        }
        func noise(_ tiny: Tiny) throws -> Double {
            try tiny.converter.compare(tiny.model, tiny.input).layers.last!.sqnr
        }
        let (before, after) = try (noise(narrow), noise(wide))
        print("\(name): scores \(before) dB, with 16 bits \(after) dB")
        #expect(after > before + 3)
    }

    /// Larger weights before the scans, so that accumulators decide how fine the codes of the step, of b and of c can be, and other
    /// ones in every row.
    private static func stretched(_ graph: FloatGraph) -> FloatGraph {
        var result = FloatGraph(inputChannels: graph.inputChannels)
        for node in graph.nodes {
            var op = node.op
            if case .conv3d(var conv) = op, node.name.hasSuffix(".dt") || node.name.hasSuffix(".bc") {
                for i in conv.weights.indices {
                    conv.weights[i] *= node.name.hasSuffix(".dt") ? 4 : Float(1 + i / conv.inChannels % 4)
                }
                op = .conv3d(conv)
            }
            result.append(node.name, op, node.inputs)
        }
        return result
    }

    /// A scan's constants take its step, all of b and all of c to have one scale each. Against the recurrence in double on its own
    /// inputs it must say the same, whatever their noise is. (Scales of their own once left 15 dB of kmamba-nano's scans.)
    @Test(arguments: sizes.keys.sorted()) func scansFollowTheRecurrenceOnTheirOwnInputs(_ name: String) throws {
        let tiny = try Self.tiny(name, change: Self.stretched)
        let network = try IntegerNetwork(tiny.model.bytes, threads: 1)
        let graph = tiny.converter.graph
        var values: [ValueID: FloatTensor] = [:]
        _ = try network.run(tiny.input) { op, view in
            guard tiny.model.nodes[op] >= 0 else { return }
            let extent = view.layout.extent
            values[graph.nodes[tiny.model.nodes[op]].output] = FloatTensor(
                channels: view.layout.channels,
                size: Size3(depth: extent.depth, height: extent.height, width: extent.width),
                values: (0..<view.layout.channels).flatMap { view.reals($0) })
        }
        for node in graph.nodes {
            guard case .scan(let scan) = node.op else { continue }
            let inputs = node.inputs.map { values[$0]! }
            let (exact, _) = FloatTokens.scan(inputs[0], inputs[1], inputs[2], scan)
            let found = values[node.output]!
            let difference = LayerDifference(op: 0, name: node.name, exact) { channel in
                let count = exact.size.count
                return Array(found.values[(channel * count)..<((channel + 1) * count)])
            }
            print("\(name), \(node.name): \(difference.sqnr) dB")
            #expect(difference.sqnr > 60)
        }
    }
}
