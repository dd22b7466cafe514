import Foundation
import ONNXSchema
import Testing

@testable import GraphIR

@Suite struct ONNXImporterTests {
    private func graph(_ builder: ONNXBuilder) throws -> FloatGraph {
        try ONNXImporter.graph(
            model: try #require(try Checkpoint.read(bytes: try builder.bytes(), path: "f.onnx").onnx))
    }

    private func scores(_ graph: FloatGraph, _ input: FloatTensor) -> FloatTensor {
        var result = input
        _ = FloatExecutor(graph).run(input) { _, tensor in result = tensor }
        return result
    }

    private func input(_ channels: Int, _ size: Size3) -> FloatTensor {
        FloatTensor(
            channels: channels, size: size,
            values: (0..<(channels * size.count)).map { Float(($0 * 37) % 101) / 50 - 1 })
    }

    @Test func aStepOfAUNetIsImported() throws {
        let graph = try graph(.step())
        #expect(
            graph.nodes.map(\.op.name) == [
                "conv3d", "relu", "max pool", "conv3d", "depth to space", "concat", "conv3d", "argmax",
            ])
        #expect(graph.classCount == 3)
    }

    /// Chains that exporters make of activations are one table each, and the right one.
    @Test(arguments: ["silu", "gelu", "hardswish", "mish"]) func chainsBecomeOneFunction(_ name: String) throws {
        var builder = ONNXBuilder(channels: 2)
        builder.weight("half", [], { _ in 0.5 })
        builder.weight("one", [], { _ in 1 })
        builder.weight("root", [], { _ in Float(2).squareRoot() })
        builder.weight("w", [3, 2, 1, 1, 1])
        let expected: (Double) -> Double
        switch name {
        case "silu":
            builder.node("Sigmoid", ["x"], "s")
            builder.node("Mul", ["x", "s"], "y")
            expected = { $0 / (1 + exp(-$0)) }
        case "gelu":
            builder.node("Div", ["x", "root"], "a")
            builder.node("Erf", ["a"], "b")
            builder.node("Add", ["b", "one"], "c")
            builder.node("Mul", ["x", "c"], "d")
            builder.node("Mul", ["d", "half"], "y")
            expected = { 0.5 * $0 * (1 + erf($0 / 2.0.squareRoot())) }
        case "hardswish":
            builder.node("HardSwish", ["x"], "y")
            expected = { $0 * min(max($0 + 3, 0), 6) / 6 }
        default:
            builder.node("Softplus", ["x"], "a")
            builder.node("Tanh", ["a"], "b")
            builder.node("Mul", ["x", "b"], "y")
            expected = { $0 * tanh(log1p(exp($0))) }
        }
        builder.node("Conv", ["y", "w"], "scores")
        let graph = try graph(builder)
        #expect(graph.nodes.count == 3)
        guard case .activation(let f) = graph.nodes[0].op else { throw Unexpected() }
        for x in stride(from: -6.0, through: 6, by: 0.37) { #expect(abs(f(x) - expected(x)) < 1e-6 * (1 + abs(x))) }
    }
    private struct Unexpected: Error {}

    /// Uneven padding, strides, groups and transposed kernels against sums written out from the definition.
    @Test(arguments: [
        (kernel: 2, stride: 2, pads: (0, 0)), (3, 2, (0, 1)), (3, 2, (1, 0)), (3, 1, (1, 1)), (5, 1, (2, 2)),
        (4, 2, (1, 1)),
        (2, 1, (0, 1)), (2, 1, (1, 0)), (3, 1, (0, 0)),
    ])
    func convolutionsAreTheSumsOfTheirDefinition(_ kernel: Int, _ stride: Int, _ pads: (Int, Int)) throws {
        for group in [1, 2] {
            var builder = ONNXBuilder(channels: 4)
            let weight: (Int) -> Float = { Float(($0 * 13) % 17) / 8 - 1 }
            builder.weight("w", [4, 4 / group, kernel, kernel, kernel], weight)
            let (a, b) = (Int64(pads.0), Int64(pads.1))
            builder.node(
                "Conv", ["x", "w"], "scores",
                ints: [
                    "pads": [a, a, a, b, b, b], "strides": [Int64](repeating: Int64(stride), count: 3),
                    "group": [Int64(group)],
                ])
            let x = input(4, Size3(cube: 8))
            let y = scores(try graph(builder), x)
            let side = (8 + pads.0 + pads.1 - kernel) / stride + 1
            #expect(y.size == Size3(cube: side) && y.channels == 4)
            for o in 0..<4 {
                for at in 0..<(side * side * side) {
                    let place = [at / (side * side), at / side % side, at % side]
                    var sum = 0.0
                    for i in 0..<(4 / group) {
                        for t in 0..<(kernel * kernel * kernel) {
                            let k = [t / (kernel * kernel), t / kernel % kernel, t % kernel]
                            let p = (0..<3).map { place[$0] * stride + k[$0] - pads.0 }
                            guard p.allSatisfy((0..<8).contains) else { continue }
                            let channel = o / (4 / group) * (4 / group) + i
                            let w = weight((o * (4 / group) + i) * kernel * kernel * kernel + t)
                            sum += Double(w) * Double(x.values[((channel * 8 + p[0]) * 8 + p[1]) * 8 + p[2]])
                        }
                    }
                    #expect(abs(Double(y.values[o * side * side * side + at]) - sum) < 1e-4)
                }
            }
        }
    }

    @Test(arguments: [(kernel: 2, pad: 0, added: 0), (3, 1, 1), (4, 1, 0), (6, 2, 0)])
    func transposedConvolutionsAreTheSumsOfTheirDefinition(_ kernel: Int, _ pad: Int, _ added: Int) throws {
        var builder = ONNXBuilder(channels: 2)
        let weight: (Int) -> Float = { Float(($0 * 11) % 19) / 8 - 1 }
        builder.weight("w", [2, 3, kernel, kernel, kernel], weight)
        let p = Int64(pad)
        builder.node(
            "ConvTranspose", ["x", "w"], "scores",
            ints: [
                "pads": [p, p, p, p, p, p], "strides": [2, 2, 2],
                "output_padding": [Int64(added), Int64(added), Int64(added)],
            ])
        let x = input(2, Size3(cube: 4))
        let y = scores(try graph(builder), x)
        #expect(y.size == Size3(cube: 8) && y.channels == 3)
        var sums = [Double](repeating: 0, count: 3 * 512)
        for i in 0..<2 {
            for at in 0..<64 {
                for t in 0..<(kernel * kernel * kernel) {
                    let place = [at / 16, at / 4 % 4, at % 4]
                    let k = [t / (kernel * kernel), t / kernel % kernel, t % kernel]
                    let to = (0..<3).map { 2 * place[$0] + k[$0] - pad }
                    guard to.allSatisfy((0..<8).contains) else { continue }
                    for o in 0..<3 {
                        sums[((o * 8 + to[0]) * 8 + to[1]) * 8 + to[2]] +=
                            Double(x.values[i * 64 + at]) * Double(weight((i * 3 + o) * kernel * kernel * kernel + t))
                    }
                }
            }
        }
        #expect(zip(y.values, sums).allSatisfy { abs(Double($0) - $1) < 1e-4 })
    }

    @Test func everythingThatIsMissingIsInOneMessage() throws {
        var builder = ONNXBuilder.step()
        builder.node("NonMaxSuppression", ["scores"], "a")
        builder.node("Relu", ["a"], "b")
        builder.node("LSTM", ["scores"], "c")
        builder.node("MaxPool", ["x"], "d", ints: ["kernel_shape": [3, 3, 3], "strides": [3, 3, 3]])
        builder.model.graph.output[0].name = "b"
        let error = try #require(throws: ImportError.self) { try graph(builder) }
        #expect(error.kind == .unsupported && error.details.count == 3)
        #expect(error.details[0].hasPrefix("the a: NonMaxSuppression: is not supported (inputs: 3 channels)"))
        #expect(error.details[1].contains("LSTM") && error.details[2].contains("kernel [3, 3, 3]"))
    }

    @Test func malformedFilesAreRefusedByName() throws {
        func expect(_ part: String, _ change: (inout ONNXBuilder) -> Void) throws {
            var builder = ONNXBuilder.step()
            change(&builder)
            let error = try #require(throws: ImportError.self, "\(part)") { try graph(builder) }
            #expect((error.description + error.details.joined()).contains(part), "\(error) \(error.details)")
        }
        try expect("shape [-1, 2, 3, 3, 3]") { $0.model.graph.initializer[0].dims[0] = -1 }
        try expect("tensor w1: shape") { $0.model.graph.initializer[0].dims = [1 << 40, 1 << 40] }
        try expect("bytes for 1099511627776 elements") { $0.model.graph.initializer[0].dims = [1 << 40] }
        try expect("data type 77") { $0.model.graph.initializer[0].dataType = 77 }
        try expect("not finite") { $0.model.graph.initializer[0].rawData = Data(repeating: 0xFF, count: 864) }
        try expect("does not exist before it") { $0.model.graph.node[0].input[0] = "k1" }
        try expect("does not exist before it") { $0.model.graph.node.swapAt(0, 1) }
        try expect("no node makes the output") { $0.model.graph.output[0].name = "nothing" }
        try expect("opset 3") { $0.model.opsetImport[0].version = 3 }
        try expect("2 inputs") { $0.model.graph.input.append(ONNXBuilder.info("y", [1, 2, 4, 4, 4])) }
        try expect("external data at ../secret (must be a file beside the model)") { builder in
            var entry = Onnx_StringStringEntryProto()
            (entry.key, entry.value) = ("location", "../secret")
            builder.model.graph.initializer[0].clearRawData()
            builder.model.graph.initializer[0].dataLocation = 1
            builder.model.graph.initializer[0].externalData = [entry]
        }
        let bytes = try ONNXBuilder.step().bytes()
        for count in [10, 100, bytes.count / 2, bytes.count - 1] {
            #expect(throws: ImportError.self) {
                try Checkpoint.read(bytes: Array(bytes[..<count]), path: "f").onnx.map {
                    try ONNXImporter.graph(model: $0)
                }
            }
        }
    }

