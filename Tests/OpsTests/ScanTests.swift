import COps
import Glibc
import TestSupport
import Testing

@testable import Ops

/// A scan with random constants over the whole of their ranges, so that states saturate and die.
struct RandomScan {
    let scan: Scan
    let x: TestTensor
    let step: TestTensor
    let matrices: TestTensor
    let output: TensorLayout
    var table: [UInt32]

    init(channels: Int, states: Int, extent: Extent, reversed: Bool, seed: UInt64) {
        var generator = SplitMix64(seed)
        let zeroPoint: UInt8 = [0, 120, 255][Int(seed % 3)]
        scan = Scan(channels: channels, states: states, isReversed: reversed, inputZeroPoint: zeroPoint)
        x = TestTensor(TensorLayout(channels: channels, extent: extent, element: .u8, padX: 1), zeroPoint: zeroPoint)
        step = TestTensor(TensorLayout(channels: channels, extent: extent, element: .i16), zeroPoint: 0)
        matrices = TestTensor(TensorLayout(channels: 2 * states, extent: extent, element: .i16), zeroPoint: 0)
        x.randomize(&generator)
        step.randomize(&generator)
        matrices.randomize(&generator)
        output = TensorLayout(channels: channels, extent: extent, element: .i16)
        table = (0..<Scan.softplusEntries).map { i in
            UInt32((min(log1p(exp(Double(i * 128 - 32768) / 2048)), 16) * 0x1p27).rounded())
        }
        table += [0, 0, 0]
        for _ in 0..<scan.groups {
            for range in [1...31, 1...25, 1...12] as [ClosedRange<UInt32>] {
                table += (0..<16).map { _ in UInt32.random(in: range, using: &generator) }
            }
            table += (0..<16).map { _ in UInt32.random(in: 0...UInt32(Int32.max), using: &generator) }
            table += (0..<16).map { _ in UInt32.random(in: 0...UInt32.max, using: &generator) }
            table += (0..<16).map { _ in UInt32.random(in: 33...53, using: &generator) }
            table += (0..<(16 * ((states + 1) / 2))).map { _ in
                UInt32.random(in: 0...UInt32.max, using: &generator) >> UInt32.random(in: 0...15, using: &generator)
            }
        }
    }

    /// Runs in pieces of `chunk` tokens, the groups one by one.
    func run(_ isa: ISA, chunk: Int = .max / 2) -> TestTensor {
        let result = TestTensor(output, zeroPoint: 0)
        var state = [Int32](repeating: 0, count: scan.stateBytes / 4)
        let scratch = UnsafeMutableRawPointer.allocate(byteCount: scan.chunkBytes, alignment: 64)
        defer { scratch.deallocate() }
        let layouts = Scan.Layouts(x: x.layout, step: step.layout, matrices: matrices.layout, output: output)
        table.withUnsafeBytes { table in
            state.withUnsafeMutableBufferPointer { state in
                scan.reset(state.baseAddress!)
                let buffers = Scan.Buffers(
                    x: x.base, step: step.base, matrices: matrices.base, table: table.baseAddress!,
                    state: state.baseAddress!, output: result.base)
                let tokens = output.extent.voxels
                for start in stride(from: 0, to: tokens, by: chunk) {
                    for group in 0..<scan.groups {
                        scan.run(
                            isa: isa, buffers, layouts, groups: group..<(group + 1),
                            tokens: start..<min(start + chunk, tokens), scratch: scratch)
                    }
                }
            }
        }
        return result
    }
}

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
