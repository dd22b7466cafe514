import FlatGraph
import Foundation
import GraphIR
import Testing

@testable import Quantize

/// U-Nets exported by Tools/onnx/export_unet.py: float scores are ONNX Runtime's, integer labels follow.
@Suite struct ONNXTests {
    static let names = [
        "unet-transposed-batch", "unet-resize-instance", "unet-residual-group", "unet-resize-batch-gelu",
        "unet-attention-batch",
    ]

    struct Case {
        var network: (graph: FloatGraph, config: ModelConfig)
        var input: FloatTensor
        var scores: [Float]

        init(_ name: String) throws {
            let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .appending(path: "Goldens/onnx")
            func path(_ suffix: String) -> String { folder.appending(path: "\(name).\(suffix)").path }
            let config = try ModelConfig(path: path("json"), fallbackName: name)
            network = try NetworkImporter.network(checkpoint: try Checkpoint.read(path: path("onnx")), config: config)
            let io = try Checkpoint.read(path: path("safetensors"))
            input = FloatTensor(channels: 1, size: Size3(cube: 24), values: try #require(io["input"]).values)
            scores = try #require(io["scores"]).values
        }
    }

    @Test(arguments: names) func floatScoresAreThoseOfONNXRuntime(_ name: String) throws {
        let test = try Case(name)
        for graph in [test.network.graph, test.network.graph.foldingBatchNorm()] {
            let last = graph.nodes.count - 2
            var found: [Float] = []
            _ = FloatExecutor(graph).run(test.input) { index, tensor in if index == last { found = tensor.values } }
            let peak = test.scores.map(abs).max()!
            let worst = zip(found, test.scores).map { abs($0 - $1) }.max()!
            #expect(found.count == test.scores.count && peak > 1)
            // Sums of up to a few hundred products in another order, seven levels deep.
            #expect(worst < 1e-4 * peak, "\(worst) of \(peak)")
        }
    }

    /// What ONNX Runtime's static quantizer makes of the first one (QDQ, per channel): it drops each ReLU whose output codes begin
    /// at 0, so that the pair around it has to cut values off. Reference are the scores of the network before.
    @Test func aQuantizedExportIsImported() throws {
        let original = try Case("unet-transposed-batch")
        let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Goldens/onnx/unet-transposed-batch-qdq.onnx").path
        let graph = try NetworkImporter.network(
            checkpoint: try Checkpoint.read(path: path), config: original.network.config
        ).graph
        let last = graph.nodes.count - 2
        var found: [Float] = []
        _ = FloatExecutor(graph).run(original.input) { index, tensor in if index == last { found = tensor.values } }
        let noise = zip(found, original.scores).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
        let signal = original.scores.reduce(0.0) { $0 + Double($1 * $1) }
        // Weights of eight bits alone: 40 dB and more; a ReLU that is missing leaves none.
        #expect(found.count == original.scores.count && noise < 1e-3 * signal, "\(noise / signal)")
        #expect(graph.nodes.contains { $0.op == .activation(.relu) })
    }

    @Test(arguments: names, [WideLayers.none, .all]) func integerLabelsFollow(_ name: String, _ wide: WideLayers) throws
    {
        let test = try Case(name)
        var options = Converter.Options()
        (options.threads, options.wide) = (2, wide)
        var converter = Converter(graph: test.network.graph, options: options) { _, _ in }
        converter.calibrate(test.input, volume: 1, of: 1)
        let metadata = try Metadata.builder(
            config: test.network.config, classes: 3, inputChannels: 1, provenance: [])
        let model = try converter.convert(inputCoding: nil, metadata: metadata, samples: [test.input])
        let comparison = try converter.compare(model, test.input)
        print("\(name): agreement \(comparison.agreement), Dice \(comparison.meanForegroundDice ?? 0)")
        #expect(comparison.agreement > 0.98)
        #expect(comparison.meanForegroundDice ?? 0 > 0.95)
    }
}
