import COps
import FixedPoint
import Glibc
import Ops
import TestSupport
import Testing

@Suite struct TokenOpsTests {
    static let extents = [
        Extent(depth: 1, height: 1, width: 1), Extent(depth: 2, height: 3, width: 5),
        Extent(depth: 3, height: 2, width: 17),
    ]

    private func parameters(_ count: Int, _ generator: inout SplitMix64) -> [mk_channel] {
        (0..<count).map { _ in
            mk_channel(
                bias: Int32.random(in: -9000...9000, using: &generator),
                multiplier: Int32.random(in: (1 << 30)...Int32.max, using: &generator),
                shift: Int32.random(in: 36...40, using: &generator), reserved: 0)
        }
    }

    private func code(_ sum: Int, _ channel: mk_channel, zeroPoint: Int, wide: Bool = false, floor: Int = -32768) -> Int
    {
        let scaled =
            (Int128(sum) * Int128(channel.multiplier) + (Int128(1) << Int128(channel.shift - 1)))
            >> Int128(channel.shift)
        let value = Int(scaled) + zeroPoint
        return wide ? min(max(value, floor), 32767) : min(max(value, 0), 255)
    }

    @Test(arguments: extents, [1, 4, 5, 16]) func layerNormEqualsTheRealOne(_ extent: Extent, _ channels: Int) {
        var generator = SplitMix64(UInt64(channels))
        let input = TestTensor(TensorLayout(channels: channels, extent: extent, element: .i16), zeroPoint: 0)
        input.randomize(&generator)
        let output = TestTensor(TensorLayout(channels: channels, extent: extent, element: .u8, padX: 2), zeroPoint: 9)
        let gains = (0..<channels).map { Double($0) * 7 - 11 }
        let biases = (0..<channels).map { Double($0) * 1.5 - 2 }
        let constants = zip(gains, biases).map { LayerNorm.Channel(gain: Int32($0 * 65536), bias: Int32($1 * 65536)) }
        LayerNorm(channels: channels, epsilon: 77, zeroPoint: 128).run(
            isa: .portable, parameters: constants, input: input.base, inputLayout: input.layout, output: output.base,
            outputLayout: output.layout, rows: 0..<extent.rows)
        #expect(output.guardsIntact)
        forEachVoxel(output.layout) { c, z, y, x in
            let values = (0..<channels).map { Double(input[$0, z, y, x]) }
            let mean = values.reduce(0, +) / Double(channels)
            let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(channels)
            let deviation = (variance + 77 / Double(channels * channels)).squareRoot()
            let exact = 128 + biases[c] + gains[c] * (values[c] - mean) / deviation
            // Half a code, and the normalized value is cut at 2^-16.
            #expect(abs(Double(output[c, z, y, x]) - min(max(exact, 0), 255)) <= 0.5 + abs(gains[c]) * 0x1p-15 + 1e-3)
        }
    }

