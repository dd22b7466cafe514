import COps
import FixedPoint
import Ops
import TestSupport
import Testing

/// Runs an op on the tensors of a golden case; the result in row-major order. An op without instruction sets of its own
/// ignores the argument.
enum GoldenKernels {
    static let all: [String: @Sendable (GoldenCase, ISA) throws -> [Int]] = [
        "add": add, "add_wide": addWide, "argmax": argmax, "concat": concat, "conv3d": conv3D,
        "conv3d_wide": conv3D,
        "decay_weight": decayWeight, "depth_to_space": depthToSpace, "depthwise": depthwise, "gate": gate,
        "concat_spread": concat, "global_pool": globalPool, "multiply_spread": multiply,
        "kan_basis": kanBasis, "layer_norm": layerNorm, "lookup": lookup, "lookup_fine": lookupFine,
        "lookup_wide": lookupWide,
        "max_pool": maxPool, "multiply": multiply, "narrow": narrow, "norm": norm, "norm_scale": normScale,
        "resize": resize,
        "requantize": requantize,
        "scan": scan,
        "slice_order": sliceOrder, "token_conv": tokenConv,
    ]

    /// The codes of `tensor`, whose surroundings a kernel must have left alone.
    static func codes(_ tensor: TestTensor, _ test: GoldenCase) -> [Int] {
        #expect(tensor.guardsIntact, "\(test.name) wrote outside")
        var result: [Int] = []
        forEachVoxel(tensor.layout) { result.append(tensor[$0, $1, $2, $3]) }
        return result
    }

    // MARK: Convolutions

    private static func conv3D(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let output = try test.output()
        let shape = try test["weights"].shape
        let isWide = test.op == "conv3d_wide"
        let isRectified = try isWide ? test.number("is_rectified") == 1 : false
        let conv = Conv3D(
            inChannels: shape[1], outChannels: shape[0],
            kernel: Extent(depth: shape[2], height: shape[3], width: shape[4]), dilation: try test.extent("dilation"),
            padding: try test.extent("padding"), stride: try test.extent("stride"),
            inputElement: isWide ? .i16 : .u8, inputZeroPoint: isWide ? 0 : try test.number("input_zero_point"),
            outputZeroPoint: try test.number("output_zero_point"), outputElement: output.layout.element,
            isRectified: isRectified)
        let input = try test.input(padX: conv.padding.width, zeroPoint: conv.inputZeroPoint)
        #expect(conv.outputExtent(of: input.layout.extent) == output.layout.extent, "\(test.name)")
        let weights = blocked(try test.values("weights"), conv)
        let channels = try test.channels()
        let scratch = [UInt8](repeating: conv.inputZeroPoint, count: conv.scratchBytes(input: input.layout))
        weights.withUnsafeBufferPointer { weights in
            channels.withUnsafeBufferPointer { channels in
                scratch.withUnsafeBytes { scratch in
                    let buffers = Conv3DBuffers(
                        input: input.base, output: output.base, weights: weights.baseAddress!,
                        channels: channels.baseAddress!, paddingRow: scratch.isEmpty ? nil : scratch.baseAddress)
                    conv.run(
                        isa: isa, buffers: buffers, input: input.layout, output: output.layout,
                        rows: 0..<output.layout.extent.rows, outputExtent: output.layout.extent)
                }
            }
        }
        return codes(output, test)
    }

    /// Weights `[out][in][kz][ky][kx]` in kernel order.
    private static func blocked(_ weights: [Int16], _ conv: Conv3D) -> [Int8] {
        var result = [Int8](repeating: 0, count: conv.weightBytes)
        var next = weights.makeIterator()
        for o in 0..<conv.outChannels {
            for i in 0..<conv.inChannels {
                for tap in 0..<conv.taps {
                    let (kz, ky, kx) = ConvFixture.split(tap, conv.kernel)
                    let (w, at) = (next.next()!, conv.weightIndex(o: o, i: i, kz: kz, ky: ky, kx: kx))
                    result[at] = Int8(truncatingIfNeeded: w)
                    if conv.inputElement == .i16 { result[at + 1] = Int8(w >> 8) }
                }
            }
        }
        return result
    }

    /// Weights `[channel][tap]` in kernel order.
    private static func blocked(_ weights: [Int8], taps: Int, bytes: Int, index: (Int, Int) -> Int) -> [Int8] {
        var result = [Int8](repeating: 0, count: bytes)
        for (i, w) in weights.enumerated() { result[index(i / taps, i % taps)] = w }
        return result
    }

