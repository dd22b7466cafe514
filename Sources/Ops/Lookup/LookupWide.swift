import COps

/// Table look-up from 16-bit codes to bytes: `y = table[(code + 2^15) >> 4]`, 4096 entries computed by the converter in double
/// precision. What an activation reads is then rounded once, at its output, and not before.
///
/// The shape stays; two i16 blocks make one u8 block. Bytes of absent channels are 0.
public struct LookupWide: Sendable {
    public static let tableBytes = 4096
    public static let indexShift = 4

    public init() {}

    /// Rows `rows` (row = z · height + y) of every block, and the gaps around them.
    public func run(
        isa: ISA, table: UnsafePointer<UInt8>, input: UnsafeRawPointer, inputLayout: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, zeroPoint: UInt8, rows: Range<Int>
    ) {
        for row in rows {
            for block in 0..<outputLayout.blocks {
                let low = unsafe input + inputLayout.rowOffset(block: 2 * block, z: 0, y: row)
                let hasHigh = 2 * block + 1 < inputLayout.blocks
                let high = unsafe hasHigh ? low + inputLayout.blockStride : low
                let real = min(4, outputLayout.channels - 4 * block)
                let to = unsafe output + outputLayout.rowOffset(block: block, z: 0, y: row)
                let (width, kept) = (outputLayout.extent.width, UInt32.max >> (32 - 8 * UInt32(real)))
                switch isa.vectors {
                #if arch(x86_64)
                    case .avx2: unsafe mk_lookup_wide_avx2(table, low, high, to, Int32(width), kept)
                    case .avx512vnni: unsafe mk_lookup_wide_avx512vnni(table, low, high, to, Int32(width), kept)
                #endif
                default: unsafe Self.words(table, low, high, to, width, mask: kept)
                }
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    /// Four look-ups per voxel: on ARM, which gathers nothing, as fast as any.
    private static func words(
        _ table: UnsafePointer<UInt8>, _ low: UnsafeRawPointer, _ high: UnsafeRawPointer,
        _ to: UnsafeMutableRawPointer, _ width: Int, mask: UInt32
    ) {
        let (low, high) = unsafe (low.assumingMemoryBound(to: UInt32.self), high.assumingMemoryBound(to: UInt32.self))
        let to = unsafe to.assumingMemoryBound(to: UInt32.self)
        for x in 0..<width {
            // Adding 2^15 to a 16-bit code is flipping its sign bit.
            let (a, b) = unsafe (low[x] ^ 0x8000_8000, high[x] ^ 0x8000_8000)
            let first = unsafe UInt32(table[Int((a & 0xFFFF) >> 4)]) | UInt32(table[Int(a >> 20)]) << 8
            let second = unsafe UInt32(table[Int((b & 0xFFFF) >> 4)]) | UInt32(table[Int(b >> 20)]) << 8
            unsafe to[x] = (first | second << 16) & mask
        }
    }
}
