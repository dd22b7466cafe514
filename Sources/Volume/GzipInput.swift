import CNIfTI

/// Inflates the gzip members of a file one after the other; zlib compares checksum and length at the end of each.
@safe final class GzipInput {
    private let file: InputFile
    private let stream: UnsafeMutablePointer<z_stream>
    private let input: UnsafeMutableRawBufferPointer
    private var sourceEnded = false
    /// Set after the last member, when nothing or only garbage follows.
    private(set) var finished = false
    /// Uncompressed bytes delivered, and those of them that lie in members whose checksum and length were found right.
    private var produced = 0
    private(set) var verifiedBytes = 0
    /// Whether bytes that are no gzip member follow the last one.
    private(set) var trailingGarbage = false

    /// Bytes of the compressed-side buffer; with zlib's own state about 110 KiB in all.
    static let bufferBytes = 65536

    /// - Parameter file: positioned at its first byte.
    init(file: InputFile) throws(VolumeError) {
        self.file = file
        // zlib keeps the address of the stream inside its state, so it must not move: heap, not a field.
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        unsafe input = .allocate(byteCount: Self.bufferBytes, alignment: 16)
        // 15 + 16: the full window, gzip wrapper.
        let status = unsafe inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard status == Z_OK else { throw .malformed(file.path, "zlib cannot start (status \(status))") }
    }

    deinit {
        unsafe inflateEnd(stream)
        unsafe stream.deallocate()
        unsafe input.deallocate()
    }

    /// Inflates into `buffer`.
    /// - Returns: bytes written; fewer than `buffer.count` only when the last member has ended.
    /// - Throws: exit 4 for damaged or truncated data.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(VolumeError) -> Int {
        var done = 0
        try unsafe read(into: buffer, done: &done)
        return done
    }

    /// The same with the bytes written in `done`, also when it throws.
    func read(into buffer: UnsafeMutableRawBufferPointer, done: inout Int) throws(VolumeError) {
        while done < buffer.count && !finished {
            try refill()
            let piece = min(buffer.count - done, 1 << 30)
            unsafe stream.pointee.next_out = (buffer.baseAddress! + done).assumingMemoryBound(to: UInt8.self)
            unsafe stream.pointee.avail_out = UInt32(piece)
            let status = unsafe inflate(stream, Z_NO_FLUSH)
            let fresh = unsafe piece - Int(stream.pointee.avail_out)
            done += fresh
            produced += fresh
            switch status {
            case Z_OK: break
            case Z_STREAM_END:
                verifiedBytes = produced
                try startNextMember()
            case Z_BUF_ERROR where !sourceEnded: break
            case Z_BUF_ERROR:
                throw .malformed(
                    file.path, "gzip stream is truncated (\(file.size) bytes, must end with its checksum)")
            default:
                let text = unsafe stream.pointee.msg.map { unsafe String(cString: $0) } ?? "status \(status)"
                throw .malformed(file.path, "gzip data damaged: \(text)")
            }
        }
    }

    /// Reads more of the file when every byte in the buffer is consumed.
    private func refill() throws(VolumeError) {
        guard unsafe stream.pointee.avail_in == 0, !sourceEnded else { return }
        let got = try unsafe file.read(into: input)
        sourceEnded = got < Self.bufferBytes
        unsafe stream.pointee.next_in = input.baseAddress!.assumingMemoryBound(to: UInt8.self)
        unsafe stream.pointee.avail_in = UInt32(got)
    }

    /// After one member: another one (block-compressed files have thousands), garbage, or the end.
    private func startNextMember() throws(VolumeError) {
        try refill()
        guard unsafe stream.pointee.avail_in > 0 else {
            finished = true
            return
        }
        // The second byte of the mark may still be in the file; inflate then judges it.
        let next = unsafe stream.pointee.next_in!
        let isMember = unsafe next[0] == 0x1f && (stream.pointee.avail_in < 2 || next[1] == 0x8b)
        guard isMember, unsafe inflateReset(stream) == Z_OK else {
            finished = true
            trailingGarbage = true
            return
        }
    }
}
