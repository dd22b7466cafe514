import FlatGraph
import GraphIR
import Quantize
import TestSupport
import Testing

/// Small random float networks through calibration, lowering and the real kernels.
@Suite struct LoweringTests {
    static func conv(
        _ generator: inout SplitMix64, _ inputs: Int, _ outputs: Int, kernel: Int = 3, dilation: Int = 1
    ) -> ConvWeights {
        let taps = kernel * kernel * kernel
        let spread = 1.5 / Float(inputs * taps).squareRoot()
        return ConvWeights(
            outChannels: outputs, inChannels: inputs, kernel: Size3(cube: kernel), dilation: Size3(cube: dilation),
            padding: Size3(cube: dilation * (kernel - 1) / 2),
            weights: (0..<(outputs * inputs * taps)).map { _ in Float.random(in: -spread...spread, using: &generator) },
            bias: (0..<outputs).map { _ in Float.random(in: -0.1...0.2, using: &generator) })
    }

    static func input(_ generator: inout SplitMix64, channels: Int = 1) -> FloatTensor {
        let size = Size3(depth: 12, height: 13, width: 21)
        return FloatTensor(
            channels: channels, size: size,
            values: (0..<(channels * size.count)).map { _ in Float.random(in: 0...1, using: &generator) })
    }

    static let config = """
        {"layers": [{"in_channels": 1, "out_channels": 2, "kernel_size": 1, "padding": 0, "stride": 1, "dilation": 1}]}
        """

    private func comparison(_ graph: FloatGraph, _ sample: FloatTensor, _ rule: RangeRule = .mse) throws -> Comparison {
        var options = Converter.Options()
        options.rule = rule
        var converter = Converter(graph: graph, options: options, report: { _, _ in })
        converter.calibrate(sample, volume: 1, of: 1)
        let config = try ModelConfig(json: Array(Self.config.utf8), path: "test", fallbackName: "test")
        let metadata = try Metadata.builder(
            config: config, classes: graph.classCount, inputChannels: graph.inputChannels, provenance: [("a", "b")])
        let model = try converter.convert(
            inputCoding: .input(config.normalization), metadata: metadata, samples: [sample])
        let again = try converter.convert(
            inputCoding: .input(config.normalization), metadata: metadata, samples: [sample])
        #expect(model.bytes == again.bytes, "conversion of the same input is byte-identical")
        return try converter.compare(model, sample)
    }

