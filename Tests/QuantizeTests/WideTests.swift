import FlatGraph
import GraphIR
import MKRuntime
import Ops
import TestSupport
import Testing

@testable import Quantize

/// Where the converter takes 16 bits beside those of `--int16` between two convolutions: the image's codes, and what a table reads
/// of a normalization.
@Suite struct WideTests {
    private static let size = Size3(depth: 5, height: 14, width: 23)

    private static func chain(_ channels: Int = 1) -> FloatGraph {
        var generator = SplitMix64(17)
        var graph = FloatGraph(inputChannels: channels)
        var value = 0
        for index in 0..<2 {
            value = graph.append(
                "conv\(index)", .conv3d(LoweringTests.conv(&generator, graph.channels[value], 6)), [value])
        }
        value = graph.append("head", .conv3d(LoweringTests.conv(&generator, 6, 3, kernel: 1)), [value])
        graph.append("argmax", .argmax, [value])
        return graph
    }

    /// Convolution, normalization over the volume, GELU: twice.
    private static func normed(perSlice: Bool) -> FloatGraph {
        var generator = SplitMix64(23)
        var graph = FloatGraph(inputChannels: 1)
        var value = 0
        for index in 0..<2 {
            value = graph.append(
                "conv\(index)", .conv3d(LoweringTests.conv(&generator, graph.channels[value], 6)), [value])
            let norm = GroupNorm(
                groups: 3, scale: [1, 0.5, 2, 1, 0.2, 1], shift: [0, 0.5, -0.5, 0.1, 0, 1], epsilon: 1e-5,
                isPerSlice: perSlice)
            value = graph.append("norm\(index)", .groupNorm(norm), [value])
            value = graph.append("gelu\(index)", .activation(.gelu), [value])
        }
        value = graph.append("head", .conv3d(LoweringTests.conv(&generator, 6, 3, kernel: 1)), [value])
        graph.append("argmax", .argmax, [value])
        return graph
    }

    private func expectEqualModes(_ file: ModelFile, tiles: Bool) throws {
        for volume in [Extent(depth: 6, height: 21, width: 38), Extent(depth: 5, height: 3, width: 1)] {
            let expected = try GridTests.labels(file, volume, mode: .whole, isa: .portable)
            #expect(volume.voxels < 100 || Set(expected).count > 1, "a trivial label map shows nothing")
            for isa in ISA.allCases where isa.isSupported {
                for mode in [ExecutionMode.whole, .lines] {
                    #expect(try GridTests.labels(file, volume, mode: mode, threads: 3, isa: isa) == expected, "\(isa)")
                }
            }
            guard tiles else { continue }
            let tile = Extent(depth: 4, height: 7, width: 11)
            #expect(try GridTests.labels(file, volume, mode: .lines, tile: tile) == expected)
            #expect(try GridTests.labels(file, volume, mode: .tiles, tile: tile) == expected)
        }
    }

    /// Eight bits of image and weights leave 40 to 50 dB behind the first convolution; 16 bits of the one and 11 or more of the other
    /// at least 18 dB more, and more than 8-bit codes of these voxels alone would allow (54 dB).
    @Test(arguments: [1, 2]) func theInputIsWidened(_ channels: Int) throws {
        var sample = FloatTensor(channels: channels, size: Self.size)
        var generator = SplitMix64(2)
        for i in sample.values.indices { sample.values[i] = Float.random(in: 0...1, using: &generator) }
        let noise = try [WideLayers.layers(["conv0"]), .layers(["input", "conv0"])].map {
            try GridTests.converted(Self.chain(channels), sample, wide: $0).1.layers[0].sqnr
        }
        #expect(noise[1] > noise[0] + 18 && noise[1] > 65, "\(noise) dB")
    }