    @Test func wideSumsSaturate() {
        var generator = SplitMix64(5)
        let layout = TensorLayout(channels: 3, extent: Self.extents[2], element: .i16)
        let (a, b) = (TestTensor(layout, zeroPoint: 0), TestTensor(layout, zeroPoint: 0))
        a.randomize(&generator)
        b.randomize(&generator)
        let expected = TestTensor(layout, zeroPoint: 0)
        forEachVoxel(layout) { c, z, y, x in
            expected[c, z, y, x] = min(max(a[c, z, y, x] + b[c, z, y, x], -32768), 32767)
        }
        AddWide().run(
            isa: .portable, a: a.base, layoutA: layout, b: b.base, layoutB: layout, output: a.base,
            outputLayout: layout, rows: 0..<layout.extent.rows)
        forEachVoxel(layout) { c, z, y, x in #expect(a[c, z, y, x] == expected[c, z, y, x]) }
    }

    /// The sequence visits depth fastest, row by row of the output in any split, and the way back is its inverse.
    @Test(arguments: extents, [ElementType.u8, .i16]) func sliceOrderGoesThereAndBack(
        _ extent: Extent, _ element: ElementType
    ) {
        var generator = SplitMix64(8)
        let input = TestTensor(TensorLayout(channels: 6, extent: extent, element: element, padX: 1), zeroPoint: 9)
        input.randomize(&generator)
        let there = TestTensor(TensorLayout(channels: 6, extent: extent, element: element), zeroPoint: 0)
        let back = TestTensor(input.layout, zeroPoint: 0)
        for row in (0..<extent.rows).reversed() {
            SliceOrder(isInverse: false, zeroPoint: 9).run(
                isa: .portable, input: input.base, inputLayout: input.layout, output: there.base,
                outputLayout: there.layout,
                rows: row..<(row + 1))
        }
        SliceOrder(isInverse: true, zeroPoint: 9).run(
            isa: .portable, input: there.base, inputLayout: there.layout, output: back.base, outputLayout: back.layout,
            rows: 0..<extent.rows)
        #expect(there.guardsIntact && back.guardsIntact)
        forEachVoxel(input.layout) { c, z, y, x in
            let place = (y * extent.width + x) * extent.depth + z
            let (row, column) = place.quotientAndRemainder(dividingBy: extent.width)
            #expect(there[c, row / extent.height, row % extent.height, column] == input[c, z, y, x])
            #expect(back[c, z, y, x] == input[c, z, y, x])
        }
        #expect(back.bytes.count == input.bytes.count)
    }

    @Test(arguments: extents) func depthToSpaceMovesWholeVoxels(_ extent: Extent) {
        var generator = SplitMix64(6)
        let input = TestTensor(TensorLayout(channels: 64, extent: extent, element: .u8), zeroPoint: 0)
        input.randomize(&generator)
        let twice = Extent(depth: 2 * extent.depth, height: 2 * extent.height, width: 2 * extent.width)
        let output = TestTensor(TensorLayout(channels: 8, extent: twice, element: .u8, padX: 1), zeroPoint: 0)
        DepthToSpace(channels: 8, zeroPoint: 3).run(
            isa: .portable, input: input.base, inputLayout: input.layout, output: output.base,
            outputLayout: output.layout, rows: 0..<twice.rows)
        #expect(output.guardsIntact)
        forEachVoxel(output.layout) { c, z, y, x in
            let slot = (z % 2) * 4 + (y % 2) * 2 + x % 2
            #expect(output[c, z, y, x] == input[slot * 8 + c, z / 2, y / 2, x / 2])
        }
    }

    @Test(arguments: extents, [ElementType.u8, .i16]) func depthwiseEqualsItsDefinition(
        _ extent: Extent, _ element: ElementType
    ) {
        var generator = SplitMix64(7)
        let conv = Depthwise(
            channels: 6, kernel: Extent(cube: 3), inputZeroPoint: 17, outputZeroPoint: element == .u8 ? 40 : 0,
            outputElement: element, isRectified: element == .i16)
        let input = TestTensor(TensorLayout(channels: 6, extent: extent, element: .u8, padX: 1), zeroPoint: 17)
        input.randomize(&generator)
        var weights = [Int8](repeating: 0, count: conv.weightBytes)
        for c in 0..<6 {
            for tap in 0..<27 {
                weights[conv.weightIndex(channel: c, tap: tap)] = Int8.random(in: -127...127, using: &generator)
            }
        }
        let channels = parameters(6, &generator)
        let output = TestTensor(TensorLayout(channels: 6, extent: extent, element: element, padX: 1), zeroPoint: 0)
        conv.run(
            isa: .portable, weights: weights, channels: channels, input: input.base, inputLayout: input.layout,
            output: output.base, outputLayout: output.layout, rows: 0..<extent.rows)
        #expect(output.guardsIntact)
        forEachVoxel(output.layout) { c, z, y, x in
            var sum = Int(channels[c].bias)
            for tap in 0..<27 {
                let (a, b, d) = (z + tap / 9 - 1, y + tap / 3 % 3 - 1, x + tap % 3 - 1)
                let inside =
                    a >= 0 && a < extent.depth && b >= 0 && b < extent.height && d >= 0 && d < extent.width
                sum += (inside ? input[c, a, b, d] : 17) * Int(weights[conv.weightIndex(channel: c, tap: tap)])
            }
            #expect(
                output[c, z, y, x]
                    == code(sum, channels[c], zeroPoint: Int(conv.outputZeroPoint), wide: element == .i16, floor: 0))
        }
    }

    @Test(arguments: extents, [false, true]) func tokenConvLooksBackOnly(_ extent: Extent, _ reversed: Bool) {
        var generator = SplitMix64(8)
        let conv = TokenConv(channels: 5, taps: 4, isReversed: reversed, inputZeroPoint: 99, outputZeroPoint: 101)
        let input = TestTensor(TensorLayout(channels: 5, extent: extent, element: .u8, padX: 3), zeroPoint: 99)
        input.randomize(&generator)
        var weights = [Int8](repeating: 0, count: conv.weightBytes)
        for c in 0..<5 {
            for tap in 0..<4 {
                weights[conv.weightIndex(channel: c, tap: tap)] = Int8.random(in: -127...127, using: &generator)
            }
        }
        let channels = parameters(5, &generator)
        let output = TestTensor(TensorLayout(channels: 5, extent: extent, element: .u8), zeroPoint: 0)
        conv.run(
            isa: .portable, weights: weights, channels: channels, input: input.base, inputLayout: input.layout,
            output: output.base, outputLayout: output.layout, rows: 0..<extent.rows)
        #expect(output.guardsIntact)
        forEachVoxel(output.layout) { c, z, y, x in
            let t = (z * extent.height + y) * extent.width + x
            var sum = Int(channels[c].bias)
            for tap in 0..<4 {
                let s = reversed ? t + 3 - tap : t - 3 + tap
                let inside = s >= 0 && s < extent.voxels
                let value =
                    inside
                    ? input[c, s / (extent.height * extent.width), s / extent.width % extent.height, s % extent.width]
                    : 99
                sum += value * Int(weights[conv.weightIndex(channel: c, tap: tap)])
            }
            #expect(output[c, z, y, x] == code(sum, channels[c], zeroPoint: 101))
        }
    }

