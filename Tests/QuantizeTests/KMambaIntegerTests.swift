import FlatGraph
import Foundation
import GraphIR
import Testing

@testable import Quantize

@Suite struct KMambaIntegerTests {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Goldens/kmamba-tiny")

    private struct Tiny {
        var converter: Converter
        var input: FloatTensor
        var model: LoweredModel
    }

    private static func tiny() throws -> Tiny {
        let checkpoint = try Checkpoint.read(path: Self.folder.appending(path: "model.safetensors").path)
        let config = try ModelConfig(path: Self.folder.appending(path: "model.json").path, fallbackName: "tiny")
        let network = try NetworkImporter.network(checkpoint: checkpoint, config: config)
        let io = try Checkpoint.read(path: Self.folder.appending(path: "io.safetensors").path)
        let input = FloatTensor(channels: 2, size: Size3(cube: 32), values: try #require(io["input"]).values)
        var options = Converter.Options()
        options.threads = 2
        var converter = Converter(graph: network.graph, options: options) { _, _ in }
        converter.calibrate(input, volume: 1, of: 1)
        let metadata = try Metadata.builder(
            config: network.config, classes: 3, inputChannels: 2, provenance: [])
        let model = try converter.convert(inputCoding: nil, metadata: metadata, samples: [input])
        return Tiny(converter: converter, input: input, model: model)
    }

    /// The converted network of Goldens/kmamba-tiny.
    static func tinyModel() throws -> LoweredModel { try tiny().model }

    @Test func integerScoresFollowTheFloatNetwork() throws {
        let tiny = try Self.tiny()
        _ = try IntegerNetwork(tiny.model.bytes, threads: 1)
        let comparison = try tiny.converter.compare(tiny.model, tiny.input)
        for layer in comparison.layers {
            print("\(layer.name): \(layer.sqnr) dB  \(layer.floatLow) … \(layer.floatHigh) worst \(layer.worst)")
        }
        print("agreement \(comparison.agreement), Dice \(comparison.meanForegroundDice ?? 0)")
        #expect(comparison.agreement > 0.95)
    }
}
