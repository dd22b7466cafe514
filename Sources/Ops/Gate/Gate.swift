import COps
import FixedPoint

/// The output gate of a bidirectional state-space block: two i16 directions of one scale, and a u8 gate through a table of
/// 256 i16 values of silu:
///
///     y[c] = clamp(zeroPoint + requantize[c]((a + b) · table[z]))
///
/// The product is below 2^32 in magnitude and is halved (rounded half up) to fit the accumulator. Each channel has its own
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
        _ buffers: Buffers, sumLayout: TensorLayout, gateLayout: TensorLayout, outputLayout: TensorLayout,
        rows: Range<Int>
    ) {
        for row in rows {
            for block in 0..<outputLayout.blocks {
                let to = outputLayout.rowOffset(block: block, z: 0, y: row)
                let from = gateLayout.rowOffset(block: block, z: 0, y: row)
                for lane in 0..<4 {
                    let c = block * 4 + lane
                    let sumRow = sumLayout.rowOffset(block: c / 2, z: 0, y: row) + 2 * (c & 1)
                    for x in 0..<outputLayout.extent.width {
                        var code: UInt8 = 0
                        if c < channels {
                            let a = unsafe Int64(buffers.a.load(fromByteOffset: sumRow + 4 * x, as: Int16.self))
                            let b = unsafe Int64(buffers.b.load(fromByteOffset: sumRow + 4 * x, as: Int16.self))
                            let z = unsafe buffers.z.load(fromByteOffset: from + 4 * x + lane, as: UInt8.self)
                            let product = unsafe ((a + b) &* Int64(buffers.table[Int(z)]) &+ 1) >> 1
                            let p = unsafe buffers.channels[c]
                            code = Requantizer(multiplier: p.multiplier, shift: p.shift)
                                .u8(Int32(truncatingIfNeeded: product), zeroPoint: Int32(zeroPoint))
                        }
                        unsafe buffers.output.storeBytes(of: code, toByteOffset: to + 4 * x + lane, as: UInt8.self)
                    }
                }
                unsafe outputLayout.fillGapsAround(
                    row: row, block: block, base: buffers.output, zeroPoint: zeroPoint)
            }
        }
    }
}
