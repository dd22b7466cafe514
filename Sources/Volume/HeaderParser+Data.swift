/// Where the voxels are, and what lies between header and voxels.
extension HeaderParser {
    /// The file with the voxels, their offset in it and the most bytes it can hold.
    struct DataPlace {
        let path: String
        let offset: Int
        let available: Int
    }

    mutating func locateData(_ raw: RawHeader, isPair: Bool, header: ByteSource) throws(VolumeError)
        -> DataPlace
    {
        let given = raw.real(.voxOffset)
        guard given.isFinite, given.magnitude < 0x1p53 else {
            throw fail("vox_offset=\(raw.text(.voxOffset)) (must be a finite byte offset)")
        }
        guard given.rounded(.towardZero) == given else {
            throw fail("vox_offset=\(raw.text(.voxOffset)) (must be a whole number)")
        }
        var offset = Int(given)
        if isPair {
            guard offset >= 0 else { throw fail("vox_offset=\(offset) (must be 0 or more)") }
            let path = try imagePath()
            let size = try ByteSource(path: path).largestSize
            return DataPlace(path: path, offset: offset, available: size)
        }
        let first = raw.firstDataOffset
        if offset == 0 {
            warn("vox_offset=0 taken as \(first)")
            offset = first
        }
        guard offset >= first else { throw fail("vox_offset=\(offset) (must be at least \(first))") }
        let size = header.largestSize
        guard offset <= size else {
            throw fail("vox_offset=\(offset) (must be less than \(size), what the file can hold)")
        }
        return DataPlace(path: header.file.path, offset: offset, available: size)
    }

    /// The `.img` that belongs to the `.hdr` the user named (or that was named itself).
    private func imagePath() throws(VolumeError) -> String {
        let lower = path.lowercased()
        if lower.hasSuffix(".img") || lower.hasSuffix(".img.gz") { return path }
        let stem = String(path.dropLast(lower.hasSuffix(".gz") ? 7 : 4))
        for suffix in [".img", ".img.gz", ".IMG", ".IMG.gz", ".IMG.GZ"] where InputFile.exists(stem + suffix) {
            return stem + suffix
        }
        throw fail("no image file \(stem).img or \(stem).img.gz beside the header")
    }

    /// Extensions are of no use here; odd ones are only mentioned, because `vox_offset` says where the voxels are.
    mutating func checkExtensions(_ raw: RawHeader, _ source: ByteSource, offset: Int) throws(VolumeError) {
        // One block of this size tells enough; the rest is skipped unread.
        let limit = 1 << 16
        let flag = try source.bytes(4)
        guard let first = flag.first, first != 0 else { return }
        let space = offset - raw.firstDataOffset
        guard space > 0 else {
            warn("extension flag is set but vox_offset=\(offset) leaves no room for an extension; ignored")
            return
        }
        let block = try source.bytes(min(space, limit))
        var start = 0
        while start + 8 <= block.count {
            var word: UInt32 = 0
            for index in 0..<4 { word |= UInt32(block[start + index]) << UInt32(8 * index) }
            var size = Int(Int32(bitPattern: UInt32(littleEndian: word)))
            if raw.isSwapped { size = Int(Int32(bitPattern: UInt32(littleEndian: word).byteSwapped)) }
            guard size >= 16, size % 16 == 0, size <= space - start else {
                warn(
                    "extension size esize=\(size) (must be a multiple of 16 that ends before vox_offset=\(offset)); ignored"
                )
                return
            }
            start += size
        }
    }
}
