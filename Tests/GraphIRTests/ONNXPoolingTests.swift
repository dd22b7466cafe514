import Foundation
import ONNXSchema
import Testing

@testable import GraphIR

/// Means over the volume and what networks make of them.
@Suite struct ONNXPoolingTests {
    private func graph(_ builder: ONNXBuilder) throws -> FloatGraph {
        try ONNXImporter.graph(
            model: try #require(try Checkpoint.read(bytes: try builder.bytes(), path: "f.onnx").onnx))
    }

    @Test func excitationIsItsDefinition() throws {
        let graph = try graph(.excitation())
        #expect(
            graph.nodes.map(\.op.name) == [
                "global pool", "conv3d", "relu", "conv3d", "function", "multiply", "conv3d", "argmax",
            ])
        let size = Size3(depth: 2, height: 3, width: 5)
        let input = FloatTensor(
            channels: 3, size: size, values: (0..<90).map { Float(($0 * 37) % 101) / 50 - 0.6 + Float($0 / 30) })
        var scores = input
        _ = FloatExecutor(graph).run(input) { _, tensor in scores = tensor }
        func weight(_ i: Int) -> Double { Double(Float(i % 7) / 8 - 0.4) }
        let means = (0..<3).map { c in input.values[(c * 30)..<(c * 30 + 30)].reduce(0.0) { $0 + Double($1) } / 30 }
        let hidden = (0..<2).map { o in
            max(0, (0..<3).reduce(weight(o)) { $0 + weight(o * 3 + $1) * means[$1] })
        }
        for c in 0..<3 {
            let gate = 1 / (1 + exp(-(0..<2).reduce(0.0) { $0 + weight($1 * 3 + c) * hidden[$1] }))
            for i in 0..<30 {
                let wanted = Double(input.values[c * 30 + i]) * gate
                #expect(abs(Double(scores.values[c * 30 + i]) - wanted) < 1e-6)
            }
        }
    }