    /// The image's codes: without a zero point, over the range of the normalization, or that of calibration where it sets none.
    @Test(arguments: [
        nil, ModelConfig.Normalization(kind: "quantile"), ModelConfig.Normalization(kind: "zscore", clip: 4),
    ])
    func imagesAreCodedInSixteenBits(_ rule: ModelConfig.Normalization?) throws {
        var sample = FloatTensor(channels: 1, size: Self.size)
        var generator = SplitMix64(3)
        for i in sample.values.indices { sample.values[i] = Float.random(in: -0.4...1.3, using: &generator) }
        var converter = Converter(graph: Self.chain(), options: Converter.Options(), report: { _, _ in })
        converter.calibrate(sample, volume: 1, of: 1)
        let config = try ModelConfig(json: Array(LoweringTests.config.utf8), path: "test", fallbackName: "test")
        let metadata = try Metadata.builder(config: config, classes: 3, inputChannels: 1, provenance: [])
        let bytes = rule.flatMap { ValueCoding.input($0) }
        let model = try converter.convert(
            inputCoding: bytes, metadata: metadata, reference: nil, wide: .layers(["input"]))
        let network = try IntegerNetwork(model.bytes, threads: 1)
        let file = network.file
        let input = file.tensor(0)
        #expect(input.storage == .i16 && input.zeroPoint == 0 && file.codeBytes == 2)
        #expect(file.string(file.op(0).name) == "conv0" && file.conv3D(file.op(0)).inputElement == .i16)
        let scale = file.scale(Int(input.scaleOffset))
        let high = bytes.map { max(-$0.low, $0.high) } ?? sample.values.max()!
        #expect(abs(scale * 32767 / high - 1) < (bytes == nil ? 0.01 : 1e-6), "\(scale)")
        let expected = sample.values.map { x -> Int16 in
            let code = (Double(x) / Double(scale) + 0.5).rounded(.down)
            return Int16(min(max(code, -32768), 32767))
        }
        #expect(expected.withUnsafeBytes { Array($0) } == network.codes(sample))
        #expect(expected.contains { $0 < 0 } && expected.contains { $0 > 8000 })
    }

    @Test(arguments: [1, 3]) func aWidenedInputIsTheSameInEveryMode(_ channels: Int) throws {
        var sample = FloatTensor(channels: channels, size: Self.size)
        sample.values = (0..<channels).flatMap { GridTests.sample(Self.size, seed: UInt64($0)).values }
        var graph = Self.chain(channels)
        GridTests.balance(&graph, on: sample)
        let (model, _) = try GridTests.converted(graph, sample, wide: .all)
        let memory = TestModels.Memory(model.bytes)
        let file = try memory.file()
        #expect(file.codeBytes == 2 && file.conv3D(file.op(0)).inputElement == .i16)
        try expectEqualModes(file, tiles: true)
    }

    /// Eight bits over eight standard deviations leave 41 dB; what the convolution before rounded leaves 48 to 50.
    @Test(arguments: [false, true]) func tablesReadNormalizationsInSixteenBits(_ perSlice: Bool) throws {
        let (model, comparison) = try GridTests.converted(
            Self.normed(perSlice: perSlice), GridTests.sample(Self.size))
        #expect(comparison.layers.first { $0.name == "norm0" }!.sqnr > 46)
        let memory = TestModels.Memory(model.bytes)
        let file = try memory.file()
        #expect((0..<file.opCount).filter { file.op($0).kind == .lookupWide }.count == 2)
        try expectEqualModes(file, tiles: false)
    }

    /// A 16-bit normalization overwrites what it reads.
    @Test func normalizationsRunInPlace() throws {
        let (model, _) = try GridTests.converted(Self.normed(perSlice: false), GridTests.sample(Self.size))
        let memory = TestModels.Memory(model.bytes)
        let file = try memory.file()
        let plan = try RunPlan(file: file, volume: Extent(cube: 8), mode: .whole, threads: 1)
        let norms = (0..<file.opCount).map { file.op($0) }.filter { $0.kind == .groupNorm }
        #expect(norms.count == 2)
        for norm in norms { #expect(!plan.buffers.contains { $0.use == .tensor(Int(norm.output)) }) }
    }
}
