import COps
import Ops

/// One shape per width; channels, gaps, zero points and the kind of input change along.
public struct TokenCase: Sendable {
    public var width: Int

    public init(width: Int) { self.width = width }

    public static let all = (Array(1...40) + [47, 48, 49, 63, 64, 65, 100, 130, 177]).map { TokenCase(width: $0) }

    public var channels: Int { [1, 2, 3, 4, 5, 6, 7, 8, 13, 17][width % 10] }
    public var extent: Extent { Extent(depth: width % 3 + 1, height: width % 2 + 2, width: width) }
    public var padIn: Int { width % 4 }
    public var padOut: Int { (width + 1) % 3 }
    public var zeroPointIn: UInt8 { [0, 255, 128, 17, 1][width % 5] }
    public var zeroPointOut: UInt8 { [255, 0, 99, 128, 254, 3][width % 6] }
    public var input: Noise { Noise.allCases[width % Noise.allCases.count] }

    public func layout(
        _ element: ElementType, channels: Int? = nil, isOutput: Bool = false, scale: Int = 1
    ) -> TensorLayout {
        let (d, h, w) = (extent.depth * scale, extent.height * scale, extent.width * scale)
        return TensorLayout(
            channels: channels ?? self.channels, extent: Extent(depth: d, height: h, width: w), element: element,
            padX: isOutput ? padOut : padIn)
    }

    public func noise(_ layout: TensorLayout, _ generator: inout SplitMix64) -> TestTensor {
        let tensor = TestTensor(layout, zeroPoint: 0)
        tensor.fill(input, &generator)
        return tensor
    }
}

#if !hasFeature(Embedded)
    extension TokenCase: CustomStringConvertible {
        public var description: String { "\(channels) × \(extent), gaps \(padIn) → \(padOut), \(input)" }
    }
#endif

/// One run of every kernel that equals its portable form on ragged shapes, with whatever lies in gaps, absent channels and slack.
/// Where it runs decides how results are compared: the caller runs the closure for every instruction set, each with an output
/// of its own.
public enum KernelCases {
    public typealias Expectation = (_ output: TensorLayout, _ kernel: (ISA, TestTensor) -> Void) -> Void

    static func weights(_ count: Int, _ generator: inout SplitMix64) -> [Int8] {
        (0..<count).map { _ in Int8.random(in: -127...127, using: &generator) }
    }

    /// Scales for sums of magnitude 2^`spread`, some of which saturate.
    static func parameters(_ count: Int, spread: Int, _ generator: inout SplitMix64) -> [mk_channel] {
        (0..<count).map { c in
            // Outputs of 6 ... 9 bits, and now and then nothing but the zero point.
            let shift = c % 5 == 4 ? 53 : Int32(min(max(25 + spread - c % 4, 33), 53))
            return mk_channel(
                bias: Int32.random(in: -20000...20000, using: &generator),
                multiplier: c % 7 == 6 ? 0 : Int32.random(in: (1 << 30)...Int32.max, using: &generator),
                shift: shift, reserved: 0)
        }
    }

    public static func tokenConv(_ test: TokenCase, _ reversed: Bool, _ expectEqual: Expectation) {
        for taps in [1, 2, 4, 5, 16] {
            var generator = SplitMix64(UInt64(test.width * 100 + taps))
            let conv = TokenConv(
                channels: test.channels, taps: taps, isReversed: reversed, inputZeroPoint: test.zeroPointIn,
                outputZeroPoint: test.zeroPointOut)
            let input = test.noise(test.layout(.u8), &generator)
            let weights = Self.weights(conv.weightBytes, &generator)
            let channels = Self.parameters(test.channels, spread: 14, &generator)
            expectEqual(test.layout(.u8, isOutput: true)) { isa, output in
                // Two shares of the rows, as two threads would have.
                for rows in [0..<1, 1..<test.extent.rows] {
                    conv.run(
                        isa: isa, weights: weights, channels: channels, input: input.base, inputLayout: input.layout,
                        output: output.base, outputLayout: output.layout, rows: rows)
                }
            }
        }
    }

