/// Twice as fine along some axes, by the nearest voxel or linearly between centres of voxels (half-pixel coordinates, the edge
/// repeated outside). With x[-1] = x[0] and x[n] = x[n-1], along each doubled axis:
///
///     nearest:  y[2·i] = y[2·i+1] = x[i]
///     linear:   y[2·i] = (x[i-1] + 3·x[i]) / 4,  y[2·i+1] = (3·x[i] + x[i+1]) / 4
///
/// The sums of all k doubled axes are exact and divided once, by (s + 4^k / 2) >> 2·k. Weights add up to 1, so the codes are those of
/// the input's scale and zero point, and cannot leave its range. u8 or i16.
public struct Resize: Equatable, Sendable {
    /// 1 or 2.
    public var factor: Extent
    public var isLinear: Bool
    public var zeroPoint: UInt8

    public init(factor: Extent, isLinear: Bool, zeroPoint: UInt8) {
        self.factor = factor
        self.isLinear = isLinear
        self.zeroPoint = zeroPoint
    }

    /// Rows that make one row of the output, and their weights.
    @unsafe private struct Rows {
        var pointers: (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer)
        var weights: (UInt16, UInt16, UInt16, UInt16)
        /// Columns of the input that precede the first and follow the last one held, 0 at the input's own edges.
        var before: Int
        var after: Int
        var shift: UInt16
    }

    /// Output rows `rows` (row = z · height + y of the output), and the gaps around them.
    /// - Parameter view: begins and ends at multiples of the factors, and holds a voxel more of the input on each side where the
    ///   input has one; nil for all of it.
    public func run(
        input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, rows: Range<Int>, view: PlaneView? = nil
    ) {
        let view = view ?? PlaneView(inputLayout)
        let (width, height) = (outputLayout.extent.width, outputLayout.extent.height)
        for row in rows {
            let slot = row / height % outputLayout.extent.depth * height + row % height
            for block in 0..<outputLayout.blocks {
                let to = unsafe output + outputLayout.rowOffset(block: block, z: 0, y: slot)
                let sources = unsafe self.sources(
                    input, inputLayout, view, block: block, z: row / height, y: row % height + view.outputY,
                    columns: width / factor.width)
                if !isLinear {
                    unsafe repeatRow(sources.pointers.0, to, width)
                } else if outputLayout.element == .u8 {
                    unsafe blendRow(sources, to, width, as: SIMD4<UInt8>.self, sums: SIMD4<UInt16>.self)
                } else {
                    unsafe blendRow(sources, to, width, as: SIMD2<Int16>.self, sums: SIMD2<Int32>.self)
                }
                unsafe outputLayout.fillGapsAround(row: slot, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    private func sources(
        _ input: UnsafeRawPointer, _ layout: TensorLayout, _ view: PlaneView, block: Int, z: Int, y: Int, columns: Int
    ) -> Rows {
        let a = Self.pair(z, factor.depth, view.inputExtent.depth)
        let b = Self.pair(y, factor.height, view.inputExtent.height)
        let x = view.outputX / factor.width
        func row(_ z: Int, _ y: Int) -> UnsafeRawPointer {
            unsafe input + view.offset(layout, block: block, z: z, y: y, x: x)
        }
        let axes = (factor.depth + factor.height + factor.width - 3)
        return unsafe Rows(
            pointers: (row(a.near, b.near), row(a.near, b.far), row(a.far, b.near), row(a.far, b.far)),
            weights: (a.weight * b.weight, a.weight * b.rest, a.rest * b.weight, a.rest * b.rest),
            before: x > 0 ? 1 : 0, after: x + columns < view.inputExtent.width ? 1 : 0, shift: UInt16(2 * axes))
    }

    /// Positions of the input that position `at` of the output lies between, and their weights.
    private static func pair(_ at: Int, _ factor: Int, _ size: Int) -> (
        near: Int, far: Int, weight: UInt16, rest: UInt16
    ) {
        guard factor == 2 else { return (at, at, 1, 0) }
        let near = at >> 1
        return (near, min(max(near + (at & 1) * 2 - 1, 0), size - 1), 3, 1)
    }

    private func repeatRow(_ row: UnsafeRawPointer, _ to: UnsafeMutableRawPointer, _ width: Int) {
        guard factor.width == 2 else { return unsafe to.copyMemory(from: row, byteCount: width * 4) }
        let words = unsafe row.assumingMemoryBound(to: UInt32.self)
        let to = unsafe to.assumingMemoryBound(to: SIMD2<UInt32>.self)
        for x in 0..<(width / 2) { unsafe to[x] = SIMD2(repeating: words[x]) }
    }

    /// `Word`: the channels of one voxel in one block; 64 of the largest codes fit into `Sum`.
    @inline(__always)
    private func blendRow<Word: SIMD, Sum: SIMD>(
        _ rows: Rows, _ to: UnsafeMutableRawPointer, _ width: Int, as: Word.Type, sums: Sum.Type
    )
    where
        Word.Scalar: FixedWidthInteger, Sum.Scalar: FixedWidthInteger, Word.MaskStorage: SIMD, Sum.MaskStorage: SIMD
    {
        let shift = unsafe Sum(repeating: Sum.Scalar(truncatingIfNeeded: rows.shift))
        let half = unsafe Sum(repeating: (1 << Sum.Scalar(truncatingIfNeeded: rows.shift)) >> 1)
        let to = unsafe to.assumingMemoryBound(to: Word.self)
        func store(_ sum: Sum, _ x: Int) {
            let code = (sum &+ half) &>> shift
            var word = Word()
            for i in 0..<Word.scalarCount { word[i] = Word.Scalar(truncatingIfNeeded: code[i]) }
            unsafe to[x] = word
        }
        guard factor.width == 2 else {
            for x in 0..<width { unsafe store(Self.column(rows, x, as: Word.self, sums: Sum.self), x) }
            return
        }
        let columns = width / 2
        var left = unsafe Self.column(rows, -rows.before, as: Word.self, sums: Sum.self)
        var centre = unsafe Self.column(rows, 0, as: Word.self, sums: Sum.self)
        for x in 0..<columns {
            let next = unsafe x + 1 < columns ? x + 1 : x + rows.after
            let right = unsafe Self.column(rows, next, as: Word.self, sums: Sum.self)
            let most = centre &+ centre &+ centre
            store(most &+ left, 2 * x)
            store(most &+ right, 2 * x + 1)
            (left, centre) = (centre, right)
        }
    }

    /// Σ of the rows' words in column x.
    @inline(__always)
    private static func column<Word: SIMD, Sum: SIMD>(_ rows: Rows, _ x: Int, as: Word.Type, sums: Sum.Type) -> Sum
    where Word.Scalar: FixedWidthInteger, Sum.Scalar: FixedWidthInteger {
        func term(_ row: UnsafeRawPointer, _ weight: UInt16) -> Sum {
            let word = unsafe row.assumingMemoryBound(to: Word.self)[x]
            var wide = Sum()
            for i in 0..<Word.scalarCount { wide[i] = Sum.Scalar(truncatingIfNeeded: word[i]) }
            return wide &* Sum(repeating: Sum.Scalar(truncatingIfNeeded: weight))
        }
        let (p, w) = unsafe (rows.pointers, rows.weights)
        return unsafe term(p.0, w.0) &+ term(p.1, w.1) &+ term(p.2, w.2) &+ term(p.3, w.3)
    }
}
