/// Spatial size of a tensor in voxels. Width is the fastest axis in memory (the first NIfTI axis), depth the
/// slowest (the slice axis).
public struct Extent: Equatable, Sendable {
    public var depth: Int
    public var height: Int
    public var width: Int

    public init(depth: Int, height: Int, width: Int) {
        self.depth = depth
        self.height = height
        self.width = width
    }

    public init(cube side: Int) {
        self.init(depth: side, height: side, width: side)
    }

    public var voxels: Int { depth * height * width }
    public var rows: Int { depth * height }
}

/// What one voxel of a tensor stands for.
public enum VoxelSpan: UInt8, Sendable {
    /// A voxel of its grid.
    case voxel = 0
    /// All of a slice: height and width are 1.
    case slice = 1
    /// All of the volume (or window): the tensor has one voxel.
    case volume = 2

    /// Row of the tensor whose voxels stand for that much, beside row `row` of one with `height` rows to a slice.
    func row(_ row: Int, height: Int) -> Int {
        switch self {
        case .voxel: row
        case .slice: row / height
        case .volume: 0
        }
    }
}

/// What one channel of one voxel is stored as. A *block* is the group of channels that share a 32-bit word
/// of a voxel: four unsigned bytes or two signed 16-bit values.
public enum ElementType: UInt8, Sendable {
    case u8 = 1
    case i16 = 2

    public var channelsPerBlock: Int { self == .u8 ? 4 : 2 }
}

/// Memory layout of an activation tensor: `[block][depth][height][width]` of 32-bit words ("C4-blocked" for
/// u8, "C2-blocked" for i16). Sixteen neighbouring voxels of a block are one 64-byte load, voxels sit in the
/// lanes, and a dilated kernel tap is only another address.
///
/// Rows are `pitch = width + padX` words apart, and `padX` words stand before the first row, so every row has
/// `padX` words to its left and right that hold the zero point: the gap after a row is the gap before the next.
/// `slack` bytes after the last block may be read (never written, never used) by whole-vector loads.
public struct TensorLayout: Equatable, Sendable {
    /// Whole-vector loads may run past the last row by less than one 64-byte vector, at stride 2 by less than two.
    public static let slack = 128

    public let channels: Int
    public let extent: Extent
    public let element: ElementType
    public let padX: Int
    /// Rows that are in memory: all, or as many as a buffer holds of some that a chain of ops works on. Offsets stay those of
    /// whole tensors, so that such a buffer is addressed from where row 0 would lie.
    public let heldRows: Int

    public init(channels: Int, extent: Extent, element: ElementType, padX: Int = 0, heldRows: Int? = nil) {
        self.channels = channels
        self.extent = extent
        self.element = element
        self.padX = padX
        self.heldRows = heldRows ?? extent.rows
    }

    public var blocks: Int { (channels + element.channelsPerBlock - 1) / element.channelsPerBlock }
    /// Bytes from one row to the next.
    public var rowPitch: Int { (extent.width + padX) * 4 }
    /// Bytes from a voxel to the same voxel of the next block, a multiple of 64.
    public var blockStride: Int { (padX * 4 + heldRows * rowPitch + 63) & ~63 }
    /// Bytes of all rows that are in memory, slack included.
    public var byteCount: Int { blocks * blockStride + Self.slack }

    /// Byte offset of the voxel (z, y, x = 0) of `block`.
    @inlinable
    public func rowOffset(block: Int = 0, z: Int, y: Int) -> Int {
        block * blockStride + padX * 4 + (z * extent.height + y) * rowPitch
    }

    /// Writes the code of real zero into the gap after row `row` of a block, and for row 0 into the one before it.
    /// Whoever writes a row calls this, so that a consumer finds its padding in place.
    public func fillGapsAround(row: Int, block: Int, base: UnsafeMutableRawPointer, zeroPoint: UInt8) {
        guard padX > 0 else { return }
        let after = unsafe base + rowOffset(block: block, z: 0, y: row) + extent.width * 4
        unsafe after.initializeMemory(as: UInt8.self, repeating: zeroPoint, count: padX * 4)
        if row == 0 {
            unsafe (base + block * blockStride).initializeMemory(as: UInt8.self, repeating: zeroPoint, count: padX * 4)
        }
    }
}
