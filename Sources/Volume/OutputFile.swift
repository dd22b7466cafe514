import CNIfTI
import Glibc

/// For a program that is told to stop while it writes.
public enum UnfinishedOutput {
    /// Removes the temporary file of every output that is not complete. May be called from a signal handler, to end the
    /// process afterwards.
    public static func remove() { mk_pending_remove_all() }
}

/// A file that appears under its name only when it is complete: bytes go to a temporary name in the same folder, `commit`
/// syncs and renames. Whatever goes wrong before, also a release without `commit`, removes the temporary file.
final class OutputFile {
    /// The name the user gave.
    let path: String
    /// Open for writing until `commit`; -1 afterwards.
    package private(set) var descriptor: Int32
    private let temporary: String
    /// Where `UnfinishedOutput` finds the temporary name; -1 when its table is full.
    private let pending: Int32
    private let overwrite: Bool

    /// - Parameter inputs: files that must not be the output (compared as files, not as names).
    /// - Throws: exit 8 when the folder cannot be written, the file exists and `overwrite` is false, or it is an input.
    init(path: String, overwrite: Bool, inputs: [String] = []) throws(VolumeError) {
        var existing = stat()
        if unsafe stat(path, &existing) == 0 {
            for input in inputs {
                var other = stat()
                guard unsafe stat(input, &other) == 0 else { continue }
                if other.st_dev == existing.st_dev && other.st_ino == existing.st_ino {
                    throw .output(path, "output is the input file (must be another file)")
                }
            }
            guard existing.st_mode & S_IFMT == S_IFREG else {
                throw .output(path, "exists and is not a regular file")
            }
            guard overwrite else { throw .output(path, "exists (must be absent, or use --overwrite)") }
        }
        let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
        let folder = slash.map { String(path[...$0]) } ?? ""
        let name = slash.map { String(path[path.utf8.index(after: $0)...]) } ?? path
        guard !name.isEmpty else { throw .output(path, "no file name") }
        // The process id keeps two runs apart; the counter two files of one run and a leftover of a killed one.
        var opened: Int32 = -1
        var candidate = ""
        for attempt in 0..<100 {
            candidate = "\(folder).\(name).\(getpid()).\(attempt).tmp"
            opened = unsafe open(candidate, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
            if opened >= 0 || errno != EEXIST { break }
        }
        guard opened >= 0 else { throw .output(path, "cannot create: \(VolumeError.reason(errno))") }
        self.path = path
        self.overwrite = overwrite
        temporary = candidate
        pending = unsafe mk_pending_add(candidate)
        descriptor = opened
    }

    deinit { discard() }

    /// Closes and removes the temporary file. Does nothing after `commit`.
    func discard() {
        guard descriptor >= 0 else { return }
        close(descriptor)
        descriptor = -1
        unsafe unlink(temporary)
        mk_pending_forget(pending)
    }

    /// Appends all bytes. After an error the file is already discarded.
    func write(_ bytes: UnsafeRawBufferPointer) throws(VolumeError) {
        guard descriptor >= 0 else { throw .output(path, "cannot write: the file is closed") }
        var done = 0
        while done < bytes.count {
            let put = unsafe Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
            if put >= 0 {
                done += put
            } else if errno != EINTR {
                throw fail("cannot write")
            }
        }
    }

    func write(_ bytes: [UInt8]) throws(VolumeError) {
        try unsafe bytes.withUnsafeBufferPointer { (buffer) throws(VolumeError) in
            try unsafe write(UnsafeRawBufferPointer(buffer))
        }
    }

    /// Makes the bytes durable and gives the file its name.
    func commit() throws(VolumeError) {
        guard descriptor >= 0 else { throw .output(path, "cannot finish: the file is closed") }
        // Some file systems do not sync (EINVAL); a full disk may show only here.
        if fsync(descriptor) != 0, errno != EINVAL, errno != EROFS { throw fail("cannot sync") }
        if overwrite {
            if unsafe rename(temporary, path) != 0 { throw fail("cannot rename") }
        } else if unsafe link(temporary, path) == 0 {
            // A link fails where the name has appeared meanwhile; a rename would replace it.
            unsafe unlink(temporary)
        } else if errno == EEXIST {
            throw fail("appeared while writing")
        } else if unsafe rename(temporary, path) != 0 {
            // File systems without hard links.
            throw fail("cannot rename")
        }
        close(descriptor)
        descriptor = -1
        mk_pending_forget(pending)
    }

    private func fail(_ action: String) -> VolumeError {
        let code = errno
        discard()
        return .output(path, "\(action): \(VolumeError.reason(code))")
    }
}

/// Writes a small file whole: a report, a table, a model.
public enum WholeFile {
    /// The name has the old contents or the new, never a part of either.
    /// - Parameter inputs: files that must not be overwritten.
    /// - Throws: exit 8 as `OutputFile` does.
    public static func write(
        _ bytes: [UInt8], to path: String, overwrite: Bool, inputs: [String] = []
    ) throws(VolumeError) {
        let file = try OutputFile(path: path, overwrite: overwrite, inputs: inputs)
        try file.write(bytes)
        try file.commit()
    }

    /// Whether `write` could begin now: to know before long work. Leaves nothing behind.
    /// - Throws: as `write`.
    public static func check(_ path: String, overwrite: Bool, inputs: [String] = []) throws(VolumeError) {
        _ = try OutputFile(path: path, overwrite: overwrite, inputs: inputs)
    }
}
