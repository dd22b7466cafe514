import FlatGraph
import Foundation
import GraphIR
import TestSupport
import Testing

@testable import Quantize

/// U-Nets exported by Tools/onnx/export_unet.py: float scores are ONNX Runtime's, integer labels follow.
@Suite struct ONNXTests {
    static let names = [
        "unet-transposed-batch", "unet-resize-instance", "unet-residual-group", "unet-resize-batch-gelu",
        "unet-attention-batch", "unet-trilinear-instance", "unet-anisotropic-instance", "unet2d-transposed-batch",
        "unet2d-bilinear-instance", "unet2d-residual-strided-group", "unet2d-attention-bilinear-batch",
        "unet-excitation-batch", "unet2d-excitation-residual-instance",
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
            let image = try #require(io["input"])
            let size = Size3(depth: image.shape[1], height: image.shape[2], width: image.shape[3])
            input = FloatTensor(channels: 1, size: size, values: image.values)
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
    @Test(arguments: ["unet-transposed-batch", "unet2d-transposed-batch"])
    func aQuantizedExportIsImported(_ name: String) throws {
        let original = try Case(name)
        let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Goldens/onnx/\(name)-qdq.onnx").path
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

    /// What the networks were taught on (`export_unet.py`): a bright ball and a darker box on noise.
    private static func phantom(_ depth: Int) -> FloatTensor {
        var generator = SplitMix64(17)
        let size = Size3(depth: depth, height: 32, width: 32)
        let values = (0..<size.count).map { index -> Float in
            let (z, y, x) = (index / 1024 * 32 / depth, index / 32 % 32, index % 32)
            let isBall = (z - 18) * (z - 18) + (y - 20) * (y - 20) + (x - 11) * (x - 11) < 64
            let isBox = (4..<16).contains(z) && (3..<14).contains(y) && (15..<27).contains(x)
            let noise = (0..<4).reduce(Float(0)) { sum, _ in sum + Float.random(in: -0.07...0.07, using: &generator) }
            return min(max((isBall ? 0.75 : isBox ? 0.45 : 0.2) + noise, 0), 1)
        }
        return FloatTensor(channels: 1, size: size, values: values)
    }

    @Test(arguments: names, [WideLayers.none, .all]) func integerLabelsFollow(_ name: String, _ wide: WideLayers) throws
    {
        let test = try Case(name)
        var options = Converter.Options()
        (options.threads, options.wide) = (2, wide)
        var converter = Converter(graph: test.network.graph, options: options) { _, _ in }
        let phantom = Self.phantom(name.hasPrefix("unet2d") ? 16 : 32)
        converter.calibrate(test.input, volume: 1, of: 2)
        converter.calibrate(phantom, volume: 2, of: 2)
        let metadata = try Metadata.builder(
            config: test.network.config, classes: 3, inputChannels: 1, provenance: [])
        let model = try converter.convert(inputCoding: nil, metadata: metadata, samples: [test.input])
        let comparison = try converter.compare(model, phantom)
        print("\(name), \(wide): agreement \(comparison.agreement), Dice", comparison.dice(atLeast: 100))
        #expect(comparison.agreement > 0.998)
        // One network sees the box as background; a few voxels of it tell nothing.
        let dice = comparison.dice(atLeast: 100)
        #expect(!dice.isEmpty && dice.allSatisfy { $0 > 0.99 }, "\(dice)")
    }
}

extension Comparison {
    /// Of each class but the first that float gives to so many voxels.
    fileprivate func dice(atLeast count: Int) -> [Double] {
        Set(floatLabels).subtracting([0]).sorted().compactMap { label in
            let sizes = (floatLabels.count { $0 == label }, integerLabels.count { $0 == label })
            let both = zip(floatLabels, integerLabels).count { $0 == label && $1 == label }
            return sizes.0 < count ? nil : 2 * Double(both) / Double(sizes.0 + sizes.1)
        }
    }
}