    public static func depthwise(_ test: TokenCase, _ element: ElementType, _ expectEqual: Expectation) {
        let kernels = [Extent(cube: 1), Extent(cube: 3), Extent(depth: 1, height: 3, width: 7), Extent(cube: 7)]
        for kernel in kernels where kernel.depth < 7 || test.width % 8 == 1 {
            var generator = SplitMix64(UInt64(test.width * 100 + kernel.voxels))
            let isWide = element == .i16
            let conv = Depthwise(
                channels: test.channels, kernel: kernel, inputZeroPoint: test.zeroPointIn,
                outputZeroPoint: isWide ? 0 : test.zeroPointOut, outputElement: element,
                isRectified: isWide && test.width % 2 == 0)
            let input = test.noise(test.layout(.u8), &generator)
            let weights = Self.weights(conv.weightBytes, &generator)
            let channels = Self.parameters(test.channels, spread: isWide ? 8 : 15, &generator)
            expectEqual(test.layout(element, isOutput: true)) { isa, output in
                conv.run(
                    isa: isa, weights: weights, channels: channels, input: input.base, inputLayout: input.layout,
                    output: output.base, outputLayout: output.layout, rows: 0..<test.extent.rows)
            }
        }
    }

    public static func lookup(_ test: TokenCase, _ expectEqual: Expectation) {
        var generator = SplitMix64(UInt64(test.width))
        // A permutation: no entry can stand in for another.
        let table = (0...255).map(UInt8.init).shuffled(using: &generator)
        let input = test.noise(test.layout(.u8), &generator)
        expectEqual(test.layout(.u8, isOutput: true)) { isa, output in
            Lookup().run(
                isa: isa, table: table, input: input.base, inputLayout: input.layout, output: output.base,
                outputLayout: output.layout, zeroPoint: test.zeroPointOut, rows: 0..<test.extent.rows)
        }
    }

    public static func lookupWide(_ test: TokenCase, _ element: ElementType, _ expectEqual: Expectation) {
        var generator = SplitMix64(UInt64(test.width))
        let table = (0..<LookupWide.tableBytes(element)).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let input = test.noise(test.layout(.i16), &generator)
        expectEqual(test.layout(element, isOutput: true)) { isa, output in
            LookupWide().run(
                isa: isa, table: table, input: input.base, inputLayout: input.layout, output: output.base,
                outputLayout: output.layout, zeroPoint: test.zeroPointOut, rows: 0..<test.extent.rows)
        }
    }

    /// Both in a buffer of its own and in that of an input.
    public static func addWide(_ test: TokenCase, _ inPlace: Bool, _ expectEqual: Expectation) {
        var generator = SplitMix64(UInt64(test.width))
        let a = test.noise(test.layout(.i16), &generator)
        let b = test.noise(test.layout(.i16, isOutput: true), &generator)
        expectEqual(test.layout(.i16, isOutput: true)) { isa, output in
            if inPlace { forEachVoxel(b.layout) { output[$0, $1, $2, $3] = b[$0, $1, $2, $3] } }
            AddWide().run(
                isa: isa, a: a.base, layoutA: a.layout, b: inPlace ? output.base : b.base, layoutB: b.layout,
                output: output.base, outputLayout: output.layout, rows: 0..<test.extent.rows)
        }
    }

    /// Wide and narrow spreads of the codes: the root's exponent takes all its values, 2^60 included (equal codes, E = 4^k).
    public static func layerNorm(_ test: TokenCase, _ expectEqual: Expectation) {
        let epsilons: [Int64] = [1, 2, 4, 1 << 20, (1 << 48) - 1]
        for (i, channels) in [test.channels, 64, test.width == 65 ? 512 : 63].enumerated() {
            var generator = SplitMix64(UInt64(test.width * 10 + i))
            let input = test.noise(test.layout(.i16, channels: channels), &generator)
            if i == 0, test.width % 8 < 6 {
                forEachVoxel(input.layout) { c, z, y, x in
                    input[c, z, y, x] = Int.random(in: -40...(-40 + x % 3), using: &generator)
                }
            }
            let constants = (0..<channels).map { c in
                let gain = c % 5 == 3 ? Int32.max : Int32.random(in: -(1 << 22)...(1 << 22), using: &generator)
                return LayerNorm.Channel(gain: gain, bias: Int32.random(in: -(1 << 23)...(1 << 23), using: &generator))
            }
            let norm = LayerNorm(
                channels: channels, epsilon: epsilons[test.width % 5], zeroPoint: test.zeroPointOut)
            expectEqual(test.layout(.u8, channels: channels, isOutput: true)) { isa, output in
                norm.run(
                    isa: isa, parameters: constants, input: input.base, inputLayout: input.layout,
                    output: output.base, outputLayout: output.layout, rows: 0..<test.extent.rows)
            }
        }
    }

