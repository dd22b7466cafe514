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

    #if arch(x86_64)
        /// Where a CPU has double shifts, nothing else runs the states without them.
        @Test(.enabled(if: ISA.hasDoubleShifts)) func doubleShiftsChangeNoBit() {
            var generator = SplitMix64(9)
            for pairs in [1, 3, 4, 8, 13] {
                for reversed in [Int32(0), 1] {
                    let (count, pitch) = (21, (4 * pairs + 15) & ~15)
                    func words(_ count: Int) -> [UInt32] {
                        (0..<count).map { _ in .random(in: 0...(.max), using: &generator) }
                    }
                    // The same step twice in a word, as `prepare` leaves it.
                    let steps = words(count * 16).map { $0 & 0xFFFF | $0 << 16 }
                    let (injections, matrices) = (words(count * 16), words(count * pitch))
                    let rates = words(pairs * 16)
                    let start = words(pairs * 32).map { Int32(bitPattern: $0) }
                    var group = mk_scan_group()
                    withUnsafeMutableBytes(of: &group.exponent_bits) { bits in
                        for c in 0..<16 { bits.storeBytes(of: Int32(c % 13), toByteOffset: 4 * c, as: Int32.self) }
                    }
                    let found = [mk_scan_advance_avx512vnni, mk_scan_advance_avx512vbmi2].map { advance in
                        let (state, readOut) = (Pinned(start), Pinned([Int32](repeating: 0, count: count * 16)))
                        let inputs = [steps, injections, matrices, rates].map(Pinned.init)
                        var run = mk_scan_core(
                            steps: inputs[0].pointer, injections: inputs[1].pointer, matrices: inputs[2].pointer,
                            matrices_pitch: pitch, rates: inputs[3].pointer, state: state.pointer,
                            read_out: readOut.pointer, count: Int32(count), pairs: Int32(pairs), reversed: reversed)
                        withExtendedLifetime(inputs) { advance(&run, &group) }
                        return state.values + readOut.values
                    }
                    #expect(found[0] == found[1] && found[0].prefix(start.count) != start.prefix(start.count))
                }
            }
        }
    #endif

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

/// Values that stay at one address.
private final class Pinned<T: BitwiseCopyable> {
    private let buffer: UnsafeMutableBufferPointer<T>

    init(_ values: [T]) {
        buffer = .allocate(capacity: values.count)
        _ = buffer.initialize(from: values)
    }

    deinit { buffer.deallocate() }

    var pointer: UnsafeMutablePointer<T> { buffer.baseAddress! }
    var values: [T] { Array(buffer) }
}
