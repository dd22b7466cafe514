import COps
import FixedPoint
import Ops
import TestSupport
import Testing

@Suite struct Conv3DTests {
    static let simd = ISA.allCases.filter { $0 != .portable && $0.isSupported }

    @Test func everyISAEqualsPortableOnRaggedShapes() {
        var generator = SplitMix64(2026)
        var ran = 0
        for seed in 0..<400 {
            let test = ConvCase.random(&generator, seed: UInt64(seed))
            guard let fixture = ConvFixture(test) else { continue }
            ran += 1
            let reference = fixture.run(.portable)
            #expect(reference.guardsIntact, "portable wrote outside: \(test)")
            for isa in Self.simd {
                let result = fixture.run(isa, rowsAtATime: seed % 3 == 0 ? 1 : .max)
                #expect(result.guardsIntact, "\(isa) wrote outside: \(test)")
                #expect(result.bytes == reference.bytes, "\(isa) differs from portable: \(test)")
            }
        }
        #expect(ran > 300)
    }

    @Test func everyWidthFrom1To70() {
        for width in 1...70 {
            for (channels, dilation) in [(5, 1), (21, 16), (8, 4)] {
                let conv = Conv3D(
                    inChannels: channels, outChannels: channels, kernel: Extent(cube: 3),
                    dilation: Extent(cube: dilation), padding: Extent(cube: dilation), inputZeroPoint: 0,
                    outputZeroPoint: 0, outputElement: .u8)
                let test = ConvCase(
                    conv: conv, extent: Extent(depth: 2, height: 3, width: width), seed: UInt64(width * 31 + dilation))
                let fixture = ConvFixture(test)!
                let reference = fixture.run(.portable).bytes
                for isa in Self.simd {
                    #expect(fixture.run(isa).bytes == reference, "\(isa): \(test)")
                }
            }
        }
    }

    /// Rows that meet the same kernel rows are computed as one where that fills vectors better: every narrow width, enough rows for
    /// vectors that reach over several, with and without padding rows and a last block of one channel.
    @Test func rowsThatAreComputedTogether() {
        for width in 1...40 {
            for (inChannels, kernel, zeroPoint) in [(4, 3, 0), (1, 3, 0), (5, 3, 131), (9, 1, 7), (3, 5, 0)] {
                let dilation = width % 3 + 1
                let padding = kernel == 1 ? 0 : dilation * (kernel - 1) / 2
                let conv = Conv3D(
                    inChannels: inChannels, outChannels: 6, kernel: Extent(cube: kernel),
                    dilation: Extent(cube: dilation), padding: Extent(cube: padding),
                    inputZeroPoint: UInt8(zeroPoint), outputZeroPoint: 9, outputElement: .u8)
                let test = ConvCase(
                    conv: conv, extent: Extent(depth: 3, height: 13, width: width), seed: UInt64(width * 7 + kernel))
                guard let fixture = ConvFixture(test) else { continue }
                let reference = fixture.run(.portable).bytes
                for isa in Self.simd {
                    for rows in [Int.max, 5] {
                        let result = fixture.run(isa, rowsAtATime: rows)
                        #expect(result.guardsIntact, "\(isa) wrote outside: \(test)")
                        #expect(result.bytes == reference, "\(isa), \(rows) rows: \(test)")
                    }
                }
            }
        }
    }

    /// More weights than the AVX2 body widens ahead.
    @Test func manyInputChannels() {
        let conv = Conv3D(
            inChannels: 313, outChannels: 5, kernel: Extent(cube: 3), dilation: Extent(cube: 1),
            padding: Extent(cube: 1), inputZeroPoint: 0, outputZeroPoint: 0, outputElement: .u8)
        let fixture = ConvFixture(ConvCase(conv: conv, extent: Extent(depth: 3, height: 3, width: 19), seed: 3))!
        let reference = fixture.run(.portable).bytes
        for isa in Self.simd { #expect(fixture.run(isa).bytes == reference, "\(isa)") }
    }

    @Test func portableEqualsTheDefinition() {
        var generator = SplitMix64(7)
        for seed in 0..<60 {
            var test = ConvCase.random(&generator, seed: UInt64(seed))
            test.conv.inChannels = min(test.conv.inChannels, 9)
            test.conv.outChannels = min(test.conv.outChannels, 9)
            test.extent.width = min(test.extent.width, 19)
            guard let fixture = ConvFixture(test) else { continue }
            let result = fixture.run(.portable)
            let extent = fixture.output.extent
            var different = 0
            for o in 0..<fixture.conv.outChannels {
                for z in 0..<extent.depth {
                    for y in 0..<extent.height {
                        for x in 0..<extent.width
                        where result[o, z, y, x] != fixture.naive(o: o, z: z, y: y, x: x) {
                            different += 1
                        }
                    }
                }
            }
            #expect(different == 0, "\(different) values differ: \(test)")
        }
    }

    /// A consumer reads its padding from the gaps, so every byte of them must be the zero point.
    @Test func gapsHoldTheZeroPoint() {
        var generator = SplitMix64(11)
        for seed in 0..<40 {
            let test = ConvCase.random(&generator, seed: UInt64(1000 + seed))
            guard let fixture = ConvFixture(test), fixture.output.padX > 0 else { continue }
            let result = fixture.run(.best)
            let layout = fixture.output
            for block in 0..<layout.blocks {
                for row in 0..<layout.extent.rows {
                    let gap = layout.rowOffset(block: block, z: 0, y: row) + layout.extent.width * 4
                    for byte in 0..<(layout.padX * 4) {
                        #expect(
                            result.base.load(fromByteOffset: gap + byte, as: UInt8.self) == test.conv.outputZeroPoint)
                    }
                }
                for byte in 0..<(layout.padX * 4) {
                    let lead = block * layout.blockStride + byte
                    #expect(result.base.load(fromByteOffset: lead, as: UInt8.self) == test.conv.outputZeroPoint)
                }
            }
        }
    }
}
