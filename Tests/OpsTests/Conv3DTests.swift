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
