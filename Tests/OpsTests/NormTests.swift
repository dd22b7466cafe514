import COps
import FixedPoint
import Glibc
import TestSupport
import Testing

@testable import Ops

@Suite struct NormTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var channels: Int
        var groups: Int
        var extent: Extent
        var element: ElementType
        var zeroPoint: UInt8 = 0
        var spread: ClosedRange<Int> = -9000...7000
        var padX = 1
        var testDescription: String { "\(channels)/\(groups) \(extent) \(element) zp \(zeroPoint) \(spread)" }
    }

    static let cases: [Case] = {
        var all: [Case] = []
        for width in [1, 2, 15, 16, 17, 33, 70] {
            for channels in [1, 2, 3, 4, 5, 15] {
                all.append(
                    Case(
                        channels: channels, groups: channels, extent: Extent(depth: 3, height: 4, width: width),
                        element: channels % 2 == 0 ? .i16 : .u8, zeroPoint: channels % 2 == 0 ? 0 : UInt8(width)))
            }
        }
        all.append(Case(channels: 6, groups: 2, extent: Extent(cube: 7), element: .u8, zeroPoint: 128))
        all.append(Case(channels: 4, groups: 1, extent: Extent(cube: 9), element: .u8, zeroPoint: 3))
        // Two codes, one code, the ends of the range.
        all.append(Case(channels: 3, groups: 3, extent: Extent(cube: 6), element: .u8, zeroPoint: 100, spread: 4...5))
        all.append(Case(channels: 3, groups: 3, extent: Extent(cube: 6), element: .u8, zeroPoint: 100, spread: 7...7))
        all.append(
            Case(channels: 3, groups: 3, extent: Extent(cube: 6), element: .i16, spread: 32767...32767))
        all.append(
            Case(channels: 3, groups: 3, extent: Extent(cube: 6), element: .u8, zeroPoint: 128, spread: -32768...32767))
        return all
    }()

    static func channel(_ gain: Double, _ bias: Double, epsilon: Double) -> NormChannel {
        let exponent = Int32(30 - (gain == 0 ? 0 : Int(log2(abs(gain)).rounded(.down))))
        let epsilonExponent = Int32(30 - Int(log2(epsilon).rounded(.down)))
        return NormChannel(
            gain: Int32((gain * exp2(Double(exponent))).rounded()), gainShift: exponent,
            bias: Int32((bias * 65536).rounded()), epsilon: UInt32((epsilon * exp2(Double(epsilonExponent))).rounded()),
            epsilonShift: epsilonExponent)
    }

    private func run(_ norm: Norm, _ isa: ISA, _ input: TestTensor, _ output: TestTensor, _ channels: [NormChannel]) {
        let layout = input.layout
        var sums = [NormSums](repeating: NormSums(), count: norm.channels)
        // Two shares of the rows, as two threads would have.
        let middle = layout.extent.rows / 3
        for rows in [0..<middle, middle..<layout.extent.rows] {
            norm.addSums(isa: isa, input: input.base, layout: layout, rows: rows, sums: &sums)
        }
        var affines = [mk_affine](repeating: mk_affine(), count: norm.channels + 4)
        norm.affines(sums: sums, parameters: { channels[$0] }, into: &affines)
        norm.apply(
            isa: isa, affines: affines, input: input.base, inputLayout: layout, output: output.base,
            outputLayout: output.layout, rows: 0..<layout.extent.rows)
    }

    /// Within the rounding of the output (0.5) and of the scale (2^-29 relative) of the exact value, all instruction sets alike.
    @Test(arguments: cases) func equalsTheRealNormalization(_ test: Case) {
        var generator = SplitMix64(UInt64(test.channels * 1000 + test.extent.width))
        let input = TestTensor(
            TensorLayout(channels: test.channels, extent: test.extent, element: .i16, padX: 2), zeroPoint: 0)
        forEachVoxel(input.layout) { c, z, y, x in
            input[c, z, y, x] = Int.random(in: test.spread, using: &generator)
        }
        let isWide = test.element == .i16
        let epsilon = 0.37
        let unit: Double = isWide ? 4000 : 31
        var parameters: [(gain: Double, bias: Double)] = []
        for c in 0..<test.channels {
            let gain = Double(c % 3 - 1) * unit + 0.5
            parameters.append((gain, Double(c) * 2.25 - 3))
        }
        let channels = parameters.map { Self.channel($0.gain, $0.bias, epsilon: epsilon) }
        let norm = Norm(
            channels: test.channels, groups: test.groups, outputElement: test.element, zeroPoint: test.zeroPoint)
        let layout = TensorLayout(
            channels: test.channels, extent: test.extent, element: test.element, padX: test.padX)
        var first: [UInt8]?
        for isa in ISA.allCases where isa.isSupported {
            let output = TestTensor(layout, zeroPoint: 0x5A)
            run(norm, isa, input, output, channels)
            #expect(output.guardsIntact)
            if let first { #expect(output.bytes == first, "\(isa)") } else { first = output.bytes }
            guard isa == .portable else { continue }
            let perGroup = test.channels / test.groups
            for group in 0..<test.groups {
                let (mean, deviation) = moments(input, group * perGroup, perGroup, epsilon)
                forEachVoxel(layout) { c, z, y, x in
                    guard c / perGroup == group else { return }
                    let normalized = (Double(input[c, z, y, x]) - mean) / deviation
                    let exact = Double(test.zeroPoint) + parameters[c].bias + normalized * parameters[c].gain
                    let low: Double = isWide ? -32768 : 0
                    let high: Double = isWide ? 32767 : 255
                    let error = abs(Double(output[c, z, y, x]) - min(max(exact, low), high))
                    // One step of the cut product is 2^-fraction of a code; the fraction has at least 6 bits here.
                    #expect(error <= 0.5 + 0.04, "\(c) \(exact)")
                }
            }
        }
    }

    private func moments(
        _ input: TestTensor, _ first: Int, _ count: Int, _ epsilon: Double
    ) -> (mean: Double, deviation: Double) {
        var values: [Double] = []
        forEachVoxel(input.layout) { c, z, y, x in
            if c >= first && c < first + count { values.append(Double(input[c, z, y, x])) }
        }
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
        return (mean, (variance + epsilon).squareRoot())
    }

    @Test func squareRootIsTheFloor() {
        var generator = SplitMix64(3)
        var values: [UInt64] = [1 << 60, (1 << 62) - 1, 1 << 61]
        for _ in 0..<20_000 {
            let root = UInt64.random(in: (1 << 30)..<(1 << 31), using: &generator)
            values += [root * root, root * root + 2 * root, .random(in: (1 << 60)..<(1 << 62), using: &generator)]
        }
        for v in values {
            let root = NormScale.squareRoot(v)
            guard root * root <= v, v < (root + 1) * (root + 1) else {
                Issue.record("⌊√\(v)⌋ is not \(root)")
                return
            }
        }
    }

    /// The largest sums that a volume can have: more than 32 bits hold.
    @Test func statisticsOfManyRows() {
        let layout = TensorLayout(channels: 2, extent: Extent(depth: 1, height: 70_000, width: 16), element: .i16)
        let input = TestTensor(layout, zeroPoint: 0)
        for row in 0..<layout.extent.rows {
            let words = input.base + layout.rowOffset(z: 0, y: row)
            for x in 0..<16 { words.storeBytes(of: 0x7FFF_8000, toByteOffset: 4 * x, as: UInt32.self) }
        }
        let norm = Norm(channels: 2, groups: 1, outputElement: .u8, zeroPoint: 0)
        let count: Int64 = 70_000 * 16
        for isa in ISA.allCases where isa.isSupported {
            var sums = [NormSums](repeating: NormSums(), count: 2)
            norm.addSums(isa: isa, input: input.base, layout: layout, rows: 0..<layout.extent.rows, sums: &sums)
            #expect(sums[0] == NormSums(count: count, sum: count * -32768, squares: count << 30), "\(isa)")
            #expect(sums[1] == NormSums(count: count, sum: count * 32767, squares: count * 32767 * 32767), "\(isa)")
        }
    }

    /// The scale of a voxel by every instruction set: any size of variance, and around squares, where a root that is off by one
    /// shows.
    @Test func rootsAreThoseOfTheDefinition() {
        var random = SplitMix64(11)
        var variances: [Int64] = [1, 2, 3, 4, (1 << 60) - 1, 1 << 60, (1 << 61) - 1, 1 << 61, (1 << 62) - 1]
        for bits in 0..<62 {
            let top = UInt64(1) << UInt64(bits)
            for _ in 0..<300 { variances.append(Int64(top | random.next() & (top - 1))) }
        }
        for _ in 0..<20000 {
            let root = Int64(random.next() & 0x3FFF_FFFF) + 1 << 30
            variances += [root * root - 1, root * root, root * root + 1, root * root + 2 * root]
        }
        for isa in ISA.allCases where isa.isSupported && isa != .portable {
            for first in stride(from: 0, to: variances.count, by: 61) {
                let some = Array(variances[first..<min(first + 61, variances.count)])
                let (expected, found) = (Self.roots(.portable, some), Self.roots(isa, some))
                #expect(found == expected, "\(isa), variances \(some)")
            }
        }
    }

    private static func roots(_ isa: ISA, _ variances: [Int64]) -> [Int32] {
        var variances = variances + [Int64](repeating: 0, count: 64 - variances.count)
        let count = variances.firstIndex(of: 0)!
        var words = [Int32](repeating: 0, count: 192)
        variances.withUnsafeMutableBufferPointer { variances in
            words.withUnsafeMutableBufferPointer { words in
                let base = words.baseAddress!
                var kernel = mk_layer_norm(
                    constants: nil, epsilon: 1, channels: 1, zero_point: 0, sums: base,
                    variances: variances.baseAddress!, reciprocals: base + 64, shifts: base + 128)
                LayerNorm.roots(isa, &kernel, count)
            }
        }
        return Array(words[64..<(64 + count)]) + words[128..<(128 + count)]
    }
}