    @Test(arguments: extents) func basisIsATable(_ extent: Extent) {
        var generator = SplitMix64(9)
        let basis = KANBasis(channels: 5, outputs: 9)
        let table = (0..<basis.tableBytes).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let input = TestTensor(TensorLayout(channels: 5, extent: extent, element: .u8, padX: 1), zeroPoint: 0)
        input.randomize(&generator)
        let output = TestTensor(TensorLayout(channels: 45, extent: extent, element: .u8), zeroPoint: 0xEE)
        basis.run(
            isa: .portable, table: table, input: input.base, inputLayout: input.layout, output: output.base,
            outputLayout: output.layout, rows: 0..<extent.rows)
        #expect(output.guardsIntact)
        forEachVoxel(output.layout) { c, z, y, x in
            #expect(output[c, z, y, x] == Int(table[input[c / 9, z, y, x] * 9 + c % 9]))
        }
    }

    /// Sixteen bits hold a range of 65,535 and no more: three entries of 255 at weights of 127, -127 and 3 reach 64,770 + 765.
    @Test func edgesThatSpanTooMuchDoNotFit() {
        let basis = KANBasis(channels: 1, outputs: 3)
        let conv = Conv3D(
            inChannels: 3, outChannels: 1, kernel: Extent(cube: 1), dilation: Extent(cube: 1),
            padding: Extent(cube: 0), inputZeroPoint: 0, outputZeroPoint: 0, outputElement: .i16)
        var table = [UInt8](repeating: 0, count: basis.tableBytes)
        table[0] = 255
        table[2] = 255
        table[4] = 255
        let edges = KANEdges(basis: basis, conv: conv)
        for (third, fits) in [(Int8(3), true), (4, false)] {
            var weights = [Int8](repeating: 0, count: conv.weightBytes)
            for (i, w) in [127, -127, third].enumerated() {
                weights[conv.weightIndex(o: 0, i: i, kz: 0, ky: 0, kx: 0)] = w
            }
            #expect(edges.fits(table: table, weights: weights) == fits)
        }
    }

    @Test(arguments: extents) func gateMultipliesTheSum(_ extent: Extent) {
        var generator = SplitMix64(10)
        let wide = TensorLayout(channels: 6, extent: extent, element: .i16)
        let (a, b) = (TestTensor(wide, zeroPoint: 0), TestTensor(wide, zeroPoint: 0))
        a.randomize(&generator)
        b.randomize(&generator)
        let z = TestTensor(TensorLayout(channels: 6, extent: extent, element: .u8), zeroPoint: 0)
        z.randomize(&generator)
        let table = (0..<256).map { _ in Int16.random(in: -32768...32767, using: &generator) }
        let channels = (0..<6).map { _ in mk_channel(bias: 0, multiplier: 1 << 30, shift: 53, reserved: 0) }
        let output = TestTensor(TensorLayout(channels: 6, extent: extent, element: .u8, padX: 1), zeroPoint: 0)
        table.withUnsafeBufferPointer { table in
            channels.withUnsafeBufferPointer { channels in
                let buffers = Gate.Buffers(
                    a: a.base, b: b.base, z: z.base, table: table.baseAddress!, channels: channels.baseAddress!,
                    output: output.base)
                Gate(channels: 6, zeroPoint: 128).run(
                    isa: .portable, buffers, sumLayout: wide, gateLayout: z.layout, outputLayout: output.layout,
                    rows: 0..<extent.rows)
            }
        }
        #expect(output.guardsIntact)
        forEachVoxel(output.layout) { c, zz, y, x in
            let product = (a[c, zz, y, x] + b[c, zz, y, x]) * Int(table[z[c, zz, y, x]])
            #expect(output[c, zz, y, x] == code((product + 1) >> 1, channels[c], zeroPoint: 128))
        }
    }
}
