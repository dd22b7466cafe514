/// The largest of each channel in every box of fz × fy × fx voxels: max pooling whose kernel and stride are the factors. u8 or i16,
/// input and output in the same code, whose order is that of the values. Sides of the input are multiples of the factors.
public struct MaxPool: Equatable, Sendable {
    /// 1 or 2.
    public var factor: Extent
    public var zeroPoint: UInt8

    public init(factor: Extent = Extent(cube: 2), zeroPoint: UInt8) {
        self.factor = factor
        self.zeroPoint = zeroPoint
    }

    /// Output rows `rows` (row = z · height + y of the output), and the gaps around them.
    /// - Parameter view: nil for all of it.
    public func run(
        input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, rows: Range<Int>, view: PlaneView? = nil
    ) {
        let view = view ?? PlaneView(inputLayout)
        let (width, height) = (outputLayout.extent.width, outputLayout.extent.height)
        let (dz, dy) = (factor.depth - 1, factor.height - 1)
        for row in rows {
            let (z, y) = (row / height, row % height + view.outputY)
            let slot = z % outputLayout.extent.depth * height + row % height
            for block in 0..<outputLayout.blocks {
                let to = unsafe output + outputLayout.rowOffset(block: block, z: 0, y: slot)
                // Where an axis is not pooled, both of its rows are the same one.
                func source(_ dz: Int, _ dy: Int) -> UnsafeRawPointer {
                    unsafe input
                        + view.offset(
                            inputLayout, block: block, z: factor.depth * z + dz, y: factor.height * y + dy,
                            x: factor.width * view.outputX)
                }
                let sources = unsafe (source(0, 0), source(0, dy), source(dz, 0), source(dz, dy))
                if outputLayout.element == .u8 {
                    unsafe Self.row(sources, to, width, step: factor.width, as: SIMD4<UInt8>.self)
                } else {
                    unsafe Self.row(sources, to, width, step: factor.width, as: SIMD2<Int16>.self)
                }
                unsafe outputLayout.fillGapsAround(row: slot, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    /// `Word`: the channels of one voxel in one block.
    @inline(__always)
    private static func row<Word: SIMD>(
        _ sources: (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer),
        _ to: UnsafeMutableRawPointer, _ width: Int, step: Int, as: Word.Type
    ) where Word.Scalar: FixedWidthInteger {
        let to = unsafe to.assumingMemoryBound(to: Word.self)
        for x in 0..<width {
            func pair(_ source: UnsafeRawPointer) -> Word {
                let words = unsafe source.assumingMemoryBound(to: Word.self) + step * x
                return unsafe pointwiseMax(words[0], words[step - 1])
            }
            unsafe to[x] = pointwiseMax(
                pointwiseMax(pair(sources.0), pair(sources.1)), pointwiseMax(pair(sources.2), pair(sources.3)))
        }
    }
}
