import Glibc
import HostRuntime

/// Bytes of a volume between two steps of a run, all 0 at first: in memory, or where that was not promised in a nameless
/// file beside the output, which is gone when the process ends, however it ends.
@safe final class ByteStore {
    private let memory: Arena?
    private let descriptor: Int32
    private let path: String

    /// - Parameters:
    ///   - count: bytes.
    ///   - folder: nil to keep them in memory, else the folder of the file ("" for the current one).
    ///   - path: named in errors.
    /// - Throws: exit 8 when the file cannot be made or the disk has not that much.
    init(count: Int, folder: String?, path: String) throws(VolumeError) {
        self.path = path
        guard let folder else {
            guard let arena = Arena(byteCount: count) else {
                throw .output(path, "out of memory for \(count) bytes")
            }
            memory = arena
            descriptor = -1
            return
        }
        memory = nil
        descriptor = NamelessFile.open(folder: folder.isEmpty ? "." : folder)
        guard descriptor >= 0 else {
            throw .output(path, "cannot create a file beside it: \(VolumeError.reason(errno))")
        }
        // A full disk shows here, not in the middle of the run. Some file systems cannot promise space.
        let status = posix_fallocate(descriptor, 0, count)
        guard status == 0 || status == EOPNOTSUPP || status == EINVAL else {
            let code = status
            throw .output(path, "cannot keep \(count) bytes beside it: \(VolumeError.reason(code))")
        }
        if status != 0 { ftruncate(descriptor, count) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    var isInMemory: Bool { memory != nil }

    /// All bytes, when they are in memory.
    var bytes: UnsafeMutableRawBufferPointer? { unsafe memory?.bytes }

    func write(_ source: UnsafeRawBufferPointer, at offset: Int) throws(VolumeError) {
        guard unsafe put(source, at: offset) else {
            throw .output(path, "cannot write beside it: \(VolumeError.reason(errno))")
        }
    }

    /// - Returns: false when the disk is full and the like.
    func put(_ source: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        if let memory {
            unsafe (memory.bytes.baseAddress! + offset).copyMemory(
                from: source.baseAddress!, byteCount: source.count)
            return true
        }
        var done = 0
        while done < source.count {
            let put = unsafe pwrite(descriptor, source.baseAddress! + done, source.count - done, offset + done)
            if put < 0 && errno == EINTR { continue }
            guard put > 0 else { return false }
            done += put
        }
        return true
    }

    func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(VolumeError) {
        guard unsafe get(target, at: offset) else {
            throw .output(path, "cannot read back what was kept beside it: \(VolumeError.reason(errno))")
        }
    }

    func get(_ target: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        if let memory {
            unsafe target.baseAddress!.copyMemory(from: memory.bytes.baseAddress! + offset, byteCount: target.count)
            return true
        }
        var done = 0
        while done < target.count {
            let got = unsafe pread(descriptor, target.baseAddress! + done, target.count - done, offset + done)
            if got < 0 && errno == EINTR { continue }
            guard got > 0 else { return false }
            done += got
        }
        return true
    }
}

extension ByteStore {
    func write<T: BitwiseCopyable>(_ source: [T], at offset: Int) throws(VolumeError) {
        try unsafe source.withUnsafeBufferPointer { (buffer) throws(VolumeError) in
            try unsafe write(UnsafeRawBufferPointer(buffer), at: offset)
        }
    }

    func read<T: BitwiseCopyable>(into target: inout [T], at offset: Int) throws(VolumeError) {
        try unsafe target.withUnsafeMutableBufferPointer { (buffer) throws(VolumeError) in
            try unsafe read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
        }
    }
}