    public static func gate(_ test: TokenCase, _ expectEqual: Expectation) {
        var generator = SplitMix64(UInt64(test.width))
        let a = test.noise(test.layout(.i16), &generator)
        let b = test.noise(test.layout(.i16), &generator)
        let z = test.noise(test.layout(.u8, isOutput: true), &generator)
        // The ends of the range in turn with anything; (a + b) · table reaches 2^31 where all are -32768.
        let table = (0..<256).map { code in
            [Int16.min, Int16.max, Int16.random(in: .min ... .max, using: &generator)][code % 3]
        }
        let channels = Self.parameters(test.channels, spread: 30, &generator)
        let gate = Gate(channels: test.channels, zeroPoint: test.zeroPointOut)
        table.withUnsafeBufferPointer { table in
            channels.withUnsafeBufferPointer { channels in
                expectEqual(test.layout(.u8, isOutput: true)) { isa, output in
                    let buffers = Gate.Buffers(
                        a: a.base, b: b.base, z: z.base, table: table.baseAddress!, channels: channels.baseAddress!,
                        output: output.base)
                    gate.run(
                        isa: isa, buffers, sumLayout: a.layout, gateLayout: z.layout, outputLayout: output.layout,
                        rows: 0..<test.extent.rows)
                }
            }
        }
    }

    public static func kanBasis(_ test: TokenCase, _ outputs: Int, _ expectEqual: Expectation) {
        var generator = SplitMix64(UInt64(test.width))
        let basis = KANBasis(channels: test.channels, outputs: outputs)
        let table = (0..<basis.tableBytes).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let input = test.noise(test.layout(.u8), &generator)
        expectEqual(test.layout(.u8, channels: test.channels * outputs, isOutput: true)) { isa, output in
            basis.run(
                isa: isa, table: table, input: input.base, inputLayout: input.layout, output: output.base,
                outputLayout: output.layout, rows: 0..<test.extent.rows)
        }
    }

