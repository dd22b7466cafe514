import COps
import Glibc
import TestSupport
import Testing

@testable import Ops

@Suite struct ScanTests {
    /// Every way to cut the sequence gives the same bits.
    @Test(arguments: [false, true]) func chunksDoNotMatter(_ reversed: Bool) {
        let fixture = RandomScan(
            channels: 18, states: 5, extent: Extent(depth: 3, height: 5, width: 71), reversed: reversed, seed: 1)
        for isa in ISA.allCases where isa.isSupported {
            let whole = fixture.run(isa)
            #expect(whole.guardsIntact)
            for chunk in [1, 7, 64, 213] {
                #expect(fixture.run(isa, chunk: chunk).bytes == whole.bytes, "\(isa.name), chunk \(chunk)")
            }
        }
    }

    @Test func everyInstructionSetGivesTheSameBits() {
        var generator = SplitMix64(4)
        var distinct: Set<[UInt8]> = []
        for (index, states) in [1, 2, 7, 8, 8, 15, 16, 16, 17, 32].enumerated() {
            let extent = Extent(
                depth: Int.random(in: 1...3, using: &generator), height: Int.random(in: 1...4, using: &generator),
                width: Int.random(in: 1...40, using: &generator))
            let fixture = RandomScan(
                channels: Int.random(in: 1...40, using: &generator), states: states, extent: extent,
                reversed: index % 2 == 1, seed: UInt64(index))
            let expected = fixture.run(.portable)
            distinct.insert(expected.bytes)
            for isa in ISA.allCases where isa.isSupported {
                let found = fixture.run(isa)
                #expect(found.guardsIntact)
                #expect(found.bytes == expected.bytes, "\(isa.name), \(fixture.scan), \(extent)")
            }
        }
        #expect(distinct.count == 10)
    }

    /// 2.3 units of 2^-15 everywhere; where u is small and only rounding is left, 0.85 and no bias, which would
    /// change how long a slow state remembers.
    @Test func exponentIsWithinItsBound() {
        var generator = SplitMix64(3)
        var (bias, count) = (0.0, 0.0)
        for _ in 0..<400_000 {
            let bits = Int32.random(in: 3...8, using: &generator)
            let (step, rate) = (
                UInt16.random(in: 0...65535, using: &generator) >> UInt16.random(in: 0...15, using: &generator),
                UInt16.random(in: 0...65535, using: &generator)
            )
            let u = Double(UInt32(step) * UInt32(rate)) / exp2(Double(32 - bits))
            guard u < exp2(Double(bits)) - 0.5 else { continue }
            let error = Double(Exponent.weight(step: step, rate: rate, bits: bits)) - 32768 * expm1(-u * log(2))
            #expect(abs(error) <= 2.3)
            if u < 0.01 {
                #expect(abs(error) <= 0.85)
                bias += error
                count += 1
            }
        }
        #expect(count > 10_000 && abs(bias / count) < 0.03)
        #expect(Exponent.weight(step: 0, rate: 65535, bits: 3) == 0)
        #expect(Exponent.weight(step: 65535, rate: 65535, bits: 12) == -32768)
    }

    /// A state left alone dies away: at Δ·|A| = 1e-3 in ln(2^30) / 1e-3 steps to below 2^15 units, where nothing of it is read out.
    @Test func theDeadZoneIsBelowWhatIsReadOut() {
        let (step, rate, bits) = (UInt16(1000), UInt16((1e-3 * 1.4426950408889634 / 1000 * 0x1p29).rounded()), Int32(3))
        let weight = Exponent.weight(step: step, rate: rate, bits: bits)
        #expect(abs(Double(weight) + 32.75) < 1)
        for start in [Int32.max, Int32.min, 1 << 20, -(1 << 20)] {
            var g = start
            for _ in 0..<Int(log(0x1p30) / 1e-3) { g += 2 * ((g >> 16) * weight) }
            #expect(g >> 16 == 0 && abs(g - 1 << 15) <= 1 << 15, "\(start): \(g)")
        }
    }
}
