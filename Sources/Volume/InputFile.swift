import Glibc

/// A regular file opened for sequential reading. Closed when released.
final class InputFile {
    let path: String
    /// Size in bytes when it was opened.
    let size: Int
    private let descriptor: Int32

    /// - Throws: exit 3 when the file is missing, unreadable or not a regular file.
    init(path: String) throws(VolumeError) {
        // Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        let opened = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard opened >= 0 else { throw .unreadable(path, "cannot open", errno: errno) }
        var status = stat()
        guard unsafe fstat(opened, &status) == 0 else {
            let code = errno
            close(opened)
            throw .unreadable(path, "cannot stat", errno: code)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(opened)
            throw VolumeError(exitCode: 3, file: path, message: "not a regular file")
        }
        self.path = path
        self.size = Int(status.st_size)
        self.descriptor = opened
    }

    deinit { close(descriptor) }

    /// Fills `buffer` from the current position.
    /// - Returns: the bytes read; fewer than `buffer.count` only at the end of the file.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(VolumeError) -> Int {
        guard let base = buffer.baseAddress else { return 0 }
        var done = 0
        while done < buffer.count {
            let got = unsafe Glibc.read(descriptor, base + done, buffer.count - done)
            if got == 0 { break }
            guard got > 0 else {
                if errno == EINTR { continue }
                throw .unreadable(path, "cannot read", errno: errno)
            }
            done += got
        }
        return done
    }

    /// Moves to an absolute byte position.
    func seek(to position: Int) throws(VolumeError) {
        guard lseek(descriptor, position, SEEK_SET) == position else {
            throw .unreadable(path, "cannot seek", errno: errno)
        }
    }

    /// Whether a file can be opened under this name (a directory counts as absent).
    static func exists(_ path: String) -> Bool {
        var status = stat()
        return unsafe (stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG)
    }
}
