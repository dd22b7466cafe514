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
        input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, rows: Range<Int>
    ) {
        let blocks = channels / 4
        for row in rows {
            let (z, y) = (row / outputLayout.extent.height, row % outputLayout.extent.height)
            let slot = (z & 1) * 4 + (y & 1) * 2
            for block in 0..<blocks {
                let to = unsafe (output + outputLayout.rowOffset(block: block, z: z, y: y))
                    .assumingMemoryBound(to: UInt32.self)
                for kx in 0..<2 {
                    let from =
                        unsafe (input + inputLayout.rowOffset(block: (slot + kx) * blocks + block, z: z >> 1, y: y >> 1))
                        .assumingMemoryBound(to: UInt32.self)
                    for x in 0..<inputLayout.extent.width { unsafe to[2 * x + kx] = from[x] }
                }
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }
}
