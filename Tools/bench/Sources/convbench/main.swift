// conv3d of this runtime against the instruction limit of the core it runs on. Limit and kernel alternate, because the
// speed of a shared machine drifts. Figures are the best of the rounds: a neighbour on the same core can only slow a round
// down, and it slows a kernel that loads and stores far more than the register-only limit. `median_ratio` is the median of pairs.
//
//     convbench [ROUNDS [CHANNELS DEPTH HEIGHT WIDTH DILATION]] > conv.json
import COps
import Glibc
import Ops

func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

/// One layer with buffers of its own.
final class Layer {
    let conv: Conv3D
    let input: TensorLayout
    let output: TensorLayout
    let source: UnsafeMutableRawBufferPointer
    let target: UnsafeMutableRawBufferPointer
    let weights: UnsafeMutableBufferPointer<Int8>
    let channels: UnsafeMutableBufferPointer<mk_channel>

    init(channels count: Int, extent: Extent, dilation: Int, element: ElementType) {
        conv = Conv3D(
            inChannels: count, outChannels: count, kernel: Extent(cube: 3), dilation: Extent(cube: dilation),
            padding: Extent(cube: dilation), inputElement: element, inputZeroPoint: 0, outputZeroPoint: 0,
            outputElement: element)
        input = TensorLayout(channels: count, extent: extent, element: element, padX: dilation)
        output = input
        source = .allocate(byteCount: input.byteCount, alignment: 64)
        target = .allocate(byteCount: output.byteCount, alignment: 64)
        weights = .allocate(capacity: conv.weightBytes)
        channels = .allocate(capacity: count)
        for i in source.indices { source[i] = UInt8(truncatingIfNeeded: i &* 37) }
        for i in weights.indices { weights[i] = Int8(truncatingIfNeeded: i &* 11 % 255 - 127) }
        for i in channels.indices { channels[i] = mk_channel(bias: 100, multiplier: 1 << 30, shift: 45, reserved: 0) }
        for i in target.indices { target[i] = 0 }
    }

    deinit {
        source.deallocate()
        target.deallocate()
        weights.deallocate()
        channels.deallocate()
    }

    var multiplyAdds: Double { Double(conv.multiplyAddsPerVoxel) * Double(input.extent.voxels) }

    func run(_ isa: ISA) -> Double {
        let buffers = Conv3DBuffers(
            input: source.baseAddress!, output: target.baseAddress!, weights: UnsafePointer(weights.baseAddress!),
            channels: UnsafePointer(channels.baseAddress!), paddingRow: nil)
        let start = seconds()
        conv.run(
            isa: isa, buffers: buffers, input: input, output: output, rows: 0..<output.extent.rows,
            outputExtent: output.extent)
        return multiplyAdds / (seconds() - start)
    }
}

let rounds = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 7 : 7
// MKEDGE_ISA forces one, as in the programs.
let forced = getenv("MKEDGE_ISA").map { String(cString: $0) }
let isa = ISA.allCases.first { "\($0.name)" == forced } ?? .best
let allShapes: [(Int, Extent, Int)] =
    [20, 32, 48, 64].map { ($0, Extent(cube: 64), 1) }
    + [(20, Extent(cube: 64), 4), (20, Extent(depth: 64, height: 64, width: 64), 16), (21, Extent(cube: 64), 2)]
    + [20, 32, 48, 64].map { ($0, Extent(depth: 37, height: 54, width: 45), 1) }
    + [(20, Extent(depth: 45, height: 54, width: 37), 1), (8, Extent(cube: 96), 1), (5, Extent(cube: 96), 1)]
// The same in 16 bits: half as many multiply-adds in an instruction.
let wideShapes: [(Int, Extent, Int)] = [(20, Extent(cube: 64), 1), (32, Extent(cube: 64), 1), (64, Extent(cube: 64), 1)]
let one = CommandLine.arguments.dropFirst(2).compactMap { Int($0) }
let shapes: [(Int, Extent, Int)] = one.count == 5
    ? [(one[0], Extent(depth: one[1], height: one[2], width: one[3]), one[4])] : allShapes

func limit(_ element: ElementType) -> Double {
    let isWide = element == .i16
    let start = seconds()
    let done: Int64
    switch isa {
    case .avx512vnni: done = isWide ? mk_limit_dot16_avx512vnni(3_000_000) : mk_limit_dot_avx512vnni(3_000_000)
    case .avx512vnni256: done = isWide ? mk_limit_dot16_avx512vnni256(6_000_000) : mk_limit_dot_avx512vnni256(6_000_000)
    case .avxvnni: done = isWide ? mk_limit_dot16_avxvnni(6_000_000) : mk_limit_dot_avxvnni(6_000_000)
    default: done = isWide ? mk_limit_dot16_avx2(6_000_000) : mk_limit_dot_avx2(6_000_000)
    }
    return Double(done) / (seconds() - start)
}

_ = limit(.u8)
var rows: [String] = []
let cases = shapes.map { ($0, ElementType.u8) } + (one.count == 5 ? [] : wideShapes.map { ($0, ElementType.i16) })
for ((count, extent, dilation), element) in cases {
    let layer = Layer(channels: count, extent: extent, dilation: dilation, element: element)
    _ = layer.run(isa)
    var speeds: [Double] = []
    var limits: [Double] = []
    var ratios: [Double] = []
    for _ in 0..<rounds {
        let bound = limit(element)
        let speed = layer.run(isa)
        limits.append(bound)
        speeds.append(speed)
        ratios.append(speed / bound)
    }
    rows.append(
        """
          {"channels": \(count), "depth": \(extent.depth), "height": \(extent.height), "width": \(extent.width), \
        "dilation": \(dilation), "bits": \(element == .u8 ? 8 : 16), "gmacs": \(speeds.max()! / 1e9), "limit": \(limits.max()! / 1e9), \
        "ratio": \(speeds.max()! / limits.max()!), "median_ratio": \(median(ratios))}
        """)
}
print("{\"isa\": \"\(isa.name)\", \"rounds\": \(rounds), \"rows\": [\n\(rows.joined(separator: ",\n"))\n]}")
