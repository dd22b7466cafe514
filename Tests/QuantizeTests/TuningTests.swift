import GraphIR
import TestSupport
import Testing

@testable import Quantize

/// Rounding together, refitting, drawing: what tunes a layer.
@Suite struct TuningTests {
    /// A mixture of a few smooth features and some noise, as neighbouring voxels are: far from independent.
    private static func features(_ generator: inout SplitMix64, _ count: Int, samples: Int = 600) -> [[Float]] {
        let hidden = (0..<3).map { _ in (0..<samples).map { _ in Float.random(in: -40...40, using: &generator) } }
        return (0..<count).map { _ in
            let mix = hidden.map { _ in Float.random(in: -1...1, using: &generator) }
            return (0..<samples).map { i in
                zip(mix, hidden).reduce(Float.random(in: -4...4, using: &generator)) { $0 + $1.0 * $1.1[i] }
            }
        }
    }

    /// Means of products from the definition, in double.
    @Test(arguments: [1, 7, 40]) func secondMomentsAreMeansOfProducts(_ count: Int) {
        var generator = SplitMix64(UInt64(count))
        let features = Self.features(&generator, count, samples: 331)
        let matrix = SymmetricMatrix(features: features)
        for i in 0..<count {
            for j in 0..<count {
                let mean = zip(features[i], features[j]).reduce(0) { $0 + Double($1.0) * Double($1.1) } / 331
                // Sums of 256 products in float: relative 2^-24 for each of them at most.
                #expect(abs(matrix[i, j] - mean) < 2e-5 * (matrix[i, i] * matrix[j, j]).squareRoot() + 1e-9)
            }
        }
    }

