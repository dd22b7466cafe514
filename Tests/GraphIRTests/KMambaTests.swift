import Foundation
import GraphIR
import Testing

/// A small KMamba-3D with random weights, and what PyTorch makes of a random input (Tools/train/kmamba/golden.py).
enum KMambaGolden {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Goldens/kmamba-tiny")

    static func network() throws -> (graph: FloatGraph, config: ModelConfig) {
        let checkpoint = try Checkpoint.read(path: folder.appending(path: "model.safetensors").path)
        let config = try ModelConfig(path: folder.appending(path: "model.json").path, fallbackName: "tiny")
        return try NetworkImporter.network(checkpoint: checkpoint, config: config)
    }

    static func tensor(_ name: String) throws -> [Float] {
        let file = try Checkpoint.read(path: folder.appending(path: "io.safetensors").path)
        return try #require(file[name]).values
    }

    static func input() throws -> FloatTensor {
        FloatTensor(channels: 2, size: Size3(cube: 32), values: try tensor("input"))
    }
}

@Suite struct KMambaTests {
    @Test func scoresEqualPyTorch() throws {
        let (graph, _) = try KMambaGolden.network()
        let expected = try KMambaGolden.tensor("scores")
        var scores: [Float] = []
        let labels = FloatExecutor(graph).run(try KMambaGolden.input()) { (index, tensor) throws(Never) in
            if index == graph.nodes.count - 2 { scores = tensor.values }
        }
        #expect(scores.count == expected.count)
        let worst = zip(scores, expected).map { abs($0 - $1) }.max() ?? .infinity
        let most = expected.map(abs).max() ?? 0
        // The stored scores are half-precision: 2^-11 relative; the rest is float32 summed in another order.
        #expect(worst < most * 0x1p-10, "worst \(worst) of \(most)")
        let wanted = try KMambaGolden.tensor("labels")
        let equal = zip(labels, wanted).reduce(0) { $0 + ($1.0 == UInt16($1.1) ? 1 : 0) }
        // Labels may differ only where two scores are that close.
        #expect(equal >= labels.count - labels.count / 1000)
    }
}
