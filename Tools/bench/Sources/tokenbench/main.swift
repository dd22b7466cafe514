// Selective scan (64 channels, 16 states) and KAN layer (64 to 64) of this runtime on SIDE^3 tokens (32^3 = 32,768), one thread, beside
// float32 in C. Everything alternates; figures are the best of the rounds.
//
//     tokenbench [ROUNDS [SIDE]] > tokens.json
import COps
import CPeers
import Glibc
import Ops

// MKEDGE_ISA forces one, as in the programs.
let forced = getenv("MKEDGE_ISA").map { String(cString: $0) }
let isa = ISA.allCases.first { "\($0.name)" == forced } ?? .best

func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

func timed(_ body: () -> Void) -> Double {
    let start = seconds()
    body()
    return seconds() - start
}

let rounds = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 9 : 9
let (channels, states) = (64, 16)
let extent = Extent(cube: CommandLine.arguments.count > 2 ? Int(CommandLine.arguments[2]) ?? 32 : 32)
let tokens = extent.voxels
var generator = SystemRandomNumberGenerator()

func memory(_ bytes: Int) -> UnsafeMutableRawPointer {
    let pointer = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
    pointer.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    return pointer
}

// MARK: Scan

/// Steps around softplus(-4) = 0.018, rates 1 ... 16: everything from u8 x, i16 steps and i16 matrices to i16 output.
struct IntegerScan {
    let scan = Scan(channels: channels, states: states, isReversed: false, inputZeroPoint: 128)
    let layouts = Scan.Layouts(
        x: TensorLayout(channels: channels, extent: extent, element: .u8),
        step: TensorLayout(channels: channels, extent: extent, element: .i16),
        matrices: TensorLayout(channels: 2 * states, extent: extent, element: .i16),
        output: TensorLayout(channels: channels, extent: extent, element: .i16))
    let buffers: Scan.Buffers
    let scratch: UnsafeMutableRawPointer

    init() {
        let (x, step) = (memory(layouts.x.byteCount), memory(layouts.step.byteCount))
        let matrices = memory(layouts.matrices.byteCount)
        for i in 0..<layouts.x.byteCount { x.storeBytes(of: UInt8.random(in: 0...255), toByteOffset: i, as: UInt8.self) }
        for i in 0..<(layouts.step.byteCount / 2) {
            step.storeBytes(of: Int16.random(in: -10_000 ... -6_000), toByteOffset: 2 * i, as: Int16.self)
        }
        for i in 0..<(layouts.matrices.byteCount / 2) {
            matrices.storeBytes(of: Int16.random(in: -32_000...32_000), toByteOffset: 2 * i, as: Int16.self)
        }
        var table = (0..<Scan.softplusEntries).map { UInt32((log1p(exp(Double($0 * 128 - 32768) / 2048)) * 0x1p27).rounded()) }
        table += [0, 0, 0]
        for _ in 0..<scan.groups {
            // 18 fraction bits in Δ, 11 in the rate, 3 integer bits.
            for value in [9, 8, 3, 1 << 30, 1 << 20, 45] { table += [UInt32](repeating: UInt32(value), count: 16) }
            for pair in 0..<(states / 2) {
                let rates = (0..<2).map { UInt32((Double(2 * pair + $0 + 1) * 1.4427 * 2048).rounded()) }
                table += [UInt32](repeating: rates[0] | rates[1] << 16, count: 16)
            }
        }
        let words = memory(4 * table.count)
        words.copyMemory(from: table, byteCount: 4 * table.count)
        buffers = Scan.Buffers(
            x: x, step: step, matrices: matrices, table: words,
            state: memory(scan.stateBytes).assumingMemoryBound(to: Int32.self),
            output: memory(layouts.output.byteCount))
        scratch = memory(scan.chunkBytes)
    }

    func run() {
        scan.reset(buffers.state)
        scan.run(isa: isa, buffers, layouts, groups: 0..<scan.groups, tokens: 0..<tokens, scratch: scratch)
    }
}

func floats(_ count: Int, _ range: ClosedRange<Float>) -> UnsafeMutablePointer<Float> {
    let result = memory(4 * count).assumingMemoryBound(to: Float.self)
    for i in 0..<count { result[i] = Float.random(in: range) }
    return result
}

let rates = floats(channels * states, 0...1)
for i in 0..<(channels * states) { rates[i] = -Float(i / channels + 1) }
var float = float_scan(
    x: floats(tokens * channels, -1...1), dt: floats(tokens * channels, 0.005...0.05), A: rates,
    B: floats(tokens * states, -1...1), C: floats(tokens * states, -1...1),
    state: floats(channels * states, 0...0), y: floats(tokens * channels, 0...0),
    tokens: Int32(tokens), channels: Int32(channels), states: Int32(states))

// MARK: KAN