    /// A network of two axes has a mean of each slice; the image-level branch is copied over it.
    @Test func slicesHaveMeansOfTheirOwn() throws {
        var builder = ONNXBuilder(channels: 2, rank: 2)
        builder.weight("w", [3, 4, 1, 1], { $0 % 5 == 0 ? 1 : 0 })
        builder.node("ReduceMean", ["x"], "means", ints: ["axes": [-1, 2]])
        builder.node("Relu", ["means"], "r")
        builder.node("Shape", ["x"], "shape")
        builder.node("Resize", ["r", "", "", "shape"], "copies", texts: ["mode": "linear"])
        builder.node("Concat", ["copies", "x"], "both", ints: ["axis": [1]])
        builder.node("Conv", ["both", "w"], "scores")
        let graph = try graph(builder)
        #expect(graph.grids()[1].span == .slice && graph.grids().last?.span == .voxel)
        let size = Size3(depth: 2, height: 2, width: 3)
        let input = FloatTensor(channels: 2, size: size, values: (0..<24).map { Float($0 * $0) / 10 })
        var scores = input
        _ = FloatExecutor(graph).run(input) { _, tensor in scores = tensor }
        for c in 0..<2 {
            for z in 0..<2 {
                let first = c * 12 + z * 6
                let mean = input.values[first..<(first + 6)].reduce(0, +) / 6
                for i in 0..<6 { #expect(abs(scores.values[first + i] - mean) < 1e-4) }
            }
        }
        #expect(scores.values[24..<36] == input.values[0..<12])
    }

    /// What a network makes of means, and what the importer says of it.
    private struct Refusal: Sendable {
        var name: String
        var says: String
        var change: @Sendable (inout ONNXBuilder) -> Void

        init(_ name: String, _ says: String, _ change: @escaping @Sendable (inout ONNXBuilder) -> Void) {
            (self.name, self.says, self.change) = (name, says, change)
        }
    }

    private static let refusals: [Refusal] = [
        Refusal("a look around", "one voxel for the volume as input") {
            $0.weight("w", [3, 3, 3, 3, 3])
            $0.node("Conv", ["means", "w"], "scores", ints: ["pads": [1, 1, 1, 1, 1, 1]])
        },
        Refusal("a stride", "one voxel for the volume as input") {
            $0.weight("w", [3, 3, 1, 1, 1])
            $0.node("Conv", ["means", "w"], "c", ints: ["strides": [2, 2, 2]])
            $0.node("Mul", ["x", "c"], "scores")
        },
        Refusal("a sum", "beside all of them") { $0.node("Add", ["x", "means"], "scores") },
        Refusal("the only output", "one voxel for all") { $0.node("Sigmoid", ["means"], "scores") },
        Refusal("a mean of means", "one voxel for the volume as input") {
            $0.node("GlobalAveragePool", ["means"], "again")
            $0.node("Mul", ["x", "again"], "scores")
        },
        Refusal("no copies", "was not copied") { $0.node("Concat", ["x", "means"], "scores", ints: ["axis": [1]]) },
        Refusal("copies that are convolved", "one voxel that was copied") {
            $0.weight("w", [3, 3, 1, 1, 1])
            $0.node("Shape", ["x"], "shape")
            $0.node("Expand", ["means", "shape"], "e")
            $0.node("Conv", ["e", "w"], "scores")
        },
        Refusal("channels in groups", "one voxel to [1, 1, 3]") {
            $0.integers("groups", [1, 1, 3])
            $0.node("Reshape", ["means", "groups"], "g")
            $0.node("Mul", ["x", "g"], "scores")
        },
        Refusal("an unknown shape", "a shape that is not known here") {
            $0.node("Shape", ["x"], "shape")
            $0.node("Reshape", ["means", "shape"], "g")
            $0.node("Mul", ["x", "g"], "scores")
        },
        Refusal("some axes gone", "of other axes than [N, C]") {
            $0.integers("last", [-1])
            $0.node("Squeeze", ["means", "last"], "q")
            $0.node("Sigmoid", ["q"], "s")
            $0.node("Mul", ["x", "s"], "scores")
        },
        Refusal("the batch gone", "axes [0]") {
            $0.integers("first", [0])
            $0.node("Squeeze", ["means", "first"], "q")
            $0.node("Mul", ["x", "q"], "scores")
        },
        Refusal("all axes gone", "of all axes of length 1") {
            $0.node("Squeeze", ["means"], "q")
            $0.node("Mul", ["x", "q"], "scores")
        },
        Refusal("vectors and voxels", "only some have their channels as the last axis") {
            $0.node("Flatten", ["means"], "v")
            $0.node("Mul", ["x", "v"], "scores")
        },
        Refusal("a layer of the wrong size", "a matrix [2, 3] for 3 channels") {
            $0.weight("w", [2, 3])
            $0.node("Flatten", ["means"], "v")
            $0.node("Gemm", ["v", "w"], "scores")
        },
        Refusal("a layer of a volume", "of other axes than [N, C]") {
            $0.weight("w", [3, 3])
            $0.node("Gemm", ["x", "w"], "scores")
        },
        Refusal("some of the axes", "supported: the channels, keepdims=1, or all others") {
            $0.node("ReduceMean", ["x"], "m", ints: ["axes": [2, 3]])
            $0.node("Mul", ["x", "m"], "scores")
        },
    ]

    @Test(arguments: refusals.indices) func whatMeansCannotBeIsNamed(_ index: Int) throws {
        let refusal = Self.refusals[index]
        let (name, says) = (refusal.name, refusal.says)
        var builder = ONNXBuilder(channels: 3)
        builder.node("GlobalAveragePool", ["x"], "means")
        refusal.change(&builder)
        let error = try #require(throws: ImportError.self, "\(name)") { try graph(builder) }
        #expect((error.description + error.details.joined()).contains(says), "\(name): \(error) \(error.details)")
        #expect(error.details.count <= 1)
    }

    @Test func rowsHaveNoMeans() throws {
        var builder = ONNXBuilder(channels: 3, rank: 1)
        builder.node("GlobalAveragePool", ["x"], "means")
        builder.node("Mul", ["x", "means"], "scores")
        let error = try #require(throws: ImportError.self) { try graph(builder) }
        #expect(error.details.first?.contains("of one axis") == true)
    }

    /// Graphs that were changed after they were built.
    @Test func graphsWithOneVoxelAreChecked() throws {
        func fault(_ op: FloatOp, _ inputs: [Int], perSlice: [Bool] = [false]) -> String {
            var graph = FloatGraph(inputChannels: 2)
            for isPerSlice in perSlice { graph.append("means", .globalPool(isPerSlice: isPerSlice), [0]) }
            let last = graph.append("op", op, inputs)
            graph.append("argmax", .argmax, [last])
            do {
                try graph.check()
                return ""
            } catch { return "\(error)" }
        }
        #expect(fault(.multiply, [0, 1]) == "" && fault(.concat, [1, 0]) == "")
        #expect(fault(.multiply, [1, 0]).hasPrefix("op: one voxel for the volume beside all"))
        #expect(fault(.add, [0, 1]).hasPrefix("op: one voxel for the volume beside all"))
        #expect(fault(.concat, [1, 1]).hasPrefix("argmax: one voxel for the volume as input"))
        #expect(fault(.maxPool(GridPool(factor: Size3(cube: 2))), [1]).hasPrefix("op: one voxel for the volume as"))
        #expect(fault(.concat, [1, 2], perSlice: [true, false]).hasPrefix("op: "))
        #expect(fault(.multiply, [0, 2], perSlice: [false, true]) == "")
    }

    @Test func damagedFilesDoNoHarm() throws {
        let bytes = try ONNXBuilder.excitation().bytes()
        var generator = SeededGenerator(state: 5)
        var (refused, accepted) = (0, 0)
        for _ in 0..<20_000 {
            var damaged = bytes
            let at = Int(generator.next() % UInt64(damaged.count))
            damaged[at] = UInt8(truncatingIfNeeded: generator.next())
            guard let isAccepted = try ONNXBuilder.isAccepted(damaged) else { continue }
            if isAccepted { accepted += 1 } else { refused += 1 }
        }
        #expect(refused > 1000 && accepted > 1000, "\(refused) \(accepted)")
    }
}
