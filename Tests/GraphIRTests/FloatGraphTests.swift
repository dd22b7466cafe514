import GraphIR
import Testing

struct FloatGraphTests {
    private func convolution(_ inputs: Int, _ outputs: Int, _ random: inout SmallRandom) -> ConvWeights {
        ConvWeights(
            outChannels: outputs, inChannels: inputs, kernel: Size3(cube: 3), dilation: Size3(cube: 1),
            padding: Size3(cube: 1), weights: random.floats(inputs * outputs * 27),
            bias: random.floats(outputs))
    }

    private func norm(_ channels: Int, _ random: inout SmallRandom) -> BatchNorm {
        BatchNorm(
            mean: random.floats(channels), variance: random.floats(channels).map { abs($0) + 0.1 },
            scale: random.floats(channels), shift: random.floats(channels), epsilon: 1e-5)
    }

    private func input(_ channels: Int, _ random: inout SmallRandom) -> FloatTensor {
        let size = Size3(depth: 5, height: 6, width: 9)
        return FloatTensor(channels: channels, size: size, values: random.floats(channels * size.count))
    }

    @Test func foldedBatchNormGivesTheSame() throws {
        var random = SmallRandom(seed: 3)
        var graph = FloatGraph(inputChannels: 2)
        var value = graph.append("c0", .conv3d(convolution(2, 5, &random)), [0])
        value = graph.append("n0", .batchNorm(norm(5, &random)), [value])
        value = graph.append("r0", .activation(.relu), [value])
        value = graph.append("c1", .conv3d(convolution(5, 3, &random)), [value])
        value = graph.append("n1", .batchNorm(norm(3, &random)), [value])
        graph.append("argmax", .argmax, [value])
        let folded = graph.foldingBatchNorm()
        try folded.check()
        #expect(folded.nodes.map(\.name) == ["c0", "r0", "c1", "argmax"])
        let x = input(2, &random)
        let (plain, labels) = outputs(graph, x)
        let (fused, fusedLabels) = outputs(folded, x)
        let largest = plain[4].values.map(abs).max()!
        let worst = zip(plain[4].values, fused[2].values).map { abs($0 - $1) }.max()!
        #expect(worst < 2e-6 * largest, "largest difference \(worst) of \(largest)")
        #expect(labels == fusedLabels)
    }

    /// A convolution whose output is read twice keeps its weights, and a normalization of a sum has nowhere to go.
    @Test func batchNormStaysWhereItCannotBeFolded() throws {
        var random = SmallRandom(seed: 4)
        var graph = FloatGraph(inputChannels: 3)
        let c = graph.append("c", .conv3d(convolution(3, 3, &random)), [0])
        let n = graph.append("n", .batchNorm(norm(3, &random)), [c])
        let s = graph.append("s", .add, [c, n])
        let m = graph.append("m", .batchNorm(norm(3, &random)), [s])
        graph.append("argmax", .argmax, [m])
        #expect(graph.foldingBatchNorm() == graph)
        let x = input(3, &random)
        let (tensors, _) = outputs(graph, x)
        #expect(tensors[2].values == zip(tensors[0].values, tensors[1].values).map { $0 + $1 })
    }

    @Test func activationsAndConcat() {
        var graph = FloatGraph(inputChannels: 1)
        let functions: [Activation] = [.relu, .elu(alpha: 0.5), .gelu, .leakyRelu(slope: 0.1)]
        let values = functions.map { graph.append($0.name, .activation($0), [0]) }
        graph.append("argmax", .argmax, [graph.append("all", .concat, values)])
        let x = FloatTensor(
            channels: 1, size: Size3(depth: 1, height: 1, width: 4), values: [-2, -0.5, 0, 1.5])
        let (tensors, labels) = outputs(graph, x)
        let expected: [Float] = [
            0, 0, 0, 1.5, -0.4323324, -0.19673467, 0, 1.5, -0.04550026, -0.15426877, 0, 1.3997892, -0.2,
            -0.05, 0, 1.5,
        ]
        #expect(zip(tensors[4].values, expected).allSatisfy { abs($0 - $1) < 1e-6 })
        // The lowest index on a tie.
        #expect(labels == [0, 0, 0, 0])
    }

