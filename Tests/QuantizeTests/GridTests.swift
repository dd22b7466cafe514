import FlatGraph
import GraphIR
import HostRuntime
import MKRuntime
import Ops
import TestSupport
import Testing

@testable import Quantize

/// Networks that stride, pool and resize along some of the axes: float against integers, and every mode against the whole volume.
@Suite struct GridTests {
    /// A U-Net of two levels.
    struct Variant: CustomTestStringConvertible, Sendable {
        var name: String
        /// What the grid changes by.
        var factor: Size3
        var kernel: Size3
        /// By a strided convolution; otherwise by pooling.
        var isStrided = false
        /// nil: by a transposed convolution.
        var isLinear: Bool?
        var hasNorm = false
        /// Boxes of the pooling.
        var overlaps = false
        /// Channels are weighted by their means over each slice, or over the volume, and means stand beside voxels.
        var meansPerSlice: Bool?

        var testDescription: String { name }

        static let plane = Size3(depth: 1, height: 3, width: 3)
        static let slices = Size3(depth: 1, height: 2, width: 2)
        static let all = [
            Variant(name: "slices, pooled, transposed", factor: slices, kernel: plane),
            Variant(name: "slices, strided, linear", factor: slices, kernel: plane, isStrided: true, isLinear: true),
            Variant(name: "slices, norm, nearest", factor: slices, kernel: plane, isLinear: false, hasNorm: true),
            Variant(name: "slices with a view across", factor: slices, kernel: Size3(cube: 3), isLinear: true),
            Variant(
                name: "rows", factor: Size3(depth: 1, height: 1, width: 2),
                kernel: Size3(depth: 1, height: 1, width: 5),
                isLinear: true),
            Variant(
                name: "columns", factor: Size3(depth: 1, height: 2, width: 1), kernel: Size3(cube: 3), isStrided: true),
            Variant(
                name: "across, strided, linear", factor: Size3(depth: 2, height: 1, width: 2), kernel: Size3(cube: 3),
                isStrided: true, isLinear: true),
            Variant(name: "volume, linear", factor: Size3(cube: 2), kernel: Size3(cube: 3), isLinear: true),
            Variant(name: "volume, overlapping", factor: Size3(cube: 2), kernel: Size3(cube: 3), overlaps: true),
            Variant(name: "slices, overlapping", factor: slices, kernel: plane, isLinear: false, overlaps: true),
            Variant(name: "slices, means", factor: slices, kernel: plane, isLinear: false, meansPerSlice: true),
            Variant(name: "slices, means of the volume", factor: slices, kernel: plane, meansPerSlice: false),
            Variant(name: "volume, means", factor: Size3(cube: 2), kernel: Size3(cube: 3), meansPerSlice: false),
        ]
    }

    private static func conv(
        _ g: inout SplitMix64, _ inputs: Int, _ outputs: Int, _ kernel: Size3, stride: Size3 = Size3(cube: 1),
        gain: Float = 1
    ) -> ConvWeights {
        let count = outputs * inputs * kernel.count
        let spread = gain * 1.5 / Float(inputs * kernel.count).squareRoot()
        return ConvWeights(
            outChannels: outputs, inChannels: inputs, kernel: kernel, dilation: Size3(cube: 1),
            padding: Size3(depth: kernel.depth / 2, height: kernel.height / 2, width: kernel.width / 2), stride: stride,
            weights: (0..<count).map { _ in Float.random(in: -spread...spread, using: &g) },
            bias: (0..<outputs).map { _ in Float.random(in: -0.1...0.2, using: &g) })
    }