    @Test func choleskySolves() throws {
        var generator = SplitMix64(3)
        var matrix = SymmetricMatrix(features: Self.features(&generator, 33))
        matrix.addToDiagonal(0.1)
        let factor = try #require(Cholesky(matrix))
        let x = (0..<33).map { _ in Double.random(in: -1...1, using: &generator) }
        let b = (0..<33).map { i in zip(matrix.row(i), x).reduce(0) { $0 + $1.0 * $1.1 } }
        for (found, expected) in zip(factor.solve(b), x) { #expect(abs(found - expected) < 1e-8) }
        var negative = matrix
        negative.addToDiagonal(-1000)
        #expect(Cholesky(negative) == nil)
    }

    /// No single change of a weight makes it better, it beats the nearest codes by far where inputs are alike, and it is the
    /// nearest where they are independent.
    @Test(arguments: 1...6) func rounding(_ seed: UInt64) throws {
        var generator = SplitMix64(seed)
        let size = 24
        var matrix = SymmetricMatrix(features: Self.features(&generator, size))
        matrix.addToDiagonal(1e-3 * matrix.meanDiagonal)
        let rounding = try #require(WeightRounding(matrix, limit: 127))
        let weights = (0..<size).map { _ in Double.random(in: -9...9, using: &generator) }
        let codes = rounding.round(weights, scale: 0.5)
        let nearest = weights.map { Int(($0 / 0.5).rounded()) }
        let error = rounding.error(codes, weights, scale: 0.5)
        // Three directions carry nearly all of the signal, and errors there can cancel; what is left is the features' own noise.
        // (Measured: at most 0.31 of the error of the nearest codes.)
        #expect(error < 0.5 * rounding.error(nearest, weights, scale: 0.5))
        for i in 0..<size {
            for change in [-1, 1] {
                var other = codes
                other[i] += change
                #expect(rounding.error(other, weights, scale: 0.5) >= error * (1 - 1e-9))
            }
        }
        var independent = SymmetricMatrix(features: (0..<size).map { _ in [Float](repeating: 0, count: 4) })
        independent.addToDiagonal(2)
        #expect(try #require(WeightRounding(independent, limit: 127)).round(weights, scale: 0.5) == nearest)
    }

    @Test func codesStayInsideTheirLimit() throws {
        var generator = SplitMix64(12)
        var matrix = SymmetricMatrix(features: Self.features(&generator, 9))
        matrix.addToDiagonal(1)
        let rounding = try #require(WeightRounding(matrix, limit: 127))
        let codes = rounding.round((0..<9).map { Double($0) * 40 - 150 }, scale: 1)
        #expect(codes.allSatisfy { abs($0) <= 127 } && codes.contains { abs($0) == 127 })
    }

    // MARK: Whole layers

    /// A smooth volume: what a network reads is never independent from voxel to voxel.
    private static func head(_ generator: inout SplitMix64) -> FloatTensor {
        let size = Size3(cube: 24)
        let phases = (0..<6).map { _ in Float.random(in: 0.1...0.5, using: &generator) }
        var values: [Float] = []
        for z in 0..<24 {
            for y in 0..<24 {
                for x in 0..<24 {
                    let place = phases[0] * Float(x) + phases[1] * Float(y) + phases[2] * Float(z)
                    let wave = (place - place.rounded(.down)) * phases[3] * Float((x ^ y ^ z) & 3 == 0 ? 1 : 2)
                    values.append(min(1, wave + Float.random(in: 0...0.1, using: &generator)))
                }
            }
        }
        return FloatTensor(channels: 1, size: size, values: values)
    }

    private static func chain(_ generator: inout SplitMix64) -> FloatGraph {
        var graph = FloatGraph(inputChannels: 1)
        var value = 0
        for index in 0..<4 {
            value = graph.append(
                "conv\(index)", .conv3d(LoweringTests.conv(&generator, graph.channels[value], 6)), [value])
            value = graph.append("act\(index)", .activation(.relu), [value])
        }
        value = graph.append("head", .conv3d(LoweringTests.conv(&generator, 6, 3, kernel: 1)), [value])
        graph.append("argmax", .argmax, [value])
        return graph
    }

    private func convert(
        _ graph: FloatGraph, _ samples: [FloatTensor], _ methods: Methods, threads: Int = 1
    ) throws -> (model: LoweredModel, meanSQNR: Double) {
        var options = Converter.Options()
        (options.methods, options.threads) = (methods, threads)
        var converter = Converter(graph: graph, options: options, report: { _, _ in })
        for sample in samples { converter.calibrate(sample, volume: 1, of: 1) }
        let config = try ModelConfig(json: Array(LoweringTests.config.utf8), path: "test", fallbackName: "test")
        let metadata = try Metadata.builder(
            config: config, classes: graph.classCount, inputChannels: 1, provenance: [])
        let reference = try converter.reference(samples, inputCoding: nil, metadata: metadata)
        let model = try converter.convert(inputCoding: nil, metadata: metadata, reference: reference)
        return (model, try reference.compare(model, threads: threads).meanSQNR)
    }

    /// Weights are a good part of the noise of an 8-bit layer, and rounding them together takes most of that away; refitting alone
    /// must not lose anything. (Measured over the seeds: 3.1 to 4.0 dB.)
    @Test(arguments: [1, 2, 3]) func tuningLowersNoise(_ seed: UInt64) throws {
        var generator = SplitMix64(seed)
        let (graph, samples) = (Self.chain(&generator), [Self.head(&generator), Self.head(&generator)])
        let plain = try convert(graph, samples, [.equalization, .weightClipping]).meanSQNR
        let corrected = try convert(graph, samples, [.equalization, .weightClipping, .weightCorrection]).meanSQNR
        let all = try convert(graph, samples, .everything).meanSQNR
        print("mean SQNR: plain \(plain), weight correction \(corrected), all \(all) dB")
        #expect(corrected > plain && all > plain + 2)
    }

    @Test func tuningDoesNotDependOnThreads() throws {
        var generator = SplitMix64(8)
        let (graph, samples) = (Self.chain(&generator), [Self.head(&generator), Self.head(&generator)])
        let one = try convert(graph, samples, .everything).model.bytes
        #expect(try convert(graph, samples, .everything, threads: 2).model.bytes == one)
        #expect(try convert(graph, samples, .everything).model.bytes == one)
    }

    /// Channels a thousand times apart in size before a linear layer: one scale for all would leave the small ones no code.
    @Test func equalizationSavesSmallChannels() throws {
        var generator = SplitMix64(21)
        var graph = FloatGraph(inputChannels: 1)
        var first = LoweringTests.conv(&generator, 1, 8)
        for o in 4..<8 {
            for i in 0..<27 { first.weights[o * 27 + i] *= 0.001 }
            first.bias[o] *= 0.001
        }
        var second = LoweringTests.conv(&generator, 8, 4, kernel: 1)
        for o in 0..<4 { for i in 4..<8 { second.weights[o * 8 + i] *= 1000 } }
        let a = graph.append("first", .conv3d(first), [0])
        let b = graph.append("second", .conv3d(second), [a])
        graph.append("argmax", .argmax, [b])
        let samples = [Self.head(&generator)]
        let without = try convert(graph, samples, .everything.subtracting(.equalization)).meanSQNR
        let with = try convert(graph, samples, .everything).meanSQNR
        #expect(with > without + 10, "\(without) dB, equalized \(with) dB")
    }

    // MARK: Draws and ranges

    @Test func drawsAreTheSameEveryTimeAndWhereTheSignalIs() {
        let size = Size3(cube: 16)
        var values = [Float](repeating: 0, count: size.count)
        for i in 0..<size.count where i % 16 >= 8 { values[i] = i % 16 >= 12 ? 1 : 0.1 }
        let input = FloatTensor(channels: 1, size: size, values: values)
        let draw = VoxelDraw([input, input], count: 400)
        #expect(draw.voxels == VoxelDraw([input, input], count: 400).voxels)
        let drawn = draw.voxels.flatMap { $0 }
        #expect((380...400).contains(drawn.count) && drawn.allSatisfy { values[$0] > 0 })
        // Four times as many of the strong half, to a few standard deviations of the strata's ends.
        let strong = drawn.count { values[$0] == 1 }
        #expect((300...340).contains(strong))
        #expect(Set(draw.voxels[0]).count == draw.voxels[0].count)
        let coarse = draw.voxels(of: 0, in: Size3(cube: 4))
        #expect(Set(coarse).count == coarse.count && coarse.allSatisfy { $0 < 64 && $0 % 4 >= 2 })
        let air = FloatTensor(channels: 1, size: size)
        #expect(VoxelDraw([air], count: 10).voxels[0].count >= 9)
    }

    @Test func bordersOfLabelsAreDrawnMost() {
        let size = Size3(cube: 16)
        let input = FloatTensor(channels: 1, size: size, values: [Float](repeating: 1, count: size.count))
        let labels = (0..<size.count).map { UInt16($0 % 16 >= 8 ? 1 : 0) }
        let drawn = VoxelDraw([input], labels: [labels], count: 500).voxels[0]
        // Weights: 2 of 16 columns 16, 7 columns 8, 7 columns 1; so a third of the draws lies at the border.
        let border = drawn.count { $0 % 16 == 7 || $0 % 16 == 8 }
        #expect((140...200).contains(border))
    }

    @Test func scaledHistogramsKeepCountsAndQuantiles() {
        var generator = SplitMix64(2)
        var histogram = Histogram()
        let values = (0..<5000).map { _ in Float.random(in: -1...3, using: &generator) }
        histogram.add(values[...])
        let scaled = histogram.scaled(by: 0.3)
        #expect(scaled.count == 5000 && scaled.bins.reduce(0, +) == 5000)
        #expect(abs(scaled.quantile(0.9) - 0.3 * histogram.quantile(0.9)) < 2 * scaled.width + 0.3 * histogram.width)
        #expect(scaled.high == histogram.high * 0.3)
    }

    @Test func movingAverageForgetsAnOutlier() {
        var histogram = Histogram()
        histogram.add([0, 100])
        for _ in 0..<30 { histogram.add([0, 1]) }
        let range = RangeRule.average.range(histogram)
        // 1 + 99 · 0.9^30
        #expect(abs(range.high - 5.2) < 0.1 && range.low == 0)
        #expect(RangeRule.minMax.range(histogram).high == 100)
    }

    /// The size of what calibration remembers depends on the network only.
    @Test func calibrationDoesNotGrow() {
        var generator = SplitMix64(5)
        let graph = Self.chain(&generator)
        var calibration = Calibration()
        func bins() -> Int { calibration.histograms.values.reduce(0) { $0 + $1.reduce(0) { $0 + $1.bins.count } } }
        calibration.add(graph, Self.head(&generator))
        let once = bins()
        for _ in 0..<5 { calibration.add(graph, Self.head(&generator)) }
        #expect(bins() == once && calibration.volumes == 6)
    }
}