    @Test func tensorsAreFreedAndProgressIsTold() {
        var graph = FloatGraph(inputChannels: 1)
        var value = 0
        for i in 0..<4 { value = graph.append("r\(i)", .activation(.relu), [value]) }
        graph.append("argmax", .argmax, [value])
        var shares: [Double] = []
        let executor = FloatExecutor(graph) { shares.append($0) }
        _ = executor.run(FloatTensor(channels: 1, size: Size3(cube: 2))) { (_, _) throws(Never) in }
        #expect(shares == [0.2, 0.4, 0.6, 0.8, 1])
    }

    private struct Stop: Error {}

    @Test func observerMayStop() {
        var graph = FloatGraph(inputChannels: 1)
        graph.append("argmax", .argmax, [graph.append("r", .activation(.relu), [0])])
        #expect(throws: Stop.self) {
            _ = try FloatExecutor(graph).run(FloatTensor(channels: 1, size: Size3(cube: 2))) {
                (_, _) throws(Stop) in throw Stop()
            }
        }
    }

    struct BadGraph: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var message: String
        var change: @Sendable (inout FloatGraph) -> Void
    }

    static let badGraphs: [BadGraph] = [
        .init(testDescription: "no argmax", message: "output: the last node is not an argmax") {
            _ = $0.nodes.popLast(); _ = $0.channels.popLast()
        },
        .init(testDescription: "channels", message: "c: 2 output channels") { $0.channels[1] = 2 },
        .init(testDescription: "input channels", message: "c: 1 input channels (must be 2)") {
            $0.inputChannels = 2; $0.channels[0] = 2
        },
        .init(testDescription: "later input", message: "c: inputs [2]") { $0.nodes[0].inputs = [2] },
        .init(testDescription: "two inputs", message: "c: 2 inputs") { $0.nodes[0].inputs = [0, 0] },
        .init(testDescription: "output", message: "r: output is value 1") { $0.nodes[1].output = 1 },
        .init(testDescription: "NaN", message: "c: a weight or bias is not finite") { graph in
            guard case .conv3d(var conv) = graph.nodes[0].op else { return }
            conv.weights[5] = .nan
            graph.nodes[0].op = .conv3d(conv)
        },
        .init(testDescription: "weights", message: "c: 26 weights") { graph in
            guard case .conv3d(var conv) = graph.nodes[0].op else { return }
            _ = conv.weights.popLast()
            graph.nodes[0].op = .conv3d(conv)
        },
        .init(testDescription: "dilation", message: "c: dilation") { graph in
            guard case .conv3d(var conv) = graph.nodes[0].op else { return }
            conv.dilation.width = 0
            graph.nodes[0].op = .conv3d(conv)
        },
    ]

    @Test(arguments: badGraphs)
    func checkRefuses(_ bad: BadGraph) throws {
        var random = SmallRandom(seed: 5)
        var graph = FloatGraph(inputChannels: 1)
        let value = graph.append("c", .conv3d(convolution(1, 1, &random)), [0])
        graph.append("argmax", .argmax, [graph.append("r", .activation(.relu), [value])])
        try graph.check()
        bad.change(&graph)
        let error = #expect(throws: GraphError.self) { try graph.check() }
        #expect(error?.description.hasPrefix(bad.message) == true, "\(error?.description ?? "")")
    }

    @Test func sizesAreChecked() throws {
        var random = SmallRandom(seed: 6)
        var conv = convolution(1, 2, &random)
        conv.padding = Size3(cube: 0)
        var graph = FloatGraph(inputChannels: 1)
        graph.append("argmax", .argmax, [graph.append("c", .conv3d(conv), [0])])
        #expect(try graph.sizes(input: Size3(cube: 5)).map(\.depth) == [5, 3, 3])
        #expect(try graph.multiplyAdds(input: Size3(cube: 5)) == 27 * 54)
        #expect(throws: GraphError.self) { try graph.sizes(input: Size3(cube: 2)) }
        #expect(throws: GraphError.self) { try graph.sizes(input: Size3(depth: .max, height: 3, width: 3)) }
    }
}