    /// A layer by tables per edge, beside the portable basis and convolution that it stands for. Weights are small enough for 16 bits.
    public static func kanEdges(_ test: TokenCase, _ element: ElementType, _ expectEqual: Expectation) {
        var generator = SplitMix64(UInt64(test.width))
        let basis = KANBasis(channels: test.channels, outputs: [9, 12, 1][test.width % 3])
        let isWide = element == .i16
        let conv = Conv3D(
            inChannels: test.channels * basis.outputs, outChannels: [1, 31, 66, 6, 130, 32, 64][test.width % 7],
            kernel: Extent(cube: 1), dilation: Extent(cube: 1), padding: Extent(cube: 0), inputZeroPoint: 0,
            outputZeroPoint: isWide ? 0 : test.zeroPointOut, outputElement: element,
            isRectified: isWide && test.width % 2 == 0)
        let table = (0..<basis.tableBytes).map { _ in UInt8.random(in: 0...255, using: &generator) }
        var weights = [Int8](repeating: 0, count: conv.weightBytes)
        for o in 0..<conv.outChannels {
            for i in 0..<conv.inChannels {
                weights[conv.weightIndex(o: o, i: i, kz: 0, ky: 0, kx: 0)] = Int8.random(
                    in: -20...20, using: &generator)
            }
        }
        let channels = Self.parameters(conv.outChannels, spread: isWide ? 8 : 14, &generator)
        let edges = KANEdges(basis: basis, conv: conv)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: edges.byteCount, alignment: 64)
        defer { memory.deallocate() }
        precondition(edges.fits(table: table, weights: weights))
        edges.build(table: table, weights: weights, into: memory)
        let input = test.noise(test.layout(.u8), &generator)
        let expanded = TestTensor(test.layout(.u8, channels: conv.inChannels), zeroPoint: 0)
        basis.run(
            isa: .portable, table: table, input: input.base, inputLayout: input.layout, output: expanded.base,
            outputLayout: expanded.layout, rows: 0..<test.extent.rows)
        let layout = test.layout(element, channels: conv.outChannels, isOutput: true)
        // The portable form is that of the two ops, so that other kernels are compared with those.
        expectEqual(layout) { isa, output in
            for rows in [0..<1, 1..<test.extent.rows] {
                guard isa == .portable else {
                    edges.run(
                        isa: isa, memory: memory, channels: channels, input: input.base, inputLayout: input.layout,
                        output: output.base, outputLayout: layout, rows: rows)
                    continue
                }
                channels.withUnsafeBufferPointer { channels in
                    weights.withUnsafeBufferPointer { weights in
                        let buffers = Conv3DBuffers(
                            input: expanded.base, output: output.base, weights: weights.baseAddress!,
                            channels: channels.baseAddress!, paddingRow: nil)
                        conv.run(
                            isa: isa, buffers: buffers, input: expanded.layout, output: layout, rows: rows,
                            outputExtent: test.extent)
                    }
                }
            }
        }
        expectEqual(layout) { isa, output in
            edges.run(
                isa: isa, memory: memory, channels: channels, input: input.base, inputLayout: input.layout,
                output: output.base, outputLayout: layout, rows: 0..<test.extent.rows)
        }
    }

    /// There and back, in shares of rows that cut lines.
    public static func sliceOrder(_ test: TokenCase, _ element: ElementType, _ expectEqual: Expectation) {
        for depth in [1, 3, 16, 37] {
            var generator = SplitMix64(UInt64(test.width + depth))
            let extent = Extent(depth: depth, height: test.width % 2 + 2, width: test.width)
            let layout = TensorLayout(channels: test.channels, extent: extent, element: element)
            let input = test.noise(layout, &generator)
            for isInverse in [false, true] {
                expectEqual(layout) { isa, output in
                    let third = extent.rows / 3
                    for rows in [0..<third, third..<extent.rows] {
                        SliceOrder(isInverse: isInverse, zeroPoint: 0).run(
                            isa: isa, input: input.base, inputLayout: layout, output: output.base, outputLayout: layout,
                            rows: rows)
                    }
                }
            }
        }
    }

    public static func depthToSpace(_ test: TokenCase, _ element: ElementType, _ expectEqual: Expectation) {
        var generator = SplitMix64(UInt64(test.width))
        let channels = (test.channels + 3) & ~3
        let input = test.noise(test.layout(element, channels: 8 * channels), &generator)
        let op = DepthToSpace(channels: channels, zeroPoint: test.zeroPointOut)
        expectEqual(test.layout(element, channels: channels, isOutput: true, scale: 2)) { isa, output in
            op.run(
                isa: isa, input: input.base, inputLayout: input.layout, output: output.base,
                outputLayout: output.layout, rows: 0..<output.layout.extent.rows)
        }
    }

    /// Factors from nothing to the largest, so that sums are cut, rounded and saturated in every digit.
    public static func add(_ test: TokenCase, _ expectEqual: Expectation) {
        var generator = SplitMix64(UInt64(test.width))
        let a = test.noise(test.layout(.u8), &generator)
        let b = test.noise(test.layout(.u8, isOutput: true), &generator)
        for shift in Add.shiftRange {
            let most = min(Int64(1) << Int64(shift), Add.multiplierRange.upperBound)
            let factors: [Int64] = [0, 1, most - 1, most / 3, .random(in: 0..<most, using: &generator)]
            let add = Add(
                multiplierA: factors[Int(shift) % 5], multiplierB: factors[(test.width + Int(shift) / 5) % 5],
                shift: shift, zeroPointA: test.zeroPointIn, zeroPointB: test.zeroPointOut,
                zeroPointOut: UInt8(truncatingIfNeeded: test.width * 37))
            expectEqual(test.layout(.u8, isOutput: true)) { isa, output in
                add.run(
                    isa: isa, a: a.base, layoutA: a.layout, b: b.base, layoutB: b.layout, output: output.base,
                    outputLayout: output.layout, rows: 0..<test.extent.rows)
            }
        }
    }

    /// Statistics of rows and the map, with constants that reach both ends of the output.
    public static func norm(_ test: TokenCase, _ element: ElementType, _ expectEqual: Expectation) {
        var generator = SplitMix64(UInt64(test.width))
        let input = test.noise(test.layout(.i16), &generator)
        let norm = Norm(
            channels: test.channels, groups: test.channels % 2 == 0 ? test.channels / 2 : 1, outputElement: element,
            zeroPoint: element == .u8 ? test.zeroPointOut : 0, isRectified: element == .i16 && test.width % 2 == 0)
        let channels = (0..<test.channels).map { _ in
            NormChannel(
                gain: Int32.random(in: -(80 << 24)...(80 << 24), using: &generator), gainShift: 24,
                bias: Int32.random(in: -(200 << 16)...(200 << 16), using: &generator), epsilon: 1 << 20,
                epsilonShift: 20)
        }
        expectEqual(test.layout(element, isOutput: true)) { isa, output in
            var sums = [NormSums](repeating: NormSums(), count: test.channels)
            for rows in [0..<1, 1..<test.extent.rows] {
                norm.addSums(isa: isa, input: input.base, layout: input.layout, rows: rows, sums: &sums)
            }
            var affines = [mk_affine](repeating: mk_affine(), count: test.channels + 3)
            norm.affines(sums: sums, parameters: { channels[$0] }, into: &affines)
            norm.apply(
                isa: isa, affines: affines, input: input.base, inputLayout: input.layout, output: output.base,
                outputLayout: output.layout, rows: 0..<test.extent.rows)
        }
    }
}