    /// Small files that would become huge when written out: refused before anything is allocated.
    @Test func weightsThatGrowAreLimited() throws {
        var grouped = ONNXBuilder(channels: 4096)
        grouped.weight("w", [4096, 1, 1, 1, 1])
        grouped.node("Conv", ["x", "w"], "scores", ints: ["group": [4096], "pads": [6, 6, 6, 0, 0, 0]])
        var upsampled = ONNXBuilder(channels: 4096)
        upsampled.weight("u", [4096, 1, 2, 2, 2])
        upsampled.node("ConvTranspose", ["x", "u"], "up", ints: ["group": [4096], "strides": [2, 2, 2]])
        upsampled.weight("w", [3, 4096, 1, 1, 1])
        upsampled.node("Conv", ["up", "w"], "scores")
        var wide = ONNXBuilder(channels: 1024)
        wide.weight("w", [64, 1024, 1, 1, 1])
        wide.node("Conv", ["x", "w"], "scores", ints: ["pads": [14, 14, 14, 0, 0, 0]])
        for builder in [grouped, upsampled, wide] {
            let error = try #require(throws: ImportError.self) { try graph(builder) }
            #expect(
                error.details.count == 1 && error.details[0].contains("weights written out (limit 67108864)"),
                "\(error)")
        }
    }

    /// Files with a few wrong bytes are refused or make a graph that passes its checks; nothing crashes, hangs or takes memory
    /// beyond measure.
    @Test func mutatedFilesDoNoHarm() throws {
        let bytes = try ONNXBuilder.step().bytes()
        var generator = SeededGenerator(state: 3)
        var (refused, accepted) = (0, 0)
        for round in 0..<100_000 {
            var damaged = bytes
            for _ in 0...(round % 4) {
                let at = Int(generator.next() % UInt64(damaged.count))
                switch generator.next() % 4 {
                case 0: damaged[at] ^= 1 << UInt8(generator.next() % 8)
                case 1: damaged[at] = UInt8(truncatingIfNeeded: generator.next())
                case 2: damaged.remove(at: at)
                default: damaged.insert(UInt8(truncatingIfNeeded: generator.next()), at: at)
                }
            }
            guard let isAccepted = try ONNXBuilder.isAccepted(damaged) else { continue }
            if isAccepted { accepted += 1 } else { refused += 1 }
        }
        #expect(refused > 10_000 && accepted > 10_000, "\(refused) \(accepted)")
    }
}
