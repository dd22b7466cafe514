import FlatGraph
import Foundation
import GraphIR
import TestSupport
import Testing

@testable import Quantize

/// Cases of ONNX's own operators that `Tools/onnx/node_tests.py --cases` wrote: float scores, and integers within the derived bound.
/// `MKEDGE_ONNX_CASES` names another folder than that of the committed ones.
@Suite struct ONNXNodeTests {
    static let folder =
        ProcessInfo.processInfo.environment["MKEDGE_ONNX_CASES"] ?? "\(Shared.packageRoot)/Tests/Goldens/onnx-nodes"
    static let names =
        ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [])
        .filter { $0.hasSuffix(".onnx") }.map { String($0.dropLast(5)) }.sorted()

    @Test func thereAreCases() { #expect(Self.names.count > 15, "in \(Self.folder)") }

    @Test(arguments: names) func integersStayWithinTheirBound(_ name: String) throws {
        let file = try Checkpoint.read(path: "\(Self.folder)/\(name).safetensors")
        func tensor(_ name: String) throws -> FloatTensor {
            let found = try #require(file[name])
            return FloatTensor(
                channels: found.shape[0],
                size: Size3(depth: found.shape[1], height: found.shape[2], width: found.shape[3]), values: found.values)
        }
        let (input, scores) = (try tensor("input"), try tensor("scores"))
        let config = try ModelConfig(
            json: Array("{\"architecture\": \"onnx\"}".utf8), path: name, fallbackName: "case")
        let checkpoint = try Checkpoint.read(path: "\(Self.folder)/\(name).onnx")
        let graph = try NetworkImporter.network(checkpoint: checkpoint, config: config).graph

        var options = Converter.Options()
        (options.rule, options.methods) = (.minMax, [])
        var converter = Converter(graph: graph, options: options) { _, _ in }
        var found: FloatTensor?
        let last = converter.graph.nodes.count - 2
        _ = FloatExecutor(converter.graph).run(input) { index, tensor in if index == last { found = tensor } }
        let peak = scores.values.map(abs).max()!
        let worst = zip(try #require(found).values, scores.values).map { abs($0 - $1) }.max()!
        #expect(found?.size == scores.size && worst <= 1e-5 * peak, "float: \(worst) of \(peak)")

        // The runtime puts zeros behind sides that are no multiple of the cell; so does this.
        let whole = input.filled(toMultiplesOf: converter.graph.cell)
        converter.calibrate(whole, volume: 1, of: 1)
        let metadata = try Metadata.builder(
            config: config, classes: graph.classCount, inputChannels: graph.inputChannels, provenance: [])
        let model: LoweredModel
        do {
            model = try converter.convert(inputCoding: nil, metadata: metadata, samples: [])
        } catch {
            // A lone operator that makes the grid finer has nothing before it that made it coarser.
            #expect(error.message.contains("finer than the input's"), "\(error)")
            return
        }
        let memory = TestModels.Memory(model.bytes)
        let bound = ErrorBound(try memory.file(), model, converter.graph, whole)
        let comparison = try converter.compare(model, whole)
        for layer in comparison.layers {
            let allowed = try #require(bound.errors[Int(memory.file().op(layer.op).output)], "\(layer.name)")
            #expect(
                allowed.isFinite && Double(layer.worst) <= allowed, "\(name) \(layer.name): \(layer.worst) > \(allowed)"
            )
        }
        let output = bound.errors.values.max()!
        print("node case \(name): largest error \(comparison.layers.last?.worst ?? 0), bound \(output), peak \(peak)")
    }
}