    /// Eight-bit codes over the right range leave a noise of step/√12: 40 dB and more below the signal for one layer, and
    /// a chain of four loses a few dB per layer. A wrong scale, sign, bias or axis drops any layer below 20 dB.
    @Test(
        arguments: [Activation.relu, .elu(alpha: 1), .gelu], [RangeRule.mse, .minMax, .entropy, .percentile(0.9999)])
    func chainsKeepTheirSignal(_ activation: Activation, _ rule: RangeRule) throws {
        var generator = SplitMix64(41)
        var graph = FloatGraph(inputChannels: 1)
        var value = 0
        for (index, dilation) in [1, 2, 4].enumerated() {
            value = graph.append(
                "conv\(index)", .conv3d(Self.conv(&generator, graph.channels[value], 6, dilation: dilation)), [value])
            value = graph.append("act\(index)", .activation(activation), [value])
        }
        value = graph.append("head", .conv3d(Self.conv(&generator, 6, 3, kernel: 1)), [value])
        graph.append("argmax", .argmax, [value])
        let result = try comparison(graph, Self.input(&generator), rule)
        for layer in result.layers { #expect(layer.sqnr > 24, "\(layer.name): \(layer.sqnr) dB") }
        #expect(result.agreement > 0.9)
    }

    @Test func sumsAndConcatenationsKeepTheirSignal() throws {
        var generator = SplitMix64(5)
        var graph = FloatGraph(inputChannels: 2)
        let a = graph.append("a", .conv3d(Self.conv(&generator, 2, 5)), [0])
        let ra = graph.append("ra", .activation(.relu), [a])
        let b = graph.append("b", .conv3d(Self.conv(&generator, 5, 5, kernel: 5)), [ra])
        let sum = graph.append("sum", .add, [ra, b])
        let both = graph.append("both", .concat, [sum, ra])
        let head = graph.append("head", .conv3d(Self.conv(&generator, 10, 4, kernel: 3)), [both])
        graph.append("argmax", .argmax, [head])
        let result = try comparison(graph, Self.input(&generator, channels: 2))
        #expect(result.layers.count == 6)
        for layer in result.layers { #expect(layer.sqnr > 24, "\(layer.name): \(layer.sqnr) dB") }
    }

    @Test func batchNormIsFoldedExactly() {
        var generator = SplitMix64(6)
        var graph = FloatGraph(inputChannels: 1)
        let conv = graph.append("conv", .conv3d(Self.conv(&generator, 1, 4)), [0])
        let norm = BatchNorm(
            mean: [0.1, -0.2, 0.3, 0], variance: [0.5, 2, 0.01, 1], scale: [1, -1, 0.5, 2], shift: [0, 0.1, -0.1, 1],
            epsilon: 1e-5)
        let normed = graph.append("norm", .batchNorm(norm), [conv])
        let active = graph.append("relu", .activation(.relu), [normed])
        graph.append("argmax", .argmax, [active])
        let input = Self.input(&generator)
        func last(_ graph: FloatGraph) -> [Float] {
            var values: [Float] = []
            _ = FloatExecutor(graph).run(input) { (_, tensor) throws(Never) in values = tensor.values }
            return values
        }
        let folded = graph.foldingBatchNorm()
        #expect(folded.nodes.count == graph.nodes.count - 1)
        let worst = zip(last(graph), last(folded)).map { abs($0 - $1) }.max()!
        #expect(worst < 1e-5)
    }

    /// The float executor against three nested loops in double.
    @Test(arguments: [(1, 1, 1), (3, 2, 7), (5, 1, 3), (3, 16, 5)]) func floatConvolutionEqualsTheDefinition(
        _ shape: (kernel: Int, dilation: Int, channels: Int)
    ) {
        var generator = SplitMix64(UInt64(shape.kernel * 100 + shape.dilation))
        let conv = Self.conv(&generator, 2, shape.channels, kernel: shape.kernel, dilation: shape.dilation)
        var graph = FloatGraph(inputChannels: 2)
        graph.append("argmax", .argmax, [graph.append("conv", .conv3d(conv), [0])])
        let input = Self.input(&generator, channels: 2)
        var output = FloatTensor(channels: 1, size: Size3(cube: 1))
        _ = FloatExecutor(graph).run(input) { (_, tensor) throws(Never) in output = tensor }
        var worst = 0.0
        for o in 0..<shape.channels {
            for voxel in stride(from: 0, to: input.size.count, by: 7) {
                worst = max(
                    worst,
                    abs(Self.definition(conv, input, o, voxel) - Double(output.values[o * input.size.count + voxel])))
            }
        }
        #expect(worst < 1e-5)
    }

    private static func definition(_ conv: ConvWeights, _ input: FloatTensor, _ o: Int, _ voxel: Int) -> Double {
        let size = input.size
        let (z, y, x) = (voxel / (size.height * size.width), voxel / size.width % size.height, voxel % size.width)
        let k = conv.kernel.width
        var sum = Double(conv.bias[o])
        for i in 0..<conv.inChannels {
            for tap in 0..<conv.kernel.count {
                let iz = z + tap / (k * k) * conv.dilation.depth - conv.padding.depth
                let iy = y + tap / k % k * conv.dilation.height - conv.padding.height
                let ix = x + tap % k * conv.dilation.width - conv.padding.width
                guard iz >= 0, iz < size.depth, iy >= 0, iy < size.height, ix >= 0, ix < size.width else { continue }
                sum +=
                    Double(conv.weights[(o * conv.inChannels + i) * conv.kernel.count + tap])
                    * Double(input.values[((i * size.depth + iz) * size.height + iy) * size.width + ix])
            }
        }
        return sum
    }

    @Test func histogramsMergeAndFindQuantiles() {
        var generator = SplitMix64(8)
        var all = Histogram()
        var parts = [Histogram(), Histogram()]
        var values: [Float] = []
        for index in 0..<20 {
            let chunk = (0..<500).map { _ in Float.random(in: -1...1, using: &generator) * Float(index % 5 + 1) }
            all.add(chunk[...])
            parts[index % 2].add(chunk[...])
            values += chunk
        }
        var merged = parts[0]
        merged.merge(parts[1])
        #expect(merged.count == all.count && merged.low == all.low && merged.high == all.high)
        let sorted = values.sorted()
        for p in [0.01, 0.5, 0.99] {
            let exact = sorted[Int(p * Double(sorted.count - 1))]
            #expect(abs(all.quantile(p) - exact) < 2 * all.width)
            #expect(abs(merged.quantile(p) - exact) < 2 * merged.width)
        }
    }
}
