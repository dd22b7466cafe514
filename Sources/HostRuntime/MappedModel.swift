import FixedPoint
import FlatGraph
import Glibc

/// Why a model file could not be opened.
public struct ModelOpenError: Error, CustomStringConvertible, Sendable {
    public var path: String
    public var message: String
    /// 3 when the file is missing or unreadable, 6 when its contents are refused.
    public var exitCode: Int32

    public var description: String { "\(path): \(message)" }
}

/// A `.mkq` file mapped read-only: weights are used where they lie, and pages that are not needed are not read.
@safe public final class MappedModel {
    public let path: String
    public let file: ModelFile
    private let memory: UnsafeMutableRawBufferPointer

    public var byteCount: Int { unsafe memory.count }

    public init(path: String) throws(ModelOpenError) {
        func unreadable(_ reason: String) -> ModelOpenError { ModelOpenError(path: path, message: reason, exitCode: 3) }
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw unreadable(unsafe String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var info = stat()
        guard unsafe fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            throw unreadable("not a regular file")
        }
        guard info.st_size > 0 else {
            throw ModelOpenError(path: path, message: "empty file", exitCode: 6)
        }
        let size = Int(info.st_size)
        guard let base = unsafe mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), unsafe base != MAP_FAILED else {
            throw unreadable("cannot map \(size) bytes")
        }
        self.path = path
        unsafe memory = UnsafeMutableRawBufferPointer(start: base, count: size)
        do throws(ModelFileError) {
            file = try unsafe ModelFile(validating: UnsafeRawBufferPointer(memory))
        } catch {
            unsafe munmap(base, size)
            throw ModelOpenError(path: path, message: error.description, exitCode: 6)
        }
    }

    /// CRC-32C of the whole file, to name it in reports.
    public var checksum: UInt32 { unsafe CRC32C.checksum(UnsafeRawBufferPointer(memory)) }

    deinit { unsafe munmap(memory.baseAddress, memory.count) }
}
