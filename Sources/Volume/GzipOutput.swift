import CNIfTI

/// Compresses into an output file as one gzip member without name or time, so that equal voxels give equal files.
@safe final class GzipOutput {
    private let file: OutputFile
    private let stream: UnsafeMutablePointer<z_stream>
    private let output: UnsafeMutableRawBufferPointer
    private static let bufferBytes = 65536

    /// What is to be compressed.
    enum Content {
        /// Long runs of equal bytes. Looking for nothing else takes a third of the time, and 104-class maps grow by a quarter, masks by
        /// a twentieth.
        case labels
        case values
    }

    init(file: OutputFile, content: Content) throws(VolumeError) {
        self.file = file
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        unsafe output = .allocate(byteCount: Self.bufferBytes, alignment: 16)
        let status = unsafe deflateInit2_(
            stream, 6, Z_DEFLATED, 15 + 16, 8, content == .labels ? Z_RLE : Z_DEFAULT_STRATEGY, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        guard status == Z_OK else { throw .output(file.path, "zlib cannot start (status \(status))") }
    }

    deinit {
        unsafe deflateEnd(stream)
        unsafe stream.deallocate()
        unsafe output.deallocate()
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(VolumeError) {
        var start = 0
        while start < bytes.count {
            let piece = min(bytes.count - start, 1 << 30)
            // zlib only reads the input, its field merely lacks the const.
            unsafe stream.pointee.next_in = UnsafeMutablePointer(
                mutating: (bytes.baseAddress! + start).assumingMemoryBound(to: UInt8.self))
            unsafe stream.pointee.avail_in = UInt32(piece)
            while unsafe stream.pointee.avail_in > 0 { _ = try step(Z_NO_FLUSH) }
            start += piece
        }
    }

    /// Writes the rest and the trailer.
    func finish() throws(VolumeError) {
        while try step(Z_FINISH) != Z_STREAM_END {}
    }

    private func step(_ flush: Int32) throws(VolumeError) -> Int32 {
        unsafe stream.pointee.next_out = output.baseAddress!.assumingMemoryBound(to: UInt8.self)
        unsafe stream.pointee.avail_out = UInt32(Self.bufferBytes)
        let status = unsafe deflate(stream, flush)
        guard status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR else {
            throw .output(file.path, "zlib cannot compress (status \(status))")
        }
        let made = unsafe Self.bufferBytes - Int(stream.pointee.avail_out)
        try unsafe file.write(UnsafeRawBufferPointer(rebasing: output[0..<made]))
        return status
    }
}
