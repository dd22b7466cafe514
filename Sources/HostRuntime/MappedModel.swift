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
public final class MappedModel: Sendable {
    public let path: String
    /// Keeps the mapping alive by itself.
    public let file: ModelFile
    public var byteCount: Int { file.bytes.count }
    /// CRC-32C of the whole file, to name it in reports.
    public var checksum: UInt32 { unsafe CRC32C.checksum(file.bytes.bytes) }

    public init(path: String) throws(ModelOpenError) {
        self.path = path
        let mapping = try Mapping(path: path)
        do throws(ModelFileError) {
            file = try unsafe ModelFile(validating: mapping.memory, owner: mapping)
        } catch {
            throw ModelOpenError(path: path, message: error.description, exitCode: 6)
        }
    }
}

/// A whole file mapped read-only.
@safe private final class Mapping: @unchecked Sendable {
    let memory: UnsafeRawBufferPointer

    init(path: String) throws(ModelOpenError) {
        func unreadable(_ reason: String) -> ModelOpenError { ModelOpenError(path: path, message: reason, exitCode: 3) }
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw unreadable(unsafe String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var info = stat()
        guard unsafe fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            throw unreadable("not a regular file")
        }
        guard info.st_size > 0 else { throw ModelOpenError(path: path, message: "empty file", exitCode: 6) }
        let size = Int(info.st_size)
        guard let base = unsafe mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), unsafe base != MAP_FAILED else {
            throw unreadable("cannot map \(size) bytes")
        }
        unsafe memory = UnsafeRawBufferPointer(start: base, count: size)
    }

    deinit { unsafe munmap(UnsafeMutableRawPointer(mutating: memory.baseAddress), memory.count) }
}
