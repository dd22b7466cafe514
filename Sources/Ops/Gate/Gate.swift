import COps
import FixedPoint

/// The output gate of a bidirectional state-space block: two i16 directions of one scale, and a u8 gate through a table of
/// 256 i16 values of silu:
///
///     y[c] = clamp(zeroPoint + requantize[c]((a + b) · table[z]))
///
/// The product is at most 2^31 in magnitude and is halved (rounded half up) to fit the accumulator. Each channel has its own
/// scale, which the next convolution's weights absorb.
public struct Gate: Equatable, Sendable {
    public static let tableBytes = 512

    public var channels: Int
    public var zeroPoint: UInt8

    public init(channels: Int, zeroPoint: UInt8) {
        self.channels = channels
        self.zeroPoint = zeroPoint
    }

    /// Where one gate reads and writes; `a` and `b` may be the same layout only.
    @unsafe public struct Buffers {
        public var a: UnsafeRawPointer
        public var b: UnsafeRawPointer
        public var z: UnsafeRawPointer
        public var table: UnsafePointer<Int16>
        public var channels: UnsafePointer<mk_channel>
        public var output: UnsafeMutableRawPointer

        public init(
            a: UnsafeRawPointer, b: UnsafeRawPointer, z: UnsafeRawPointer, table: UnsafePointer<Int16>,
            channels: UnsafePointer<mk_channel>, output: UnsafeMutableRawPointer
        ) {
            unsafe (self.a, self.b, self.z) = (a, b, z)
            unsafe (self.table, self.channels, self.output) = (table, channels, output)
        }
    }

    /// Rows `rows` (row = z · height + y), and the gaps around them.
    public func run(
        isa: ISA, _ buffers: Buffers, sumLayout: TensorLayout, gateLayout: TensorLayout, outputLayout: TensorLayout,
        rows: Range<Int>
    ) {
        var kernel = unsafe mk_gate(
            table: buffers.table, channels: buffers.channels, sum_stride: sumLayout.blockStride,
            gate_stride: gateLayout.blockStride, output_stride: outputLayout.blockStride,
            channel_count: Int32(channels), zero_point: Int32(zeroPoint))
        let width = Int32(truncatingIfNeeded: outputLayout.extent.width)
        for row in rows {
            let a = unsafe buffers.a + sumLayout.rowOffset(z: 0, y: row)
            let b = unsafe buffers.b + sumLayout.rowOffset(z: 0, y: row)
            let z = unsafe buffers.z + gateLayout.rowOffset(z: 0, y: row)
            let to = unsafe buffers.output + outputLayout.rowOffset(z: 0, y: row)
            switch isa.vectors {
            #if arch(x86_64)
                case .avx2: unsafe mk_gate_avx2(&kernel, a, b, z, to, width)
                case .avx512vnni: unsafe mk_gate_avx512vnni(&kernel, a, b, z, to, width)
            #elseif arch(arm64)
                case .neon: unsafe mk_gate_neon(&kernel, a, b, z, to, width)
            #endif
            default:
                for c in 0..<(outputLayout.blocks * 4) { unsafe portableRow(kernel, c, a, b, z, to, Int(width)) }
            }
            for block in 0..<outputLayout.blocks {
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: buffers.output, zeroPoint: zeroPoint)
            }
        }
    }

    /// One channel; those that do not exist get zeros.
    private func portableRow(
        _ kernel: mk_gate, _ c: Int, _ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ z: UnsafeRawPointer,
        _ to: UnsafeMutableRawPointer, _ width: Int
    ) {
        let sumAt = unsafe c / 2 * kernel.sum_stride + 2 * (c & 1)
        let (gateAt, outputAt) = unsafe (c / 4 * kernel.gate_stride + c % 4, c / 4 * kernel.output_stride + c % 4)
        for x in 0..<width {
            var code: UInt8 = 0
            if c < channels {
                let a = unsafe Int64(a.load(fromByteOffset: sumAt + 4 * x, as: Int16.self))
                let b = unsafe Int64(b.load(fromByteOffset: sumAt + 4 * x, as: Int16.self))
                let z = unsafe z.load(fromByteOffset: gateAt + 4 * x, as: UInt8.self)
                let product = unsafe ((a + b) &* Int64(kernel.table[Int(z)]) &+ 1) >> 1
                let p = unsafe kernel.channels[c]
                code = Requantizer(multiplier: p.multiplier, shift: p.shift)
                    .u8(Int32(truncatingIfNeeded: product), zeroPoint: Int32(zeroPoint))
            }
            unsafe to.storeBytes(of: code, toByteOffset: outputAt + 4 * x, as: UInt8.self)
        }
    }
}
