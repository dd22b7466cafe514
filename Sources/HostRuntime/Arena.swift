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
        unsafe bytes = UnsafeMutableRawBufferPointer(start: base, count: size)
    }

    deinit { unsafe munmap(bytes.baseAddress, bytes.count) }
}

/// What the kernel says of this process.
public enum ProcessMemory {
    /// Largest resident set so far, in bytes.
    public static var peakResidentBytes: Int {
        var usage = rusage()
        unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss * 1024
    }

    /// Makes freed blocks of 1 MiB and more go back to the system at once, so that what is freed no longer counts.
    public static func returnFreedMemory() { mk_return_freed_memory() }
}
