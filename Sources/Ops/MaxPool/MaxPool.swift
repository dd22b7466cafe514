/// The largest of each channel in every box of fz × fy × fx voxels: max pooling whose kernel and stride are the factors. Where it
/// overlaps, a box has three voxels along the axes that are halved (kernel 3, stride 2, padding 1): one more before it, where there is
/// one. u8 or i16, input and output in the same code, whose order is that of the values. Sides of the input are multiples of the
/// factors.
public struct MaxPool: Equatable, Sendable {
    /// 1 or 2.
    public var factor: Extent
    public var overlaps: Bool
    public var zeroPoint: UInt8

    public init(factor: Extent = Extent(cube: 2), overlaps: Bool = false, zeroPoint: UInt8) {
        self.factor = factor
        self.overlaps = overlaps
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
        for row in rows {
            let (z, y) = (row / height, row % height + view.outputY)
            let slot = z % outputLayout.extent.depth * height + row % height
            for block in 0..<outputLayout.blocks {
                let to = unsafe output + outputLayout.rowOffset(block: block, z: 0, y: slot)
                for (index, source) in sources(z: z, y: y).enumerated() {
                    let from =
                        unsafe input
                        + view.offset(
                            inputLayout, block: block, z: source.z, y: source.y, x: factor.width * view.outputX)
                    // What lies before the first column held is before the input itself.
                    let before = overlaps && factor.width == 2 ? (view.outputX > 0 ? -1 : 0) : nil
                    if outputLayout.element == .u8 {
                        unsafe take(from, to, width, isFirst: index == 0, before: before, as: SIMD4<UInt8>.self)
                    } else {
                        unsafe take(from, to, width, isFirst: index == 0, before: before, as: SIMD2<Int16>.self)
                    }
                }
                unsafe outputLayout.fillGapsAround(row: slot, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    /// Rows of the input in the box of output row (z, y): those before the first slice or row are left out.
    private func sources(z: Int, y: Int) -> Rows {
        func first(_ at: Int, _ factor: Int) -> Int { factor == 2 && overlaps ? max(2 * at - 1, 0) : factor * at }
        let (z0, y0) = (first(z, factor.depth), first(y, factor.height))
        return Rows(
            z: z0..<(factor.depth * (z + 1)), y: y0..<(factor.height * (y + 1)))
    }

    private struct Rows: Sequence {
        var z: Range<Int>
        var y: Range<Int>

        func makeIterator() -> Iterator { Iterator(rows: self, z: z.lowerBound, y: y.lowerBound) }

        struct Iterator: IteratorProtocol {
            let rows: Rows
            var z: Int
            var y: Int

            mutating func next() -> (z: Int, y: Int)? {
                guard z < rows.z.upperBound else { return nil }
                defer {
                    y += 1
                    if y == rows.y.upperBound { (z, y) = (z + 1, rows.y.lowerBound) }
                }
                return (z, y)
            }
        }
    }

    /// The largest in one row of the input, or of that and what is there. `Word`: the channels of one voxel in one block.
    /// - Parameter before: where the column before the first box lies; nil where boxes do not overlap.
    @inline(__always)
    private func take<Word: SIMD>(
        _ from: UnsafeRawPointer, _ to: UnsafeMutableRawPointer, _ width: Int, isFirst: Bool, before: Int?,
        as: Word.Type
    ) where Word.Scalar: FixedWidthInteger {
        let (words, to) = unsafe (from.assumingMemoryBound(to: Word.self), to.assumingMemoryBound(to: Word.self))
        let step = factor.width
        for x in 0..<width {
            var most = unsafe pointwiseMax(words[step * x], words[step * x + step - 1])
            if let before { unsafe most = pointwiseMax(most, words[x == 0 ? before : step * x - 1]) }
            unsafe to[x] = isFirst ? most : pointwiseMax(most, to[x])
        }
    }
}
