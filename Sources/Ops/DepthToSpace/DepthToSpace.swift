import COps

/// Channel `(kz·4 + ky·2 + kx)·C + c` of a voxel becomes channel c of voxel (2z + kz, 2y + ky, 2x + kx): after a pointwise
/// convolution to 8·C channels, a transposed convolution of kernel and stride 2. u8; C is a multiple of four, so that whole
/// words move.
public struct DepthToSpace: Equatable, Sendable {
    /// Output channels C.
    public var channels: Int
    public var zeroPoint: UInt8

    public init(channels: Int, zeroPoint: UInt8) {
        self.channels = channels
        self.zeroPoint = zeroPoint
    }

    /// Output rows `rows` (row = z · height + y of the output), and the gaps around them.
    public func run(
        isa: ISA, input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, rows: Range<Int>
    ) {
        let blocks = channels / 4
        let (strideIn, strideOut) = (inputLayout.blockStride, outputLayout.blockStride)
        let (width, count) = (Int32(truncatingIfNeeded: inputLayout.extent.width), Int32(truncatingIfNeeded: blocks))
        for row in rows {
            let (z, y) = (row / outputLayout.extent.height, row % outputLayout.extent.height)
            let slot = (z & 1) * 4 + (y & 1) * 2
            let even = unsafe input + inputLayout.rowOffset(block: slot * blocks, z: z >> 1, y: y >> 1)
            let odd = unsafe even + blocks * strideIn
            let to = unsafe output + outputLayout.rowOffset(z: z, y: y)
            switch isa {
            #if arch(x86_64)
                case .avx2: unsafe mk_depth_to_space_avx2(even, odd, strideIn, to, strideOut, width, count)
                case .avx512vnni: unsafe mk_depth_to_space_avx512vnni(even, odd, strideIn, to, strideOut, width, count)
            #elseif arch(arm64)
                case .neon, .dotprod, .i8mm:
                    unsafe mk_depth_to_space_neon(even, odd, strideIn, to, strideOut, width, count)
            #endif
            default:
                for block in 0..<Int(count) {
                    let to = unsafe to + block * strideOut
                    unsafe Self.portable(even + block * strideIn, odd + block * strideIn, to, Int(width))
                }
            }
            for block in 0..<blocks {
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
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
