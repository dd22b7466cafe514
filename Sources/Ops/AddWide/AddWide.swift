/// Sum of two i16 tensors of one scale, saturated: `y = clamp(a + b)`. The residual trunk of a network: its producers write
/// their results in the trunk's own scale, so nothing is rounded here.
public struct AddWide: Equatable, Sendable {
    public init() {}

    /// Rows `rows` (row = z · height + y). The output may be the same buffer as an input of the same layout.
    public func run(
        a: UnsafeRawPointer, layoutA: TensorLayout, b: UnsafeRawPointer, layoutB: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        for block in 0..<outputLayout.blocks {
            for row in rows {
                let pa = unsafe (a + layoutA.rowOffset(block: block, z: 0, y: row)).assumingMemoryBound(to: Int16.self)
                let pb = unsafe (b + layoutB.rowOffset(block: block, z: 0, y: row)).assumingMemoryBound(to: Int16.self)
                let to = unsafe (output + outputLayout.rowOffset(block: block, z: 0, y: row))
                    .assumingMemoryBound(to: Int16.self)
                for i in 0..<(2 * outputLayout.extent.width) {
                    let sum = unsafe Int32(pa[i]) + Int32(pb[i])
                    unsafe to[i] = Int16(truncatingIfNeeded: min(max(sum, -32768), 32767))
                }
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: 0)
            }
        }
    }
}