    static func graph(_ variant: Variant) -> FloatGraph {
        var g = SplitMix64(7)
        var graph = FloatGraph(inputChannels: 1)
        let one = Size3(cube: 1)
        func block(_ name: String, _ input: ValueID, _ channels: Int, stride: Size3 = one) -> ValueID {
            let weights = conv(&g, graph.channels[input], channels, variant.kernel, stride: stride)
            var value = graph.append(name, .conv3d(weights), [input])
            if variant.hasNorm {
                let norm = GroupNorm(
                    groups: channels, scale: (0..<channels).map { 0.5 + Float($0) / 4 },
                    shift: (0..<channels).map { 0.3 - Float($0) / 8 }, epsilon: 1e-5, isPerSlice: true)
                value = graph.append("\(name).norm", .groupNorm(norm), [value])
            }
            value = graph.append("\(name).relu", .activation(.relu), [value])
            guard variant.meansPerSlice != nil else { return value }
            let gate = graph.append("\(name).gate", .activation(.sigmoid), [vector("\(name).wide", value, channels)])
            return graph.append("\(name).product", .multiply, [value, gate])
        }
        func vector(_ name: String, _ input: ValueID, _ channels: Int) -> ValueID {
            let pool = FloatOp.globalPool(isPerSlice: variant.meansPerSlice == true)
            let means = graph.append("\(name).means", pool, [input])
            let inner = graph.append(
                "\(name).narrow", .conv3d(conv(&g, graph.channels[input], 3, one, gain: 4)), [means])
            let rectified = graph.append("\(name).narrow.relu", .activation(.relu), [inner])
            return graph.append(name, .conv3d(conv(&g, 3, channels, one, gain: 4)), [rectified])
        }
        func down(_ name: String, _ input: ValueID, _ channels: Int) -> ValueID {
            if variant.isStrided { return block(name, input, channels, stride: variant.factor) }
            return block(
                name,
                graph.append(
                    "\(name).pool", .maxPool(GridPool(factor: variant.factor, overlaps: variant.overlaps)), [input]),
                channels)
        }
        func up(_ name: String, _ input: ValueID) -> ValueID {
            if let isLinear = variant.isLinear {
                let resize = GridResize(factor: variant.factor, isLinear: isLinear)
                return graph.append(name, .resize(resize), [input])
            }
            let fine = conv(&g, graph.channels[input], 4 * variant.factor.count, one)
            return graph.append(
                name, .depthToSpace(variant.factor), [graph.append("\(name).conv", .conv3d(fine), [input])])
        }
        let a = block("a", 0, 5)
        let b = down("b", a, 6)
        let c = up("c.up", down("c", b, 7))
        let d = block("d", graph.append("d.cat", .concat, [c, b]), 6)
        var sources = [up("e.up", d), a]
        if variant.meansPerSlice != nil { sources.insert(vector("e.vector", d, 3), at: 1) }
        let e = block("e", graph.append("e.cat", .concat, sources), 5)
        let head = graph.append("head", .conv3d(conv(&g, 5, 3, one)), [e])
        graph.append("argmax", .argmax, [head])
        balance(&graph, on: sample(calibrationSize))
        return graph
    }

    /// Moves the classes' scores to a mean of zero, so that each wins somewhere.
    static func balance(_ graph: inout FloatGraph, on sample: FloatTensor) {
        let head = graph.nodes.count - 2
        guard case .conv3d(var conv) = graph.nodes[head].op else { return }
        _ = FloatExecutor(graph).run(sample) { (index, tensor) throws(Never) in
            guard index == head else { return }
            for o in 0..<tensor.channels {
                let scores = tensor.values[(o * tensor.size.count)..<((o + 1) * tensor.size.count)]
                conv.bias[o] -= scores.reduce(0, +) / Float(scores.count)
            }
        }
        graph.nodes[head].op = .conv3d(conv)
    }

    private static let calibrationSize = Size3(depth: 4, height: 20, width: 36)

    static func sample(_ size: Size3, seed: UInt64 = 3) -> FloatTensor {
        var g = SplitMix64(seed)
        // Smooth along the rows, so that neighbours have something in common.
        var last: Float = 0.5
        return FloatTensor(
            channels: 1, size: size,
            values: (0..<size.count).map { _ in
                last = 0.7 * last + 0.3 * Float.random(in: 0...1, using: &g)
                return last
            })
    }

    static func converted(
        _ graph: FloatGraph, _ sample: FloatTensor, wide: WideLayers = .none
    ) throws -> (LoweredModel, Comparison) {
        var options = Converter.Options()
        options.wide = wide
        var converter = Converter(graph: graph, options: options, report: { _, _ in })
        converter.calibrate(sample, volume: 1, of: 1)
        let config = try ModelConfig(json: Array(LoweringTests.config.utf8), path: "test", fallbackName: "test")
        let metadata = try Metadata.builder(
            config: config, classes: 3, inputChannels: graph.inputChannels, provenance: [])
        let model = try converter.convert(
            inputCoding: .input(config.normalization), metadata: metadata, samples: [sample])
        return (model, try converter.compare(model, sample))
    }

