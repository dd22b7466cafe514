import CHost
import Glibc

/// Zeroed memory straight from the kernel: aligned to a page, counted once, and given back at once.
@safe public final class Arena {
    public let bytes: UnsafeMutableRawBufferPointer

    /// nil when the system has not that much.
    public init?(byteCount: Int) {
        let size = max(byteCount, 1)
        guard let base = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            unsafe base != MAP_FAILED
        else { return nil }
        // Fewer pages, fewer misses of the translation cache: blocks of a tensor lie megabytes apart. A hint; some systems have none.
        _ = unsafe madvise(base, size, MADV_HUGEPAGE)
        unsafe bytes = UnsafeMutableRawBufferPointer(start: base, count: size)
    }

    deinit { unsafe munmap(bytes.baseAddress, bytes.count) }
}

/// What the kernel says of this process.
public enum ProcessMemory {
    /// Largest resident set so far, in bytes: VmHWM of /proc/self/status. (getrusage's figure survives an exec, so it may
    /// be that of the parent.) 0 where there is no such file.
    public static var peakResidentBytes: Int {
        let descriptor = unsafe open("/proc/self/status", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        var text = [UInt8](repeating: 0, count: 4096)
        let count = unsafe text.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
        for line in text.prefix(max(0, count)).split(separator: UInt8(ascii: "\n"))
        where line.starts(with: "VmHWM:".utf8) {
            let digits = line.filter { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            return (Int(String(decoding: digits, as: UTF8.self)) ?? 0) * 1024
        }
        return 0
    }

    /// Makes freed blocks of 1 MiB and more go back to the system at once, so that what is freed no longer counts.
    public static func returnFreedMemory() { mk_return_freed_memory() }
}

/// A file that has no name and is gone when it is closed, however the process ends.
public enum NamelessFile {
    /// - Returns: a descriptor open for reading and writing, or -1 with `errno`.
    public static func open(folder: String) -> Int32 {
        let opened = unsafe mk_open_nameless(folder)
        if opened >= 0 { return opened }
        // File systems without nameless files: a name for a moment.
        var template = Array("\(folder)/.mkedge-XXXXXX".utf8CString)
        let made = unsafe template.withUnsafeMutableBufferPointer { unsafe mkstemp($0.baseAddress!) }
        if made >= 0 { _ = unsafe template.withUnsafeBufferPointer { unsafe unlink($0.baseAddress!) } }
        return made
    }
}
