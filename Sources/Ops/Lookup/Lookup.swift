import COps

/// Table look-up: every unary activation on u8 codes (ELU, GELU, sigmoid, …) is `y = table[x]`.
///
/// The 256 entries are computed by the converter in double precision and rounded once, so the error is output
/// rounding only. Input and output are u8 layouts of the same shape and may be the same buffer.
public struct Lookup: Sendable {
    public static let tableBytes = 256

    public init() {}

    /// Maps rows `rows` (row = z · height + y) of every block, and writes `zeroPoint` into the output's gaps.
    ///
    /// Bytes of absent channels go through the table too; nothing reads them.
    public func run(
        isa: ISA, table: UnsafePointer<UInt8>, input: UnsafeRawPointer, inputLayout: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, zeroPoint: UInt8, rows: Range<Int>
    ) {
        let width = Int32(truncatingIfNeeded: outputLayout.extent.width)
        let blocks = Int32(truncatingIfNeeded: inputLayout.blocks)
        let (strideIn, strideOut) = (inputLayout.blockStride, outputLayout.blockStride)
        for row in rows {
            let from = unsafe input + inputLayout.rowOffset(z: 0, y: row)
            let to = unsafe output + outputLayout.rowOffset(z: 0, y: row)
            switch isa.vectors {
            #if arch(x86_64)
                case .avx2: unsafe mk_lookup_avx2(table, from, strideIn, to, strideOut, width, blocks)
                case .avx512vnni: unsafe mk_lookup_avx512vnni(table, from, strideIn, to, strideOut, width, blocks)
            #elseif arch(arm64)
                case .neon: unsafe mk_lookup_neon(table, from, strideIn, to, strideOut, width, blocks)
            #endif
            default:
                for block in 0..<Int(blocks) {
                    unsafe Self.portable(table, from + block * strideIn, to + block * strideOut, 4 * Int(width))
                }
            }
            for block in 0..<inputLayout.blocks {
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    private static func portable(
        _ table: UnsafePointer<UInt8>, _ from: UnsafeRawPointer, _ to: UnsafeMutableRawPointer, _ bytes: Int
    ) {
        let from = unsafe from.assumingMemoryBound(to: UInt8.self)
        let to = unsafe to.assumingMemoryBound(to: UInt8.self)
        for i in 0..<bytes { unsafe to[i] = table[Int(from[i])] }
    }
}
