import Glibc

/// A whole file in memory, with its size known before anything is allocated.
public enum SourceFile {
    /// Checkpoints of the networks we convert are a few megabytes; this bounds a mistake, not a network.
    public static let limit = 2 << 30

    /// The bytes of a regular file of at most `limit` bytes.
    ///
    /// Throws `.unreadable` for what is missing, forbidden or no regular file, `.unsupported` for what is too large.
    public static func read(path: String, limit: Int = limit) throws(ImportError) -> [UInt8] {
        // Not blocking: a named pipe must be refused, not waited for.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw ImportError(.unreadable, path, reason()) }
        defer { close(descriptor) }
        var info = stat()
        guard unsafe fstat(descriptor, &info) == 0 else { throw ImportError(.unreadable, path, reason()) }
        guard info.st_mode & S_IFMT == S_IFREG else {
            throw ImportError(.unreadable, path, "not a regular file")
        }
        let size = Int(info.st_size)
        guard size <= limit else {
            throw ImportError(.unsupported, path, "file of \(size) bytes (limit \(limit))")
        }
        var bytes = [UInt8](repeating: 0, count: size)
        var done = 0
        while done < size {
            let got = unsafe bytes.withUnsafeMutableBytes {
                unsafe Glibc.read(descriptor, $0.baseAddress! + done, size - done)
            }
            if got < 0, errno == EINTR { continue }
            guard got > 0 else {
                throw ImportError(.unreadable, path, got < 0 ? reason() : "file shrank while it was read")
            }
            done += got
        }
        return bytes
    }

    private static func reason() -> String { unsafe String(cString: strerror(errno)) }
}

extension [UInt8] {
    /// Little-endian unsigned integer of `count` bytes. Precondition: in range.
    func little(_ offset: Int, _ count: Int) -> UInt64 {
        var value: UInt64 = 0
        for i in (0..<count).reversed() { value = value << 8 | UInt64(self[offset + i]) }
        return value
    }
}
