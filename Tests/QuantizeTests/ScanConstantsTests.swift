import Glibc
import GraphIR
import Ops
import TestSupport
import Testing

@testable import Quantize

/// A scan in double on integer codes, and the converter's constants for it.
struct CalibratedScan {
    let channels = 16
    let states = 8
    let extent = Extent(depth: 8, height: 16, width: 32)
    let x: TestTensor
    let step: TestTensor
    let matrices: TestTensor
    let op: SelectiveScan
    let inputScale: Float = 0.02
    let matrixScale: Float = 0.01 / 256
    var exact: [Double] = []
    var peaks: [ScanPeaks] = []

    /// - Parameter steps: each channel's typical Δ is drawn from this range.
    init(steps: ClosedRange<Double>, reversed: Bool, seed: UInt64) {
        var generator = SplitMix64(seed)
        x = TestTensor(TensorLayout(channels: channels, extent: extent, element: .u8), zeroPoint: 120)
        step = TestTensor(TensorLayout(channels: channels, extent: extent, element: .i16), zeroPoint: 0)
        matrices = TestTensor(TensorLayout(channels: 2 * states, extent: extent, element: .i16), zeroPoint: 0)
        func normal() -> Double {
            var sum = -6.0
            for _ in 0..<12 { sum += Double.random(in: 0...1, using: &generator) }
            return sum
        }
        let (x, matrices) = (x, matrices)
        forEachVoxel(x.layout) { c, z, y, i in x[c, z, y, i] = min(max(120 + Int(40 * normal()), 0), 255) }
        // Eight-bit values in 16-bit codes, as the published figures have them.
        forEachVoxel(matrices.layout) { c, z, y, i in
            matrices[c, z, y, i] = min(max(Int(40 * normal()), -127), 127) * 256
        }
        let typical = (0..<channels).map { _ in
            exp(Double.random(in: log(steps.lowerBound)...log(steps.upperBound), using: &generator))
        }
        let step = step
        forEachVoxel(step.layout) { c, z, y, x in
            let v: Double = log(expm1(typical[c])) + 0.5 * normal()
            step[c, z, y, x] = Int((v * 2048).rounded())
        }
        let (channels, states) = (channels, states)
        op = SelectiveScan(
            states: states, reversed: reversed, a: (0..<(channels * states)).map { -Float($0 % states + 1) },
            skip: [Float](repeating: 0.01, count: channels))
        run()
    }

    private mutating func run() {
        exact = [Double](repeating: 0, count: channels * extent.voxels)
        for d in 0..<channels {
            var h = [Double](repeating: 0, count: states)
            var peak = ScanPeaks()
            for order in 0..<extent.voxels {
                let t = op.reversed ? extent.voxels - 1 - order : order
                let at = (t / (extent.height * extent.width), t / extent.width % extent.height, t % extent.width)
                let v = Double(step[d, at.0, at.1, at.2]) / 2048
                let delta = log1p(exp(v))
                let input = Double(x[d, at.0, at.1, at.2] - 120) * Double(inputScale)
                var y = Double(op.skip[d]) * input
                for n in 0..<states {
                    let b = Double(matrices[n, at.0, at.1, at.2]) * Double(matrixScale)
                    let c = Double(matrices[states + n, at.0, at.1, at.2]) * Double(matrixScale)
                    h[n] = exp(delta * Double(op.a[d * states + n])) * h[n] + delta * b * input
                    y += c * h[n]
                    peak.state = max(peak.state, abs(h[n]))
                }
                peak.step = max(peak.step, v)
                peak.injection = max(peak.injection, abs(delta * input))
                exact[d * extent.voxels + t] = y
            }
            peaks.append(peak)
        }
    }

    /// Signal to noise of the integer scan, dB.
    func sqnr() throws -> Double {
        let most = exact.map(abs).max()!
        let output = ValueCoding.wide(high: [Float(most * 1.1)])
        let coding = { (scale: Float, zero: UInt8) in ValueCoding(scales: [scale], zeroPoint: zero, low: -1, high: 1) }
        let constants = ScanConstants(
            scan: op, x: coding(inputScale, 120), step: coding(0x1p-11, 0), matrices: coding(matrixScale, 0),
            output: output, peaks: peaks, layer: "scan")
        let table = try constants.bytes(channels: channels)
        // Inputs in scales that the constants do not stand for are an error of the converter.
        var uneven = [Float](repeating: matrixScale, count: 2 * states)
        uneven[states - 1] *= 2
        let wrong = ScanConstants(
            scan: op, x: coding(inputScale, 120), step: coding(0x1p-11, 0),
            matrices: ValueCoding(scales: uneven, zeroPoint: 0, low: -1, high: 1), output: output, peaks: peaks,
            layer: "scan")
        #expect(throws: QuantizeError.self) { try wrong.bytes(channels: channels) }
        let scan = Scan(
            channels: channels, states: states, isReversed: op.reversed, inputZeroPoint: 120)
        #expect(table.count == scan.tableBytes)
        let result = TestTensor(TensorLayout(channels: channels, extent: extent, element: .i16), zeroPoint: 0)
        var state = [Int32](repeating: 0, count: scan.stateBytes / 4)
        var scratch = [UInt64](repeating: 0, count: scan.chunkBytes / 8)
        let layouts = Scan.Layouts(x: x.layout, step: step.layout, matrices: matrices.layout, output: result.layout)
        table.withUnsafeBytes { table in
            state.withUnsafeMutableBufferPointer { state in
                scratch.withUnsafeMutableBytes { scratch in
                    scan.reset(state.baseAddress!)
                    let buffers = Scan.Buffers(
                        x: x.base, step: step.base, matrices: matrices.base, table: table.baseAddress!,
                        state: state.baseAddress!, output: result.base)
                    scan.run(
                        isa: .best, buffers, layouts, groups: 0..<scan.groups, tokens: 0..<extent.voxels,
                        scratch: scratch.baseAddress!)
                }
            }
        }
        var (signal, noise) = (0.0, 0.0)
        forEachVoxel(result.layout) { c, z, y, x in
            let wanted = exact[c * extent.voxels + (z * extent.height + y) * extent.width + x]
            let found = Double(result[c, z, y, x]) * Double(output.scale(c))
            signal += wanted * wanted
            noise += (found - wanted) * (found - wanted)
        }
        return 10 * log10(signal / noise)
    }
}

@Suite struct ScanConstantsTests {
    /// 65 dB and more against the recurrence in double on the same codes, from slow channels to fast ones.
    @Test(arguments: [1e-4...1e-2, 1e-3...1e-1, 0.02...0.5, 1e-4...0.1], [false, true])
    func theNoiseIsSmall(_ steps: ClosedRange<Double>, _ reversed: Bool) throws {
        let sqnr = try CalibratedScan(steps: steps, reversed: reversed, seed: reversed ? 2 : 1).sqnr()
        print("scan, Δ in \(steps): \(sqnr) dB")
        #expect(sqnr >= 65)
    }
}