/// u8 codes to u8 codes: basis (8 splines and a SiLU per input), then one pointwise convolution.
struct IntegerKAN {
    let basis = KANBasis(channels: channels, outputs: 9)
    let conv = Conv3D(
        inChannels: 9 * channels, outChannels: channels, kernel: Extent(cube: 1), dilation: Extent(cube: 1),
        padding: Extent(cube: 0), inputZeroPoint: 0, outputZeroPoint: 128, outputElement: .u8)
    let input = TensorLayout(channels: channels, extent: extent, element: .u8)
    /// Of the basis at a time: 128 KiB.
    let rows = TensorLayout(
        channels: 9 * channels,
        extent: Extent(depth: 1, height: min(extent.rows, (1 << 17) / (9 * channels * extent.width)), width: extent.width),
        element: .u8)
    let (source, middle, target, table, weights): (
        UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer,
        UnsafeMutableRawPointer
    )
    let parameters: UnsafeMutablePointer<mk_channel>

    init() {
        (source, middle, target) = (memory(input.byteCount), memory(rows.byteCount), memory(input.byteCount))
        for i in 0..<input.byteCount { source.storeBytes(of: UInt8.random(in: 0...255), toByteOffset: i, as: UInt8.self) }
        (table, weights) = (memory(256 * 9), memory(conv.weightBytes))
        for i in 0..<(256 * 9) { table.storeBytes(of: Self.basisCode(i / 9, i % 9), toByteOffset: i, as: UInt8.self) }
        // Bell-shaped, as trained weights are.
        for i in 0..<conv.weightBytes {
            weights.storeBytes(of: (0..<4).reduce(Int8(0)) { sum, _ in sum + .random(in: -31...31) }, toByteOffset: i, as: Int8.self)
        }
        parameters = .allocate(capacity: channels)
        parameters.initialize(
            repeating: mk_channel(bias: 0, multiplier: 1 << 30, shift: 45, reserved: 0), count: channels)
    }

    /// Eight cubic B-splines on cells of sixteen codes, then a ramp.
    private static func basisCode(_ code: Int, _ k: Int) -> UInt8 {
        guard k < 8 else { return UInt8(code) }
        let u = abs(Double(code - 64 - 16 * k) / 16)
        let spline = u < 1 ? 2.0 / 3 - u * u * (1 - u / 2) : u < 2 ? (2 - u) * (2 - u) * (2 - u) / 6 : 0
        return UInt8((spline * 255 * 1.5).rounded())
    }

    /// Some rows at a time, as the runtime does it.
    func run() {
        for first in stride(from: 0, to: extent.rows, by: rows.extent.height) {
            let count = min(rows.extent.height, extent.rows - first)
            basis.run(
                isa: isa, table: table.assumingMemoryBound(to: UInt8.self), input: source + first * input.rowPitch,
                inputLayout: input, output: middle, outputLayout: rows, rows: 0..<count)
            let buffers = Conv3DBuffers(
                input: middle, output: target + first * input.rowPitch,
                weights: UnsafePointer(weights.assumingMemoryBound(to: Int8.self)),
                channels: UnsafePointer(parameters), paddingRow: nil)
            conv.run(
                isa: isa, buffers: buffers, input: rows, output: input, rows: 0..<count,
                outputExtent: Extent(depth: 1, height: count, width: extent.width))
        }
    }
}

/// The same layer by tables per edge, and the same bytes.
struct EdgeTables {
    let layer: IntegerKAN
    let edges: KANEdges
    let tables: UnsafeMutableRawPointer
    let target: UnsafeMutableRawPointer

    init(_ layer: IntegerKAN) {
        self.layer = layer
        edges = KANEdges(basis: layer.basis, conv: layer.conv)
        (tables, target) = (memory(edges.byteCount), memory(layer.input.byteCount))
        let basisTable = UnsafePointer(layer.table.assumingMemoryBound(to: UInt8.self))
        let weights = UnsafePointer(layer.weights.assumingMemoryBound(to: Int8.self))
        precondition(edges.fits(table: basisTable, weights: weights), "the tables have more than 16 bits")
        edges.build(table: basisTable, weights: weights, into: tables)
        layer.run()
        run()
        precondition(memcmp(target, layer.target, tokens * channels) == 0, "tables and convolution differ")
    }

    func run() {
        edges.run(
            isa: isa, memory: tables, channels: layer.parameters, input: layer.source, inputLayout: layer.input,
            output: target, outputLayout: layer.input, rows: 0..<extent.rows)
    }
}

let (scan, kan) = (IntegerScan(), IntegerKAN())
let edges = EdgeTables(kan)
var best: [String: Double] = [:]
for _ in 0..<rounds {
    let round = [
        "scan": timed(scan.run), "kan": timed(kan.run), "kan_tables": timed(edges.run),
        "scan_avx512_f32": timed { if float_scan_avx512(&float, 128) == 0 { best["scan_avx512_f32"] = 0 } },
        "scan_avx512_f32_whole": timed { _ = float_scan_avx512(&float, Int32(tokens)) },
    ]
    for (name, time) in round { best[name] = min(best[name] ?? .infinity, time) }
}
for _ in 0..<2 { best["scan_plain_f32"] = min(best["scan_plain_f32"] ?? .infinity, timed { float_scan_plain(&float) }) }
let updates = Double(tokens * channels * states)
print("{\"isa\": \"\(isa.name)\", \"rounds\": \(rounds), \"state_updates\": \(Int(updates)),")
print(" \"kan_edges\": \(tokens * channels * channels),")
print(best.sorted { $0.key < $1.key }.map { " \"\($0.key)_ms\": \($0.value * 1e3)" }.joined(separator: ",\n"))
print("}")