    /// The bound of `LoweringTests`: eight bits leave 40 dB for a layer, each further layer takes a few.
    @Test(arguments: Variant.all) func integersFollowFloat(_ variant: Variant) throws {
        let sample = Self.sample(Self.calibrationSize)
        let (_, comparison) = try Self.converted(Self.graph(variant), sample)
        for layer in comparison.layers { #expect(layer.sqnr > 24, "\(layer.name): \(layer.sqnr) dB") }
        #expect(comparison.agreement > 0.9)
    }

    /// Bytes of smooth codes, of one or two bytes.
    private static func codes(_ file: ModelFile, _ volume: Extent) -> [UInt8] {
        let size = Size3(depth: volume.depth, height: volume.height, width: volume.width)
        return (0..<file.count(.channelNames)).flatMap { channel in
            sample(size, seed: UInt64(5 + channel)).values.flatMap { x -> [UInt8] in
                guard file.codeBytes == 2 else { return [UInt8(x * 255)] }
                let code = Int16(x * 32767)
                return [UInt8(truncatingIfNeeded: code), UInt8(truncatingIfNeeded: code >> 8)]
            }
        }
    }

    static func labels(
        _ file: ModelFile, _ volume: Extent, mode: ExecutionMode, tile: Extent? = nil, threads: Int = 1,
        isa: ISA = .best, chainBytes: Int? = nil
    ) throws -> [UInt8] {
        let plan = try RunPlan(
            file: file, volume: volume, mode: mode, threads: threads, tile: tile,
            fusion: chainBytes == nil ? .none : .rows,
            chainBytes: chainBytes ?? 1)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.arenaBytes, alignment: 64)
        defer { arena.deallocate() }
        arena.initializeMemory(as: UInt8.self, repeating: 0x5A)
        let session = try Session(file: file, plan: plan, arena: arena, isa: isa)
        let codes = codes(file, volume)
        var labels = [UInt8](repeating: 9, count: volume.voxels)
        try codes.withUnsafeBufferPointer { codes in
            try labels.withUnsafeMutableBytes { labels in
                try session.run(codes: codes, labels: labels, parallel: ThreadPool(threads: threads))
            }
        }
        return labels
    }

    /// Sides that are no multiples of the coarsest cell get zeros behind them, the same in every mode.
    @Test(arguments: Variant.all) func modesEqualTheWholeVolume(_ variant: Variant) throws {
        let (model, _) = try Self.converted(Self.graph(variant), Self.sample(Self.calibrationSize))
        let memory = TestModels.Memory(model.bytes)
        let file = try memory.file()
        let crossesSlices = variant.factor.depth == 2 || variant.meansPerSlice == false
        for volume in [
            Extent(depth: 6, height: 21, width: 38), Extent(depth: 1, height: 8, width: 24),
            Extent(depth: 5, height: 3, width: 1),
        ] {
            let expected = try Self.labels(file, volume, mode: .whole, isa: .portable)
            #expect(expected.allSatisfy { $0 < 3 } && (volume.voxels < 100 || Set(expected).count > 1))
            for isa in ISA.allCases where isa.isSupported {
                #expect(try Self.labels(file, volume, mode: .whole, threads: 3, isa: isa) == expected, "\(isa)")
                // Chains of a row, of some rows and of all.
                for bytes in [1, 5000, 1 << 24] {
                    #expect(
                        try Self.labels(file, volume, mode: .whole, threads: 3, isa: isa, chainBytes: bytes)
                            == expected,
                        "\(isa), chains of \(bytes)")
                }
            }
            for tile in [volume, Extent(depth: 4, height: 7, width: 11), Extent(depth: 1, height: 1, width: 5)] {
                if crossesSlices {
                    #expect(throws: RuntimeError.self) { try Self.labels(file, volume, mode: .lines, tile: tile) }
                } else {
                    #expect(
                        try Self.labels(file, volume, mode: .lines, tile: tile, threads: 2) == expected,
                        "\(volume) \(tile)")
                }
                guard !variant.hasNorm, variant.meansPerSlice == nil else { continue }
                #expect(try Self.labels(file, volume, mode: .tiles, tile: tile) == expected, "tiles \(volume) \(tile)")
                #expect(try Self.labels(file, volume, mode: .tiles, tile: tile, chainBytes: 1) == expected)
            }
        }
    }

    /// A network of two axes labels every slice as if there were no other.
    @Test(
        arguments: Variant.all.filter {
            $0.kernel.depth == 1 && $0.factor == Variant.slices && $0.meansPerSlice != false
        })
    func slicesDoNotSeeEachOther(_ variant: Variant) throws {
        let (model, _) = try Self.converted(Self.graph(variant), Self.sample(Self.calibrationSize))
        let network = try IntegerNetwork(model.bytes, threads: 1)
        let size = Size3(depth: 5, height: 16, width: 20)
        let volume = Self.sample(size, seed: 11)
        let together = try network.run(volume)
        let plane = size.height * size.width
        for z in 0..<size.depth {
            let slice = FloatTensor(
                channels: 1, size: Size3(depth: 1, height: size.height, width: size.width),
                values: Array(volume.values[(z * plane)..<((z + 1) * plane)]))
            #expect(try network.run(slice) == Array(together[(z * plane)..<((z + 1) * plane)]), "slice \(z)")
        }
    }
}
