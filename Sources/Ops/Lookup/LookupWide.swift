import COps

/// Table look-up from 16-bit codes, computed by the converter in double precision. What an activation reads is then rounded once, at
/// its output, and not before.
///
/// To bytes: `y = table[(code + 2^15) >> 4]`, 4096 of them. To 16 bits: straight lines between 4097 values, with i and f the upper 12
/// and the lower 4 bits of code + 2^15,
///
///     y = (table[i] · (16 - f) + table[i + 1] · f + 8) >> 4
///
/// a mean of two entries, so that no sum leaves 20 bits. The shape stays; two i16 blocks make one u8 block. Bytes of absent channels
/// are 0.
public struct LookupWide: Sendable {
    public static let indexShift = 4
    public static let entries = 4096

    public static func tableBytes(_ output: ElementType) -> Int { output == .u8 ? entries : 2 * (entries + 1) }

    public init() {}

    /// Rows `rows` (row = z · height + y) of every block, and the gaps around them.
    public func run(
        isa: ISA, table: UnsafePointer<UInt8>, input: UnsafeRawPointer, inputLayout: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, zeroPoint: UInt8, rows: Range<Int>
    ) {
        guard outputLayout.element == .u8 else {
            let table = unsafe UnsafeRawPointer(table).assumingMemoryBound(to: Int16.self)
            return unsafe run(
                isa: isa, table: table, input: input, inputLayout: inputLayout, output: output,
                outputLayout: outputLayout,
                rows: rows)
        }
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

    // MARK: To 16 bits

    private func run(
        isa: ISA, table: UnsafePointer<Int16>, input: UnsafeRawPointer, inputLayout: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        let width = outputLayout.extent.width
        for row in rows {
            for block in 0..<outputLayout.blocks {
                let from = unsafe input + inputLayout.rowOffset(block: block, z: 0, y: row)
                let to = unsafe output + outputLayout.rowOffset(block: block, z: 0, y: row)
                let kept: UInt32 = outputLayout.channels > 2 * block + 1 ? .max : 0xFFFF
                switch isa.vectors {
                #if arch(x86_64)
                    case .avx2: unsafe mk_lookup_fine_avx2(table, from, to, Int32(width), kept)
                    case .avx512vnni: unsafe mk_lookup_fine_avx512vnni(table, from, to, Int32(width), kept)
                #endif
                default: unsafe Self.lines(table, from, to, width, mask: kept)
                }
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: 0)
            }
        }
    }

    private static func lines(
        _ table: UnsafePointer<Int16>, _ from: UnsafeRawPointer, _ to: UnsafeMutableRawPointer, _ width: Int,
        mask: UInt32
    ) {
        let from = unsafe from.assumingMemoryBound(to: UInt32.self)
        let to = unsafe to.assumingMemoryBound(to: UInt32.self)
        for x in 0..<width {
            let words = unsafe from[x] ^ 0x8000_8000
            let (low, high) = unsafe (line(table, words & 0xFFFF), line(table, words >> 16))
            unsafe to[x] = (low | high << 16) & mask
        }
    }

    /// - Parameter index: code + 2^15.
    private static func line(_ table: UnsafePointer<Int16>, _ index: UInt32) -> UInt32 {
        let (i, f) = (Int(index >> 4), Int32(index & 15))
        let sum = unsafe Int32(table[i]) &* (16 &- f) &+ Int32(table[i + 1]) &* f &+ 8
        return UInt32(truncatingIfNeeded: sum >> 4) & 0xFFFF
    }
}
