import COps
import Glibc
import TestSupport
import Testing

@testable import Ops

/// One scan with constants as the converter would choose them, and the same recurrence in double on the same codes.
struct ScanFixture {
    let scan: Scan
    let x: TestTensor
    let step: TestTensor
    let matrices: TestTensor
    let output: TensorLayout
    var table: [UInt32]
    let rates: [Double]
    let inputScale = 0.02
    let matrixScale = 0.01
    let outputScale: Double
    let skips: [Double]

    init(channels: Int, states: Int, extent: Extent, reversed: Bool, steps: ClosedRange<Int>, seed: UInt64) {
        var generator = SplitMix64(seed)
        scan = Scan(
            channels: channels, states: states, isReversed: reversed, inputZeroPoint: 120, matrixZeroPoint: 131)
        x = TestTensor(TensorLayout(channels: channels, extent: extent, element: .u8, padX: 1), zeroPoint: 120)
        step = TestTensor(TensorLayout(channels: channels, extent: extent, element: .i16), zeroPoint: 0)
        matrices = TestTensor(TensorLayout(channels: 2 * states, extent: extent, element: .u8), zeroPoint: 131)
        x.randomize(&generator)
        matrices.randomize(&generator)
        let (values, layout) = (step, step.layout)
        forEachVoxel(layout) { c, z, y, x in values[c, z, y, x] = Int.random(in: steps, using: &generator) }
        output = TensorLayout(channels: channels, extent: extent, element: .i16)
        table = (0..<Scan.softplusEntries).map { i in
            UInt32((min(log1p(exp(Double(i * 128 - 32768) / 2048)), 16) * 0x1p20).rounded())
        }
        rates = (0..<(channels * states)).map { Double($0 % states + 1) }
        table += rates.map { UInt32(($0 * 1.4426950408889634 * 1024).rounded()) }
        skips = (0..<channels).map { Double($0) * 0.3 - 0.5 }
        // |h| stays below |b|·|x|·(1/|A| + Δ) = 131·0.01 · 135·0.02 · 1.5 = 5.3, or 2^28.7 units with k = 6.
        let k = 6.0
        let unit = inputScale * matrixScale * exp2(k - 20)
        outputScale = 6.0 / 32767
        let shift = 40.0
        for d in 0..<channels {
            let readOut = unit * 8192 * matrixScale / outputScale
            let direct = skips[d] * inputScale / outputScale
            let common = min(shift, 30 - floor(log2(max(readOut, abs(direct)))))
            for value in [k, (readOut * exp2(common)).rounded(), (direct * exp2(common)).rounded(), common] {
                table.append(UInt32(bitPattern: Int32(value)))
            }
        }
    }

    /// Runs in pieces of `chunk` tokens, the channels in two shares.
    func run(chunk: Int) -> TestTensor {
        let result = TestTensor(output, zeroPoint: 0)
        var state = [Int32](repeating: 0, count: scan.channels * scan.states)
        let layouts = Scan.Layouts(x: x.layout, step: step.layout, matrices: matrices.layout, output: output)
        table.withUnsafeBytes { table in
            state.withUnsafeMutableBufferPointer { state in
                let buffers = Scan.Buffers(
                    x: x.base, step: step.base, matrices: matrices.base, table: table.baseAddress!,
                    state: state.baseAddress!, output: result.base)
                let tokens = output.extent.voxels
                for start in stride(from: 0, to: tokens, by: chunk) {
                    let middle = scan.channels / 2
                    for channels in [0..<middle, middle..<scan.channels] {
                        scan.run(buffers, layouts, channels: channels, tokens: start..<min(start + chunk, tokens))
                    }
                }
            }
        }
        return result
    }

    /// Signal to noise of the output against the recurrence in double, dB.
    func sqnr(_ result: TestTensor) -> Double {
        let (extent, states) = (output.extent, scan.states)
        var (signal, noise) = (0.0, 0.0)
        for d in 0..<scan.channels {
            var h = [Double](repeating: 0, count: states)
            for order in 0..<extent.voxels {
                let t = scan.isReversed ? extent.voxels - 1 - order : order
                let at = (t / (extent.height * extent.width), t / extent.width % extent.height, t % extent.width)
                let delta = log1p(exp(Double(step[d, at.0, at.1, at.2]) / 2048))
                let input = Double(x[d, at.0, at.1, at.2] - 120) * inputScale
                var y = skips[d] * input
                for n in 0..<states {
                    let b = Double(matrices[n, at.0, at.1, at.2] - 131) * matrixScale
                    let c = Double(matrices[states + n, at.0, at.1, at.2] - 131) * matrixScale
                    h[n] = exp(-delta * rates[d * states + n]) * h[n] + delta * b * input
                    y += c * h[n]
                }
                signal += y * y
                let difference = Double(result[d, at.0, at.1, at.2]) * outputScale - y
                noise += difference * difference
            }
        }
        return 10 * log10(signal / noise)
    }
}

@Suite struct ScanTests {
    /// Every way to cut the sequence gives the same bits, and they follow the real recurrence by 65 dB and more.
    @Test(arguments: [false, true]) func chunksDoNotMatterAndTheNoiseIsSmall(_ reversed: Bool) {
        let fixture = ScanFixture(
            channels: 6, states: 5, extent: Extent(depth: 3, height: 5, width: 71), reversed: reversed,
            steps: -14_000...(-1000), seed: reversed ? 2 : 1)
        let whole = fixture.run(chunk: .max / 2)
        #expect(whole.guardsIntact)
        for chunk in [1, 7, 64, 213] { #expect(fixture.run(chunk: chunk).bytes == whole.bytes, "chunk \(chunk)") }
        let sqnr = fixture.sqnr(whole)
        #expect(sqnr >= 65, "\(sqnr) dB")
    }

    /// A state left alone dies away instead of freezing: rounding to nearest stops it below 0.5 / (1 - a) units.
    @Test func theDeadZoneIsNarrow() {
        let decay = UInt32((65536 * exp(-1e-3)).rounded())
        var h: Int32 = 1 << 30
        for _ in 0..<Int(log(0x1p30) / 1e-3) { h = Scan.decayed(h, decay) }
        #expect(Double(abs(h)) <= 0.5 / (1 - Double(decay) / 65536) + 1)
        h = -(1 << 30)
        for _ in 0..<Int(log(0x1p30) / 1e-3) { h = Scan.decayed(h, decay) }
        #expect(Double(abs(h)) <= 0.5 / (1 - Double(decay) / 65536) + 1)
    }

    @Test func decayIsExactlyRounded() {
        var generator = SplitMix64(3)
        for _ in 0..<20_000 {
            let h = Int32.random(in: -(1 << 30)...(1 << 30), using: &generator)
            let a = UInt32.random(in: 0...65536, using: &generator)
            #expect(Int64(Scan.decayed(h, a)) == (Int64(h) * Int64(a) + 32768) >> 16)
        }
    }

    /// Half a unit of 2^-16 for the rounding and 2^-20 for the three-word segments.
    @Test func exponentIsWithinItsBound() {
        for u in stride(from: UInt32(0), to: 20 << 16, by: 7) {
            let exact = 65536 * exp2(-Double(u) / 65536)
            #expect(abs(Double(Exponent.decay(u)) - exact) <= 0.5 + 0.0625)
        }
        #expect(Exponent.decay(0) == 65536)
    }
}
