/// Streams the voxels of one volume into memory, one slab at a time, and checks them on the way.
struct VoxelReader {
    let header: NIfTIHeader
    private let source: ByteSource
    private(set) var warnings: [String] = []
    private var unusable = 0
    /// Voxels delivered so far.
    private var position = 0

    /// Bytes handled at once, so that a slab is still in the cache when it is swapped and checked.
    static let slabBytes = 1 << 18
    /// At most one voxel in this many may be NaN or infinite.
    static let unusableLimit = 100

    /// Opens the file with the voxels and moves to the chosen volume.
    /// - Parameter ownThread: inflates in a thread of its own, while the caller deals with the slab before.
    init(header: NIfTIHeader, ownThread: Bool = false) throws(VolumeError) {
        self.header = header
        source = try ByteSource(path: header.dataPath)
        let start = header.dataOffset + header.volumeIndex * header.volumeBytes
        guard try source.skip(to: start) else { throw Self.truncated(header, have: 0) }
        if ownThread { source.readAhead() }
    }

    private static func truncated(_ header: NIfTIHeader, have: Int) -> VolumeError {
        .malformed(header.path, "voxel data end after \(have) bytes (must be \(header.volumeBytes))")
    }

    mutating func read() throws(VolumeError) -> VoxelArray {
        let voxels = try next(header.dims.count)
        try finish()
        return voxels
    }

    /// The next `count` voxels, in stored order.
    mutating func next(_ count: Int) throws(VolumeError) -> VoxelArray {
        precondition(position + count <= header.dims.count, "more voxels than the volume has")
        defer { position += count }
        return switch header.datatype {
        case .uint8: .uint8(try load(count))
        case .int8: .int8(try load(count))
        case .uint16: .uint16(try load(count))
        case .int16: .int16(try load(count))
        case .uint32: .uint32(try load(count))
        case .int32: .int32(try load(count))
        case .float32: .float32(try load(count))
        case .float64: .float64(try load(count))
        case .int64: .int32(try loadNarrowed(Int64.self, count))
        case .uint64: .int32(try loadNarrowed(UInt64.self, count))
        }
    }

    /// After the last voxel: verifies the end of the stream and the share of unusable voxels.
    mutating func finish() throws(VolumeError) {
        let rest = (header.volumeCount - 1 - header.volumeIndex) * header.volumeBytes
        warnings += try source.finish(expected: rest)
        guard unusable > 0 else { return }
        guard unusable <= header.dims.count / Self.unusableLimit else {
            throw .malformed(
                header.path,
                "\(unusable) voxels are NaN or infinite (must be at most 1 % of \(header.dims.count))")
        }
        warnings.append("\(header.path): \(unusable) voxels are NaN or infinite, taken as 0")
    }

    /// Reads straight into the result, which nothing fills before; the only other memory is the source's buffer.
    private mutating func load<T: VoxelScalar>(_ count: Int) throws(VolumeError) -> [T] {
        var failure: VolumeError?
        var bad = 0
        let voxels = unsafe [T](unsafeUninitializedCapacity: count) { buffer, initialized in
            do throws(VolumeError) {
                bad = try unsafe load(into: UnsafeMutableBufferPointer(rebasing: buffer[..<count]))
                initialized = count
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        unusable += bad
        return voxels
    }

    /// - Returns: how many voxels were NaN or infinite.
    private func load<T: VoxelScalar>(into buffer: UnsafeMutableBufferPointer<T>) throws(VolumeError) -> Int {
        let step = Self.slabBytes / MemoryLayout<T>.size
        var bad = 0
        for start in stride(from: 0, to: buffer.count, by: step) {
            let slab = unsafe UnsafeMutableBufferPointer(
                rebasing: buffer[start..<min(start + step, buffer.count)])
            try unsafe fill(UnsafeMutableRawBufferPointer(slab), width: MemoryLayout<T>.size, at: position + start)
            for index in slab.indices where unsafe !slab[index].isUsable {
                unsafe slab[index] = .zero
                bad += 1
            }
        }
        return bad
    }

    /// 64-bit integers: through a small buffer into 32 bits, refused where one does not fit.
    private func loadNarrowed<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type, _ count: Int
    ) throws(VolumeError) -> [Int32] {
        var voxels = [Int32](repeating: 0, count: count)
        var slab = [T](repeating: 0, count: min(count, Self.slabBytes / 8))
        var start = 0
        while start < count {
            let size = min(slab.count, count - start)
            try unsafe slab.withUnsafeMutableBufferPointer { (buffer) throws(VolumeError) in
                let part = unsafe UnsafeMutableBufferPointer(rebasing: buffer[0..<size])
                try unsafe fill(UnsafeMutableRawBufferPointer(part), width: 8, at: position + start)
            }
            for index in 0..<size {
                guard let value = Int32(exactly: slab[index]) else {
                    throw .malformed(
                        header.path, "voxel[\(position + start + index)]=\(slab[index]) (must fit 32 bits, signed)")
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
