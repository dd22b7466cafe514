import COps
import Ops
import TestSupport
import Testing

/// Means and what takes one voxel for all, against sums written out voxel by voxel. These ops have one form for all instruction sets;
/// `GoldenVectorTests` compares them with the NumPy model.
@Suite struct GlobalPoolTests {
    static let extents = [
        Extent(depth: 1, height: 1, width: 1), Extent(depth: 2, height: 3, width: 5),
        Extent(depth: 3, height: 2, width: 17), Extent(depth: 2, height: 1, width: 259),
        Extent(depth: 1, height: 2, width: 1030),
    ]

    /// Half up, in whole numbers.
    private func mean(_ sum: Int, _ count: Int, _ channel: mk_channel) -> Int {
        let scale = Int128(1) << Int128(channel.shift)
        let twice = Int128(sum) * Int128(channel.multiplier) * 2 + Int128(count) * scale
        let below = Int128(count) * scale * 2
        return Int(twice >= 0 ? twice / below : -((below - 1 - twice) / below))
    }

    @Test(arguments: extents, [ElementType.u8, .i16]) func meansEqualTheirDefinition(
        _ extent: Extent, _ element: ElementType
    ) {
        var generator = SplitMix64(UInt64(extent.voxels))
        for (channels, noise) in zip([1, 2, 5, 8], Noise.allCases) {
            let input = TestTensor(
                TensorLayout(channels: channels, extent: extent, element: element, padX: 3), zeroPoint: 7)
            // Gaps, absent channels and slack hold anything.
            input.fill(noise, &generator)
            for (outputElement, isPerSlice) in [(ElementType.u8, false), (.i16, true), (.i16, false), (.u8, true)] {
                let pool = GlobalPool(
                    channels: channels, inputElement: element, inputZeroPoint: element == .u8 ? 100 : 0,
                    outputElement: outputElement, outputZeroPoint: outputElement == .u8 ? 128 : 0,
                    isPerSlice: isPerSlice)
                let parameters = (0..<channels).map { _ in
                    mk_channel(
                        bias: 0, multiplier: Int32.random(in: (1 << 30)...Int32.max, using: &generator),
                        shift: Int32.random(in: 24...34, using: &generator), reserved: 0)
                }
                check(pool, input, parameters, &generator)
            }
        }
    }

    private func check(
        _ pool: GlobalPool, _ input: TestTensor, _ parameters: [mk_channel], _ generator: inout SplitMix64
    ) {
        let extent = input.layout.extent
        let slices = pool.isPerSlice ? extent.depth : 1
        let output = TestTensor(
            TensorLayout(
                channels: pool.channels, extent: Extent(depth: slices, height: 1, width: 1),
                element: pool.outputElement, padX: 1), zeroPoint: 0xA5)
        let rows = extent.rows / slices
        for slice in 0..<slices {
            var sums = [Int64](repeating: 0, count: pool.channels)
            let cut = Int.random(in: 0...rows, using: &generator)
            for part in [cut..<rows, 0..<cut] {
                let range = (slice * rows + part.lowerBound)..<(slice * rows + part.upperBound)
                pool.addSums(input: input.base, layout: input.layout, rows: range, sums: &sums)
            }
            pool.write(
                sums: sums, count: rows * extent.width, parameters: parameters, output: output.base,
                layout: output.layout, row: slice)
        }
        #expect(output.guardsIntact)
        let limits = pool.outputElement == .u8 ? 0...255 : -32768...32767
        for c in 0..<pool.channels {
            for slice in 0..<slices {
                var sum = 0
                for row in (slice * rows)..<((slice + 1) * rows) {
                    for x in 0..<extent.width {
                        sum += input[c, row / extent.height, row % extent.height, x] - Int(pool.inputZeroPoint)
                    }
                }
                let exact = Int(pool.outputZeroPoint) + mean(sum, rows * extent.width, parameters[c])
                #expect(output[c, slice, 0, 0] == min(max(exact, limits.lowerBound), limits.upperBound))
            }
        }
    }

    /// The largest sums and factors that a file may hold.
    @Test func extremesDoNotOverflow() {
        let pool = GlobalPool(
            channels: 1, inputElement: .i16, inputZeroPoint: 0, outputElement: .i16, outputZeroPoint: 0,
            isPerSlice: false)
        let output = TestTensor(TensorLayout(channels: 1, extent: Extent(cube: 1), element: .i16), zeroPoint: 0)
        let count = 1 << 31
        for (shift, sum, expected) in [
            (Int32(1), -Int64(count) * 32768, -32768), (1, Int64(count) * 32767, 32767), (62, -Int64(count) * 32768, 0),
            (31, Int64(count) * 1000, 1000), (31, -Int64(count) * 1000, -1000),
        ] {
            let parameters = [mk_channel(bias: 0, multiplier: .max, shift: shift, reserved: 0)]
            pool.write(
                sums: [sum], count: count, parameters: parameters, output: output.base, layout: output.layout, row: 0)
            #expect(output[0, 0, 0, 0] == expected, "shift \(shift), sum \(sum)")
        }
    }

    /// As if the voxel had been copied.
    @Test(arguments: extents, [VoxelSpan.slice, .volume]) func oneVoxelStandsForAll(
        _ extent: Extent, _ span: VoxelSpan
    ) {
        var generator = SplitMix64(3)
        let small = Extent(depth: span == .slice ? extent.depth : 1, height: 1, width: 1)
        func tensor(_ channels: Int, _ extent: Extent, padX: Int = 0) -> TestTensor {
            let tensor = TestTensor(
                TensorLayout(channels: channels, extent: extent, element: .u8, padX: padX), zeroPoint: 0)
            tensor.randomize(&generator)
            return tensor
        }
        let (a, b, copied) = (tensor(6, extent, padX: 2), tensor(6, small), tensor(6, extent))
        forEachVoxel(copied.layout) { c, z, y, x in copied[c, z, y, x] = b[c, span == .slice ? z : 0, 0, 0] }
        let (found, wanted) = (tensor(6, extent, padX: 1), tensor(6, extent, padX: 1))
        for (output, factors, span) in [(found, b, span), (wanted, copied, .voxel)] {
            Multiply(
                requantizer: .init(multiplier: 1 << 30, shift: 37), zeroPointA: 9, zeroPointB: 100, zeroPointOut: 50,
                spanB: span
            ).run(
                a: a.base, layoutA: a.layout, b: factors.base, layoutB: factors.layout, output: output.base,
                outputLayout: output.layout, rows: 0..<extent.rows)
        }
        #expect(found.guardsIntact && found.bytes == wanted.bytes)
        // Behind eight channels its first four are a block, the others are moved one by one.
        let (first, sides) = (tensor(8, extent), [tensor(14, extent), tensor(14, extent)])
        for (output, second, span) in [(sides[0], b, span), (sides[1], copied, .voxel)] {
            let concat = Concat(channels: [8, 6])
            for (index, source, span) in [(0, first, VoxelSpan.voxel), (1, second, span)] {
                concat.run(
                    source: index, input: source.base, inputLayout: source.layout, output: output.base,
                    outputLayout: output.layout, zeroPoint: 0, rows: 0..<extent.rows, span: span)
            }
        }
        #expect(sides[0].guardsIntact && sides[0].bytes == sides[1].bytes)
    }
}
