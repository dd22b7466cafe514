import FlatGraph
import Foundation
import GraphIR
import Testing

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

    private static func tiny(_ name: String) throws -> Tiny {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Goldens/\(name)")
        let checkpoint = try Checkpoint.read(path: folder.appending(path: "model.safetensors").path)
        let config = try ModelConfig(path: folder.appending(path: "model.json").path, fallbackName: "tiny")
        let network = try NetworkImporter.network(checkpoint: checkpoint, config: config)
        let io = try Checkpoint.read(path: folder.appending(path: "io.safetensors").path)
        let input = FloatTensor(channels: 2, size: try #require(sizes[name]), values: try #require(io["input"]).values)
        var options = Converter.Options()
        options.threads = 2
        var converter = Converter(graph: network.graph, options: options) { _, _ in }
        converter.calibrate(input, volume: 1, of: 1)
        let metadata = try Metadata.builder(
            config: network.config, classes: 3, inputChannels: 2, provenance: [])
        let model = try converter.convert(inputCoding: nil, metadata: metadata, samples: [input])
        return Tiny(converter: converter, input: input, model: model)
    }

    /// The converted network of Goldens/kmamba-tiny, or of a variant.
    static func tinyModel(_ name: String = "kmamba-tiny") throws -> LoweredModel { try tiny(name).model }

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
}