    private static func depthwise(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let output = try test.output()
        let shape = try test["weights"].shape
        let conv = Depthwise(
            channels: shape[0], kernel: Extent(depth: shape[1], height: shape[2], width: shape[3]),
            inputZeroPoint: try test.number("input_zero_point"), outputZeroPoint: try test.number("output_zero_point"),
            outputElement: output.layout.element, isRectified: try test.number("is_rectified") != 0)
        let input = try test.input(padX: conv.kernel.width / 2, zeroPoint: conv.inputZeroPoint)
        let weights = blocked(
            try test.values("weights"), taps: conv.kernel.voxels, bytes: conv.weightBytes, index: conv.weightIndex)
        conv.run(
            isa: isa, weights: weights, channels: try test.channels(), input: input.base, inputLayout: input.layout,
            output: output.base, outputLayout: output.layout, rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func tokenConv(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let output = try test.output()
        let shape = try test["weights"].shape
        let conv = TokenConv(
            channels: shape[0], taps: shape[1], isReversed: try test.number("is_reversed") != 0,
            inputZeroPoint: try test.number("input_zero_point"),
            outputZeroPoint: try test.number("output_zero_point"), outputElement: output.layout.element)
        let input = try test.input(zeroPoint: conv.inputZeroPoint)
        let weights = blocked(
            try test.values("weights"), taps: conv.taps, bytes: conv.weightBytes, index: conv.weightIndex)
        conv.run(
            isa: isa, weights: weights, channels: try test.channels(), input: input.base, inputLayout: input.layout,
            output: output.base, outputLayout: output.layout, rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func requantize(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let accumulators = try test.values("accumulator", as: Int32.self)
        let channels = try test.channels()
        let perChannel = accumulators.count / channels.count
        let zeroPoint = try test.number("zero_point", as: Int32.self)
        let isWide = try test.number("output_bits") == 16
        return accumulators.indices.map { i in
            let channel = channels[i / perChannel]
            let requantizer = Requantizer(multiplier: channel.multiplier, shift: channel.shift)
            return isWide
                ? Int(requantizer.i16(accumulators[i], zeroPoint: zeroPoint))
                : Int(requantizer.u8(accumulators[i], zeroPoint: zeroPoint))
        }
    }
}

// MARK: One voxel at a time

extension GoldenKernels {
    private static func add(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (a, b, output) = try (test.input("a"), test.input("b"), test.output())
        let add = Add(
            multiplierA: try test.number("multiplier_a"), multiplierB: try test.number("multiplier_b"),
            shift: try test.number("shift"), zeroPointA: try test.number("zero_point_a"),
            zeroPointB: try test.number("zero_point_b"), zeroPointOut: try test.number("zero_point_out"))
        add.run(
            isa: isa, a: a.base, layoutA: a.layout, b: b.base, layoutB: b.layout, output: output.base,
            outputLayout: output.layout, rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    /// What a voxel of a source stands for in the output.
    private static func span(_ source: TensorLayout, _ output: TensorLayout, _ test: GoldenCase) -> VoxelSpan {
        guard test.op.hasSuffix("_spread"), source.extent != output.extent else { return .voxel }
        return source.extent.depth == output.extent.depth ? .slice : .volume
    }

    private static func globalPool(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output, channels) = try (test.input(), test.output(), test.channels())
        let isPerSlice = try test.number("is_per_slice") == 1
        let op = GlobalPool(
            channels: input.layout.channels, inputElement: input.layout.element,
            inputZeroPoint: try test.number("input_zero_point"), outputElement: output.layout.element,
            outputZeroPoint: try test.number("output_zero_point"), isPerSlice: isPerSlice)
        let (extent, rows) = (input.layout.extent, isPerSlice ? input.layout.extent.height : input.layout.extent.rows)
        for first in stride(from: 0, to: extent.rows, by: rows) {
            var sums = [Int64](repeating: 0, count: op.channels)
            // Any split of the rows, in any order.
            for row in (first..<(first + rows)).reversed() {
                op.addSums(input: input.base, layout: input.layout, rows: row..<(row + 1), sums: &sums)
            }
            op.write(
                sums: sums, count: rows * extent.width, parameters: channels, output: output.base,
                layout: output.layout, row: first / rows)
        }
        return codes(output, test)
    }

    private static func multiply(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (a, b, output) = try (test.input("a"), test.input("b"), test.output())
        let multiply = Multiply(
            requantizer: Requantizer(multiplier: try test.number("multiplier"), shift: try test.number("shift")),
            zeroPointA: try test.number("zero_point_a"), zeroPointB: try test.number("zero_point_b"),
            zeroPointOut: try test.number("zero_point_out"), spanB: span(b.layout, output.layout, test))
        multiply.run(
            a: a.base, layoutA: a.layout, b: b.base, layoutB: b.layout, output: output.base,
            outputLayout: output.layout,
            rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func addWide(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (a, b, output) = try (test.input("a"), test.input("b"), test.output())
        AddWide().run(
            isa: isa, a: a.base, layoutA: a.layout, b: b.base, layoutB: b.layout, output: output.base,
            outputLayout: output.layout, rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func gate(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (a, b, z, output) = try (test.input("a"), test.input("b"), test.input("z"), test.output())
        let (table, channels) = try (test.values("table", as: Int16.self), test.channels())
        let gate = Gate(channels: output.layout.channels, zeroPoint: try test.number("zero_point"))
        table.withUnsafeBufferPointer { table in
            channels.withUnsafeBufferPointer { channels in
                let buffers = Gate.Buffers(
                    a: a.base, b: b.base, z: z.base, table: table.baseAddress!, channels: channels.baseAddress!,
                    output: output.base)
                gate.run(
                    isa: isa, buffers, sumLayout: a.layout, gateLayout: z.layout, outputLayout: output.layout,
                    rows: 0..<output.layout.extent.rows)
            }
        }
        return codes(output, test)
    }

    private static func lookup(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        Lookup().run(
            isa: isa, table: try test.values("table"), input: input.base, inputLayout: input.layout,
            output: output.base,
            outputLayout: output.layout, zeroPoint: 0, rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func lookupWide(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        LookupWide().run(
            isa: isa, table: try test.values("table"), input: input.base, inputLayout: input.layout,
            output: output.base, outputLayout: output.layout, zeroPoint: 0, rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func lookupFine(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        try test.values("table", as: Int16.self).withUnsafeBytes { table in
            LookupWide().run(
                isa: isa, table: table.baseAddress!.assumingMemoryBound(to: UInt8.self), input: input.base,
                inputLayout: input.layout, output: output.base, outputLayout: output.layout, zeroPoint: 0,
                rows: 0..<output.layout.extent.rows)
        }
        return codes(output, test)
    }

    private static func kanBasis(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        let basis = KANBasis(channels: input.layout.channels, outputs: try test["table"].shape[1])
        basis.run(
            isa: isa, table: try test.values("table"), input: input.base, inputLayout: input.layout,
            output: output.base,
            outputLayout: output.layout, rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func argmax(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let scores = try test.input("scores")
        let argmax = Argmax(classes: scores.layout.channels)
        let extent = scores.layout.extent
        var labels = [UInt8](repeating: 0x5A, count: extent.voxels * argmax.labelBytes)
        labels.withUnsafeMutableBytes { labels in
            for row in 0..<extent.rows {
                argmax.run(
                    isa: isa, scores: scores.base + scores.layout.rowOffset(z: 0, y: row), layout: scores.layout,
                    labels: labels.baseAddress! + row * extent.width * argmax.labelBytes)
            }
        }
        guard argmax.labelBytes == 2 else { return labels.map(Int.init) }
        return (0..<extent.voxels).map { Int(labels[2 * $0]) | Int(labels[2 * $0 + 1]) << 8 }
    }

    private static func concat(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let sources = try test.tensorNames.filter { $0.hasPrefix("source") }.map { try test.input($0) }
        let output = try test.output()
        let concat = Concat(channels: sources.map(\.layout.channels))
        for (index, source) in sources.enumerated() {
            concat.run(
                source: index, input: source.base, inputLayout: source.layout, output: output.base,
                outputLayout: output.layout, zeroPoint: 0, rows: 0..<output.layout.extent.rows,
                span: span(source.layout, output.layout, test))
        }
        return codes(output, test)
    }

    private static func sliceOrder(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        SliceOrder(isInverse: try test.number("is_inverse") != 0, zeroPoint: 0).run(
            isa: isa, input: input.base, inputLayout: input.layout, output: output.base, outputLayout: output.layout,
            rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func resize(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        let op = Resize(
            factor: try test.extent("factor"), isLinear: try test.number("is_linear") != 0, zeroPoint: 0)
        op.run(
            input: input.base, inputLayout: input.layout, output: output.base, outputLayout: output.layout,
            rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func maxPool(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        let op = MaxPool(
            factor: try test.extent("factor"), overlaps: try test.number("overlaps") != 0, zeroPoint: 0)
        op.run(
            input: input.base, inputLayout: input.layout, output: output.base, outputLayout: output.layout,
            rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func depthToSpace(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        let op = DepthToSpace(
            channels: output.layout.channels, factor: try test.extent("factor"), zeroPoint: 0)
        op.run(
            isa: isa, input: input.base, inputLayout: input.layout, output: output.base, outputLayout: output.layout,
            rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }
}

// MARK: Normalizations

extension GoldenKernels {
    private static func layerNorm(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        let parameters = try zip(test.values("gain", as: Int32.self), test.values("bias", as: Int32.self))
            .map(LayerNorm.Channel.init)
        let norm = LayerNorm(
            channels: input.layout.channels, epsilon: try test.number("epsilon"),
            zeroPoint: try test.number("zero_point"))
        norm.run(
            isa: isa, parameters: parameters, input: input.base, inputLayout: input.layout, output: output.base,
            outputLayout: output.layout, rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func norm(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        let channels = try normChannels(test)
        let norm = Norm(
            channels: channels.count, groups: try test.number("groups"), outputElement: output.layout.element,
            zeroPoint: try test.number("zero_point"), isRectified: try test.number("is_rectified") != 0)
        let rows = 0..<output.layout.extent.rows
        var sums = [NormSums](repeating: NormSums(), count: channels.count)
        norm.addSums(isa: isa, input: input.base, layout: input.layout, rows: rows, sums: &sums)
        // Kernels read the maps of whole blocks.
        var affines = [mk_affine](repeating: mk_affine(), count: channels.count + 3)
        norm.affines(sums: sums, parameters: { channels[$0] }, into: &affines)
        norm.apply(
            isa: isa, affines: affines, input: input.base, inputLayout: input.layout, output: output.base,
            outputLayout: output.layout, rows: rows)
        return codes(output, test)
    }

    private static func narrow(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (input, output) = try (test.input(), test.output())
        let constants = try ["multiplier", "offset", "shift"].map { try test.values($0, as: Int32.self) }
        var affines = [mk_affine](repeating: mk_affine(), count: input.layout.channels + 3)
        for c in 0..<input.layout.channels {
            affines[c] = mk_affine(multiplier: constants[0][c], offset: constants[1][c], shift: constants[2][c])
        }
        Norm(channels: input.layout.channels, groups: 1, outputElement: .u8, zeroPoint: 0).apply(
            isa: isa, affines: affines, input: input.base, inputLayout: input.layout, output: output.base,
            outputLayout: output.layout, rows: 0..<output.layout.extent.rows)
        return codes(output, test)
    }

    private static func normScale(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let sums = try ["counts", "sums", "squares"].map { try test.values($0, as: Int64.self) }
        let channels = try normChannels(test)
        let zeroPoint = try test.number("zero_point", as: Int32.self)
        let element: ElementType = try test.number("output_bits") == 16 ? .i16 : .u8
        return channels.indices.flatMap { i in
            let scale = NormScale(NormSums(count: sums[0][i], sum: sums[1][i], squares: sums[2][i]), channels[i])
            let affine = scale.affine(channels[i], zeroPoint: zeroPoint, element: element)
            return [affine.multiplier, affine.offset, affine.shift].map(Int.init)
        }
    }

    private static func normChannels(_ test: GoldenCase) throws -> [NormChannel] {
        let (gains, gainShifts) = try (test.values("gain", as: Int32.self), test.values("gain_shift", as: Int32.self))
        let biases = try test.values("bias", as: Int32.self)
        let epsilons = try test.values("epsilon", as: UInt32.self)
        let epsilonShifts = try test.values("epsilon_shift", as: Int32.self)
        return gains.indices.map {
            NormChannel(
                gain: gains[$0], gainShift: gainShifts[$0], bias: biases[$0], epsilon: epsilons[$0],
                epsilonShift: epsilonShifts[$0])
        }
    }
}
