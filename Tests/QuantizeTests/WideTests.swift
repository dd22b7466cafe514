import FlatGraph
import GraphIR
import MKRuntime
import Ops
import TestSupport
import Testing

@testable import Quantize

/// Where the converter takes 16 bits beside those of `--int16` between two convolutions: the network's input, and what a table reads
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

    /// Voxels that 8 bits hold exactly, so that all the noise behind the first convolution is its own: eight bits of weights leave
    /// 40 to 50 dB, and 11 bits or more at least 18 dB more.
    @Test(arguments: [1, 2]) func theInputIsWidened(_ channels: Int) throws {
        var sample = FloatTensor(channels: channels, size: Self.size)
        var generator = SplitMix64(2)
        for i in sample.values.indices { sample.values[i] = Float(UInt8.random(in: 0...255, using: &generator)) / 255 }
        let noise = try [WideLayers.layers(["conv0"]), .layers(["input", "conv0"])].map {
            try GridTests.converted(Self.chain(channels), sample, wide: $0).1.layers[0].sqnr
        }
        #expect(noise[1] > noise[0] + 18 && noise[1] > 65, "\(noise) dB")
    }

    /// Every code times 31, also where the zero point is not 0.
    @Test func wideningIsExact() throws {
        var sample = FloatTensor(channels: 1, size: Self.size)
        var generator = SplitMix64(3)
        for i in sample.values.indices { sample.values[i] = Float.random(in: -0.4...1.3, using: &generator) }
        var converter = Converter(graph: Self.chain(), options: Converter.Options(), report: { _, _ in })
        converter.calibrate(sample, volume: 1, of: 1)
        let config = try ModelConfig(json: Array(LoweringTests.config.utf8), path: "test", fallbackName: "test")
        let metadata = try Metadata.builder(config: config, classes: 3, inputChannels: 1, provenance: [])
        let model = try converter.convert(
            inputCoding: nil, metadata: metadata, reference: nil, wide: .layers(["input"]))
        let network = try IntegerNetwork(model.bytes, threads: 1)
        let zeroPoint = Int32(network.file.tensor(0).zeroPoint)
        #expect(zeroPoint > 0)
        let expected = network.codes(sample).map { 31 * (Int32($0) - zeroPoint) }
        _ = try network.run(sample) { op, view in
            if op == 0 { #expect(view.codes(0) == expected) }
        }
    }

    @Test func aWidenedInputIsTheSameInEveryMode() throws {
        let (model, _) = try GridTests.converted(Self.chain(), GridTests.sample(Self.size), wide: .all)
        let memory = TestModels.Memory(model.bytes)
        let file = try memory.file()
        #expect(file.string(file.op(0).name) == "input.wide" && file.conv3D(file.op(1)).inputElement == .i16)
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
