import COps

/// The token sequence in the inter-slice order of SegMamba (Xing et al. 2024, arXiv 2401.13560), voxel after voxel through all
/// slices, and the way back. With voxels counted in memory order, n = (d·height + h)·width + w:
///
///     forward:   y[(h·width + w)·depth + d] = x[(d·height + h)·width + w]
///     inverse:   y[(d·height + h)·width + w] = x[(h·width + w)·depth + d]
///
/// u8 or i16; the output has the input's channels and extent, so that what works along the sequence works on it as on any
/// other. Whole words move: all channels of a block at once, absent ones too. It is a transposition of words, slices by voxels of a
/// slice, which kernels do tile by tile where rows have no gaps.
public struct SliceOrder: Equatable, Sendable {
    public var isInverse: Bool
    public var zeroPoint: UInt8

    public init(isInverse: Bool, zeroPoint: UInt8) {
        self.isInverse = isInverse
        self.zeroPoint = zeroPoint
    }

    /// Output rows `rows` (row = z · height + y), and the gaps around them. Reads all of the input, which is another buffer.
    public func run(
        isa: ISA, input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, rows: Range<Int>
    ) {
        if isa != .portable, inputLayout.padX == 0, outputLayout.padX == 0 {
            return unsafe transpose(isa, input, inputLayout, output, outputLayout, rows)
        }
        let extent = outputLayout.extent
        let plane = extent.height * extent.width
        for row in rows {
            let first = row * extent.width
            // Where the row's first voxel comes from, and how far on the next one is: a row holds neighbours of one slice, or a
            // run through the slices that starts again at the first one.
            let source =
                isInverse
                ? first % plane * extent.depth + first / plane
                : first % extent.depth * plane + first / extent.depth
            let step = isInverse ? extent.depth : plane
            for block in 0..<outputLayout.blocks {
                let from = unsafe input + inputLayout.rowOffset(block: block, z: 0, y: 0)
                let to = unsafe (output + outputLayout.rowOffset(block: block, z: 0, y: row))
                    .assumingMemoryBound(to: UInt32.self)
                unsafe gather(from, inputLayout, Walk(source, step: step, extent), to)
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    /// Words of a block as a matrix of `lines` lines of the output: whole lines of these rows at once, and what is left of the lines
    /// before and after them.
    private func transpose(
        _ isa: ISA, _ input: UnsafeRawPointer, _ inputLayout: TensorLayout, _ output: UnsafeMutableRawPointer,
        _ outputLayout: TensorLayout, _ rows: Range<Int>
    ) {
        let extent = outputLayout.extent
        let plane = extent.height * extent.width
        let (lines, length) = isInverse ? (extent.depth, plane) : (plane, extent.depth)
        let words = (rows.lowerBound * extent.width)..<(rows.upperBound * extent.width)
        for block in 0..<outputLayout.blocks {
            let from = unsafe (input + inputLayout.rowOffset(block: block, z: 0, y: 0)).assumingMemoryBound(
                to: UInt32.self)
            let to = unsafe (output + outputLayout.rowOffset(block: block, z: 0, y: 0)).assumingMemoryBound(
                to: UInt32.self)
            var word = words.lowerBound
            while word < words.upperBound {
                let (line, first) = word.quotientAndRemainder(dividingBy: length)
                let left = words.upperBound - word
                let whole = first == 0 ? left / length : 0
                let count = whole > 0 ? length : min(length - first, left)
                unsafe Self.kernel(
                    isa, from + (first * lines + line), lines, to + word, length, rows: count, columns: max(1, whole))
                word += max(1, whole) * count
            }
        }
    }

    private static func kernel(
        _ isa: ISA, _ from: UnsafePointer<UInt32>, _ fromPitch: Int, _ to: UnsafeMutablePointer<UInt32>, _ toPitch: Int,
        rows: Int, columns: Int
    ) {
        let (rows, columns) = (Int32(rows), Int32(columns))
        switch isa.vectors {
        #if arch(x86_64)
            case .avx2: unsafe mk_transpose_avx2(from, fromPitch, to, toPitch, rows, columns)
            case .avx512vnni: unsafe mk_transpose_avx512vnni(from, fromPitch, to, toPitch, rows, columns)
        #elseif arch(arm64)
            case .neon: unsafe mk_transpose_neon(from, fromPitch, to, toPitch, rows, columns)
        #endif
        default: preconditionFailure("no kernel for this instruction set")
        }
    }

    /// A voxel that moves on by `step` voxels, and after the last of them returns to the voxel after its start.
    private struct Walk {
        var row: Int
        var column: Int
        let rows: Int
        let columns: Int

        init(_ voxel: Int, step: Int, _ extent: Extent) {
            (row, column) = voxel.quotientAndRemainder(dividingBy: extent.width)
            (rows, columns) = step.quotientAndRemainder(dividingBy: extent.width)
        }
    }

    private func gather(
        _ from: UnsafeRawPointer, _ layout: TensorLayout, _ start: Walk, _ to: UnsafeMutablePointer<UInt32>
    ) {
        let (width, rows) = (layout.extent.width, layout.extent.rows)
        var walk = start
        for x in 0..<width {
            unsafe to[x] = from.load(fromByteOffset: walk.row * layout.rowPitch + 4 * walk.column, as: UInt32.self)
            walk.row += walk.rows
            walk.column += walk.columns
            if walk.column >= width {
                walk.column -= width
                walk.row += 1
            }
            // Past the last voxel: on from the first slice (forward), with the next voxel of the plane.
            guard walk.row >= rows else { continue }
            walk.row -= rows
            walk.column += 1
            if walk.column == width {
                walk.column = 0
                walk.row += 1
            }
        }
    }
}
