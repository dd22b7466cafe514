import COps

/// Channel `((kz·fy + ky)·fx + kx)·C + c` of a voxel becomes channel c of voxel (fz·z + kz, fy·y + ky, fx·x + kx): after a
/// pointwise convolution to fz·fy·fx·C channels, a transposed convolution whose kernel and stride are the factors. u8 or i16; C is a
/// multiple of four, so that whole words move.
public struct DepthToSpace: Equatable, Sendable {
    /// Output channels C.
    public var channels: Int
    /// 1 or 2.
    public var factor: Extent
    public var zeroPoint: UInt8

    public init(channels: Int, factor: Extent = Extent(cube: 2), zeroPoint: UInt8) {
        self.channels = channels
        self.factor = factor
        self.zeroPoint = zeroPoint
    }

    /// Output rows `rows` (row = z · height + y of the output), and the gaps around them.
    /// - Parameter view: begins at multiples of the factors; nil for all of it.
    public func run(
        isa: ISA, input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, rows: Range<Int>, view: PlaneView? = nil
    ) {
        let view = view ?? PlaneView(inputLayout)
        let blocks = outputLayout.blocks
        let (fz, fy) = (factor.depth - 1, factor.height - 1)
        let (strideIn, strideOut) = (inputLayout.blockStride, outputLayout.blockStride)
        let height = outputLayout.extent.height
        for row in rows {
            let (z, y) = (row / height, row % height + view.outputY)
            let corner = ((z & fz) * factor.height + (y & fy)) * factor.width
            let from =
                unsafe input
                + view.offset(
                    inputLayout, block: corner * blocks, z: z >> fz, y: y >> fy, x: view.outputX >> (factor.width - 1))
            let slot = z % outputLayout.extent.depth * height + row % height
            let to = unsafe output + outputLayout.rowOffset(z: 0, y: slot)
            if factor.width == 1 {
                for block in 0..<blocks {
                    unsafe (to + block * strideOut).copyMemory(
                        from: from + block * strideIn, byteCount: outputLayout.extent.width * 4)
                }
            } else {
                unsafe interleave(isa, from, strideIn, to, strideOut, blocks, outputLayout.extent.width / 2)
            }
            for block in 0..<blocks {
                unsafe outputLayout.fillGapsAround(row: slot, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    /// Rows of two corners that are neighbours along the width.
    private func interleave(
        _ isa: ISA, _ even: UnsafeRawPointer, _ strideIn: Int, _ to: UnsafeMutableRawPointer, _ strideOut: Int,
        _ blocks: Int, _ width: Int
    ) {
        let odd = unsafe even + blocks * strideIn
        let (count, columns) = (Int32(truncatingIfNeeded: blocks), Int32(truncatingIfNeeded: width))
        switch isa.vectors {
        #if arch(x86_64)
            case .avx2: unsafe mk_depth_to_space_avx2(even, odd, strideIn, to, strideOut, columns, count)
            case .avx512vnni: unsafe mk_depth_to_space_avx512vnni(even, odd, strideIn, to, strideOut, columns, count)
        #elseif arch(arm64)
            case .neon:
                unsafe mk_depth_to_space_neon(even, odd, strideIn, to, strideOut, columns, count)
        #endif
        default:
            for block in 0..<Int(count) {
                let to = unsafe to + block * strideOut
                unsafe Self.portable(even + block * strideIn, odd + block * strideIn, to, width)
            }
        }
    }

    private static func portable(
        _ even: UnsafeRawPointer, _ odd: UnsafeRawPointer, _ to: UnsafeMutableRawPointer, _ width: Int
    ) {
        let even = unsafe even.assumingMemoryBound(to: UInt32.self)
        let odd = unsafe odd.assumingMemoryBound(to: UInt32.self)
        let to = unsafe to.assumingMemoryBound(to: UInt32.self)
        for x in 0..<width {
            unsafe to[2 * x] = even[x]
            unsafe to[2 * x + 1] = odd[x]
        }
    }
}
