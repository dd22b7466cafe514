import COps
import FixedPoint
import Ops
import TestSupport
import Testing

/// Every instruction set computes the bytes of the portable kernel, on ragged shapes and with whatever lies in gaps, absent
/// channels and slack.
@Suite struct TokenKernelTests {
    /// One shape per width; channels, gaps, zero points and the kind of input change along.
    struct Case: Sendable, CustomTestStringConvertible {
        var width: Int
        var channels: Int { [1, 2, 3, 4, 5, 6, 7, 8, 13, 17][width % 10] }
        var extent: Extent { Extent(depth: width % 3 + 1, height: width % 2 + 2, width: width) }
        var padIn: Int { width % 4 }
        var padOut: Int { (width + 1) % 3 }
        var zeroPointIn: UInt8 { [0, 255, 128, 17, 1][width % 5] }
        var zeroPointOut: UInt8 { [255, 0, 99, 128, 254, 3][width % 6] }
        var input: Noise { Noise.allCases[width % Noise.allCases.count] }
        var testDescription: String { "\(channels) × \(extent), gaps \(padIn) → \(padOut), \(input)" }

        func layout(
            _ element: ElementType, channels: Int? = nil, isOutput: Bool = false, scale: Int = 1
        ) -> TensorLayout {
            let (d, h, w) = (extent.depth * scale, extent.height * scale, extent.width * scale)
            return TensorLayout(
                channels: channels ?? self.channels, extent: Extent(depth: d, height: h, width: w), element: element,
                padX: isOutput ? padOut : padIn)
        }

        func noise(_ layout: TensorLayout, _ generator: inout SplitMix64) -> TestTensor {
            let tensor = TestTensor(layout, zeroPoint: 0)
            tensor.fill(input, &generator)
            return tensor
        }
    }

    static let cases = (Array(1...40) + [47, 48, 49, 63, 64, 65, 100, 130, 177]).map(Case.init)

    private func weights(_ count: Int, _ generator: inout SplitMix64) -> [Int8] {
        (0..<count).map { _ in Int8.random(in: -127...127, using: &generator) }
    }

    /// Scales for sums of magnitude `spread`, some of which saturate.
    private func parameters(_ count: Int, spread: Double, _ generator: inout SplitMix64) -> [mk_channel] {
        (0..<count).map { c in
            // Outputs of 6 ... 9 bits, and now and then nothing but the zero point.
            let shift = c % 5 == 4 ? 53 : Int32(min(max(31 + Int(spread.exponent) - 6 - c % 4, 33), 53))
            return mk_channel(
                bias: Int32.random(in: -20000...20000, using: &generator),
                multiplier: c % 7 == 6 ? 0 : Int32.random(in: (1 << 30)...Int32.max, using: &generator),
                shift: shift, reserved: 0)
        }
    }

    /// Runs `kernel` on every instruction set and compares the outputs.
    private func expectEqual(
        _ layout: TensorLayout, isas: [ISA] = ISA.allCases, _ kernel: (ISA, TestTensor) -> Void
    ) {
        let fill: UInt8 = 0x5A
        let expected = TestTensor(layout, zeroPoint: fill)
        kernel(.portable, expected)
        for isa in isas where isa != .portable && isa.isSupported {
            let output = TestTensor(layout, zeroPoint: fill)
            kernel(isa, output)
            #expect(output.bytes == expected.bytes, "\(isa)")
            #expect(output.guardsIntact, "\(isa)")
            #expect(output.unusedBytes.allSatisfy { $0 == fill }, "\(isa) writes between blocks or behind the last")
        }
    }

    @Test(arguments: cases, [false, true]) func tokenConv(_ test: Case, _ reversed: Bool) {
        for taps in [1, 2, 4, 5, 16] {
            var generator = SplitMix64(UInt64(test.width * 100 + taps))
            let conv = TokenConv(
                channels: test.channels, taps: taps, isReversed: reversed, inputZeroPoint: test.zeroPointIn,
                outputZeroPoint: test.zeroPointOut)
            let input = test.noise(test.layout(.u8), &generator)
            let weights = weights(conv.weightBytes, &generator)
            let channels = parameters(test.channels, spread: 0x1p14, &generator)
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

    @Test(arguments: cases, [ElementType.u8, .i16]) func depthwise(_ test: Case, _ element: ElementType) {
        let kernels = [Extent(cube: 1), Extent(cube: 3), Extent(depth: 1, height: 3, width: 7), Extent(cube: 7)]
        for kernel in kernels where kernel.depth < 7 || test.width % 8 == 1 {
            var generator = SplitMix64(UInt64(test.width * 100 + kernel.voxels))
            let isWide = element == .i16
            let conv = Depthwise(
                channels: test.channels, kernel: kernel, inputZeroPoint: test.zeroPointIn,
                outputZeroPoint: isWide ? 0 : test.zeroPointOut, outputElement: element,
                isRectified: isWide && test.width % 2 == 0)
            let input = test.noise(test.layout(.u8), &generator)
            let weights = weights(conv.weightBytes, &generator)
            let channels = parameters(test.channels, spread: isWide ? 0x1p8 : 0x1p15, &generator)
            expectEqual(test.layout(element, isOutput: true)) { isa, output in
                conv.run(
                    isa: isa, weights: weights, channels: channels, input: input.base, inputLayout: input.layout,
                    output: output.base, outputLayout: output.layout, rows: 0..<test.extent.rows)
            }
        }
    }

    @Test(arguments: cases) func lookup(_ test: Case) {
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

    /// Both in a buffer of its own and in that of an input.
    @Test(arguments: cases, [false, true]) func addWide(_ test: Case, _ inPlace: Bool) {
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
    @Test(arguments: cases) func layerNorm(_ test: Case) {
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

    @Test(arguments: cases) func gate(_ test: Case) {
        var generator = SplitMix64(UInt64(test.width))
        let a = test.noise(test.layout(.i16), &generator)
        let b = test.noise(test.layout(.i16), &generator)
        let z = test.noise(test.layout(.u8, isOutput: true), &generator)
        // The ends of the range in turn with anything; (a + b) · table reaches 2^31 where all are -32768.
        let table = (0..<256).map { code in
            [Int16.min, Int16.max, Int16.random(in: .min ... .max, using: &generator)][code % 3]
        }
        let channels = parameters(test.channels, spread: 0x1p30, &generator)
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

    @Test(arguments: cases, [5, 9, 12, 13, 14, 15, 16, 1]) func kanBasis(_ test: Case, _ outputs: Int) {
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

    @Test(arguments: cases) func depthToSpace(_ test: Case) {
        var generator = SplitMix64(UInt64(test.width))
        let channels = (test.channels + 3) & ~3
        let input = test.noise(test.layout(.u8, channels: 8 * channels), &generator)
        let op = DepthToSpace(channels: channels, zeroPoint: test.zeroPointOut)
        expectEqual(test.layout(.u8, channels: channels, isOutput: true, scale: 2)) { isa, output in
            op.run(
                isa: isa, input: input.base, inputLayout: input.layout, output: output.base,
                outputLayout: output.layout, rows: 0..<output.layout.extent.rows)
        }
    }

    /// Factors from nothing to the largest, so that sums are cut, rounded and saturated in every digit.
    @Test(arguments: cases) func add(_ test: Case) {
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
}
