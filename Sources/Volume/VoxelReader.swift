/// Streams the voxels of one volume into memory, one slab at a time, and checks them on the way.
struct VoxelReader {
    let header: NIfTIHeader
    private let source: ByteSource
    private(set) var warnings: [String] = []
    private var unusable = 0

    /// Bytes handled at once, so that a slab is still in the cache when it is swapped and checked.
    static let slabBytes = 1 << 18
    /// At most one voxel in this many may be NaN or infinite.
    static let unusableLimit = 100

    /// Opens the file with the voxels and moves to the chosen volume.
    init(header: NIfTIHeader) throws(VolumeError) {
        self.header = header
        source = try ByteSource(path: header.dataPath)
        let start = header.dataOffset + header.volumeIndex * header.volumeBytes
        guard try source.skip(to: start) else { throw Self.truncated(header, have: 0) }
    }

    private static func truncated(_ header: NIfTIHeader, have: Int) -> VolumeError {
        .malformed(header.path, "voxel data end after \(have) bytes (must be \(header.volumeBytes))")
    }

    mutating func read() throws(VolumeError) -> VoxelArray {
        let voxels: VoxelArray
        switch header.datatype {
        case .uint8: voxels = .uint8(try load())
        case .int8: voxels = .int8(try load())
        case .uint16: voxels = .uint16(try load())
        case .int16: voxels = .int16(try load())
        case .uint32: voxels = .uint32(try load())
        case .int32: voxels = .int32(try load())
        case .float32: voxels = .float32(try load())
        case .float64: voxels = .float64(try load())
        case .int64: voxels = .int32(try loadNarrowed(Int64.self))
        case .uint64: voxels = .int32(try loadNarrowed(UInt64.self))
        }
        let rest = (header.volumeCount - 1 - header.volumeIndex) * header.volumeBytes
        warnings += try source.finish(expected: rest)
        if unusable > 0 {
            guard unusable <= header.dims.count / Self.unusableLimit else {
                throw .malformed(
                    header.path,
                    "\(unusable) voxels are NaN or infinite (must be at most 1 % of \(header.dims.count))")
            }
            warnings.append("\(header.path): \(unusable) voxels are NaN or infinite, taken as 0")
        }
        return voxels
    }

    /// Reads straight into the result; the only other memory is the source's buffer.
    private mutating func load<T: VoxelScalar>() throws(VolumeError) -> [T] {
        var voxels = [T](repeating: .zero, count: header.dims.count)
        var bad = 0
        try unsafe voxels.withUnsafeMutableBufferPointer { (buffer) throws(VolumeError) in
            let step = Self.slabBytes / MemoryLayout<T>.size
            var start = 0
            while start < buffer.count {
                let end = min(start + step, buffer.count)
                let slab = unsafe UnsafeMutableBufferPointer(rebasing: buffer[start..<end])
                try unsafe fill(UnsafeMutableRawBufferPointer(slab), width: MemoryLayout<T>.size, at: start)
                for index in slab.indices where unsafe !slab[index].isUsable {
                    unsafe slab[index] = .zero
                    bad += 1
                }
                start = end
            }
        }
        unusable = bad
        return voxels
    }

    /// 64-bit integers: through a small buffer into 32 bits, refused where one does not fit.
    private func loadNarrowed<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) throws(VolumeError)
        -> [Int32]
    {
        let count = header.dims.count
        var voxels = [Int32](repeating: 0, count: count)
        var slab = [T](repeating: 0, count: min(count, Self.slabBytes / 8))
        var start = 0
        while start < count {
            let size = min(slab.count, count - start)
            try unsafe slab.withUnsafeMutableBufferPointer { (buffer) throws(VolumeError) in
                let part = unsafe UnsafeMutableBufferPointer(rebasing: buffer[0..<size])
                try unsafe fill(UnsafeMutableRawBufferPointer(part), width: 8, at: start)
            }
            for index in 0..<size {
                guard let value = Int32(exactly: slab[index]) else {
                    throw .malformed(
                        header.path, "voxel[\(start + index)]=\(slab[index]) (must fit 32 bits, signed)")
                }
                voxels[start + index] = value
            }
            start += size
        }
        return voxels
    }

    /// Fills one slab and brings it into native byte order. `first` is the index of its first voxel.
    private func fill(_ raw: UnsafeMutableRawBufferPointer, width: Int, at first: Int) throws(VolumeError) {
        let got = try unsafe source.read(into: raw)
        guard got == raw.count else { throw Self.truncated(header, have: first * width + got) }
        guard header.raw.isSwapped else { return }
        switch width {
        case 2: unsafe Self.swap(raw.bindMemory(to: UInt16.self))
        case 4: unsafe Self.swap(raw.bindMemory(to: UInt32.self))
        case 8: unsafe Self.swap(raw.bindMemory(to: UInt64.self))
        default: break
        }
    }

    private static func swap<T: FixedWidthInteger>(_ words: UnsafeMutableBufferPointer<T>) {
        for index in words.indices { unsafe words[index] = words[index].byteSwapped }
    }
}
