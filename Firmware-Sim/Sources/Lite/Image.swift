import Ops

/// Input codes in memory, with the NIfTI-1 header in front of them if there was one.
struct Image {
    let header: UnsafeRawBufferPointer
    let codes: UnsafeBufferPointer<UInt8>
    let extent: Extent
    /// Bytes of a voxel: one or two for each channel.
    let voxelBytes: Int

    /// nil when the bytes are not what they should be: the header is checked field by field before it is followed.
    @unsafe init?(_ data: UnsafeRawBufferPointer, size: Extent?, isNIfTI: Bool) {
        var extent = size ?? Extent(cube: 0)
        var start = 0
        if isNIfTI {
            guard size == nil, let shape = unsafe Self.readHeader(data) else { return nil }
            (extent, start) = shape
        }
        let voxels = extent.voxels
        guard voxels > 0, start < data.count, (data.count - start) % voxels == 0 else { return nil }
        self.extent = extent
        voxelBytes = (data.count - start) / voxels
        unsafe header = UnsafeRawBufferPointer(rebasing: data[..<start])
        let base = unsafe (data.baseAddress! + start).assumingMemoryBound(to: UInt8.self)
        unsafe codes = UnsafeBufferPointer(start: base, count: data.count - start)
    }

    private static func int16(_ data: UnsafeRawBufferPointer, _ at: Int) -> Int {
        unsafe Int(Int16(littleEndian: data.loadUnaligned(fromByteOffset: at, as: Int16.self)))
    }

    /// Little-endian single-file NIfTI-1 with unscaled unsigned bytes, or nil. Its data starts where the file size says.
    private static func readHeader(_ data: UnsafeRawBufferPointer) -> (Extent, Int)? {
        guard data.count > 352, unsafe int16(data, 0) == 348, unsafe int16(data, 2) == 0 else { return nil }
        let magic: [UInt8] = [0x6E, 0x2B, 0x31, 0]
        for i in 0..<4 where unsafe data[344 + i] != magic[i] { return nil }
        guard unsafe int16(data, 70) == 2, unsafe int16(data, 72) == 8 else { return nil }
        let rank = unsafe int16(data, 40)
        guard (3...4).contains(rank) else { return nil }
        let sides = unsafe (int16(data, 42), int16(data, 44), int16(data, 46), rank == 4 ? int16(data, 48) : 1)
        guard sides.0 > 0, sides.1 > 0, sides.2 > 0, sides.3 > 0 else { return nil }
        // vox_offset is a float; that of a file with n bytes of data is what is left.
        let bytes = Int64(sides.0) * Int64(sides.1) * Int64(sides.2) * Int64(sides.3)
        guard bytes <= Int64(data.count - 352) else { return nil }
        let bits = unsafe UInt32(littleEndian: data.loadUnaligned(fromByteOffset: 108, as: UInt32.self))
        guard Float(bitPattern: bits) == Float(data.count - Int(bytes)) else { return nil }
        return (Extent(depth: sides.2, height: sides.1, width: sides.0), data.count - Int(bytes))
    }

    /// Turns the copied header into that of a label volume: three axes, one or two bytes per voxel.
    static func describeLabels(_ header: UnsafeMutableRawBufferPointer, bytes: Int) {
        func put(_ value: Int16, _ at: Int) {
            unsafe header.storeBytes(of: value.littleEndian, toByteOffset: at, as: Int16.self)
        }
        put(3, 40)
        put(1, 48)
        put(bytes == 2 ? 512 : 2, 70)
        put(Int16(8 * bytes), 72)
    }
}
