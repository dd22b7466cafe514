import COps

/// Sum of two i16 tensors of one scale, saturated: `y = clamp(a + b)`. The residual trunk of a network: its producers write
/// their results in the trunk's own scale, so nothing is rounded here.
public struct AddWide: Equatable, Sendable {
    public init() {}

    /// Rows `rows` (row = z · height + y). The output may be the same buffer as an input of the same layout.
    public func run(
        isa: ISA, a: UnsafeRawPointer, layoutA: TensorLayout, b: UnsafeRawPointer, layoutB: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        let width = Int32(truncatingIfNeeded: outputLayout.extent.width)
        let blocks = Int32(truncatingIfNeeded: outputLayout.blocks)
        let (strideA, strideB, stride) = (layoutA.blockStride, layoutB.blockStride, outputLayout.blockStride)
        for row in rows {
            let pa = unsafe a + layoutA.rowOffset(z: 0, y: row)
            let pb = unsafe b + layoutB.rowOffset(z: 0, y: row)
            let to = unsafe output + outputLayout.rowOffset(z: 0, y: row)
            switch isa.vectors {
            #if arch(x86_64)
                case .avx2: unsafe mk_add_wide_avx2(pa, strideA, pb, strideB, to, stride, width, blocks)
                case .avx512vnni: unsafe mk_add_wide_avx512vnni(pa, strideA, pb, strideB, to, stride, width, blocks)
            #elseif arch(arm64)
                case .neon:
                    unsafe mk_add_wide_neon(pa, strideA, pb, strideB, to, stride, width, blocks)
            #endif
            default:
                for block in 0..<Int(blocks) {
                    unsafe Self.portable(
                        pa + block * strideA, pb + block * strideB, to + block * stride, 2 * Int(width))
                }
            }
            for block in 0..<outputLayout.blocks {
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: 0)
            }
        }
    }

    private static func portable(
        _ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ to: UnsafeMutableRawPointer, _ count: Int
    ) {
        let a = unsafe a.assumingMemoryBound(to: Int16.self)
        let b = unsafe b.assumingMemoryBound(to: Int16.self)
        let to = unsafe to.assumingMemoryBound(to: Int16.self)
        for i in 0..<count {
            let sum = unsafe Int32(a[i]) + Int32(b[i])
            unsafe to[i] = Int16(truncatingIfNeeded: min(max(sum, -32768), 32767))
        }
    }
}
