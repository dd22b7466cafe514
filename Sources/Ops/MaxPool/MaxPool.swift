/// The largest of each channel in every cube of 2 × 2 × 2 voxels: max pooling of kernel and stride 2. u8 or i16, input and output in
/// the same code, whose order is that of the values. Sides of the input are even.
public struct MaxPool: Equatable, Sendable {
    public var zeroPoint: UInt8

    public init(zeroPoint: UInt8) { self.zeroPoint = zeroPoint }

    /// Output rows `rows` (row = z · height + y of the output), and the gaps around them.
    public func run(
        input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, rows: Range<Int>
    ) {
        let width = outputLayout.extent.width
        for row in rows {
            let (z, y) = (row / outputLayout.extent.height, row % outputLayout.extent.height)
            for block in 0..<outputLayout.blocks {
                let to = unsafe output + outputLayout.rowOffset(block: block, z: z, y: y)
                func source(_ dz: Int, _ dy: Int) -> UnsafeRawPointer {
                    unsafe input + inputLayout.rowOffset(block: block, z: 2 * z + dz, y: 2 * y + dy)
                }
                let sources = unsafe (source(0, 0), source(0, 1), source(1, 0), source(1, 1))
                if outputLayout.element == .u8 {
                    unsafe Self.row(sources, to, width, as: SIMD4<UInt8>.self)
                } else {
                    unsafe Self.row(sources, to, width, as: SIMD2<Int16>.self)
                }
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    /// `Word`: the channels of one voxel in one block.
    @inline(__always)
    private static func row<Word: SIMD>(
        _ sources: (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer),
        _ to: UnsafeMutableRawPointer, _ width: Int, as: Word.Type
    ) where Word.Scalar: FixedWidthInteger {
        let to = unsafe to.assumingMemoryBound(to: Word.self)
        for x in 0..<width {
            func pair(_ source: UnsafeRawPointer) -> Word {
                let words = unsafe source.assumingMemoryBound(to: Word.self)
                return unsafe pointwiseMax(words[2 * x], words[2 * x + 1])
            }
            unsafe to[x] = pointwiseMax(
                pointwiseMax(pair(sources.0), pair(sources.1)), pointwiseMax(pair(sources.2), pair(sources.3)))
        }
    }
}
