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
        table: UnsafePointer<UInt8>, input: UnsafeRawPointer, inputLayout: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, zeroPoint: UInt8, rows: Range<Int>
    ) {
        let bytes = inputLayout.extent.width * 4
        for block in 0..<inputLayout.blocks {
            for row in rows {
                let from = unsafe (input + inputLayout.rowOffset(block: block, z: 0, y: row))
                    .assumingMemoryBound(to: UInt8.self)
                let to = unsafe (output + outputLayout.rowOffset(block: block, z: 0, y: row))
                    .assumingMemoryBound(to: UInt8.self)
                for i in 0..<bytes {
                    unsafe to[i] = table[Int(from[i])]
                }
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }
}
