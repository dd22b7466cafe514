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

    public convenience init(path: String) throws(ModelOpenError) {
        let mapping = try Mapping(path: path)
        try unsafe self.init(path: path, memory: mapping.memory, owner: mapping)
    }

    private init(path: String, memory: UnsafeRawBufferPointer, owner: any AnyObject & Sendable) throws(ModelOpenError) {
        self.path = path
        do throws(ModelFileError) {
            file = try unsafe ModelFile(validating: memory, owner: owner)
        } catch {
            throw ModelOpenError(path: path, message: error.description, exitCode: 6)
        }
    }
}

extension MappedModel {
    /// A model that is not in a file yet.
    /// - Parameter path: what messages call it.
    public convenience init(path: String, bytes: [UInt8]) throws(ModelOpenError) {
        let memory = ModelMemory(bytes)
        try unsafe self.init(path: path, memory: UnsafeRawBufferPointer(memory.bytes), owner: memory)
    }
}

/// A copy of a model's bytes, aligned as a mapping would be.
@safe public final class ModelMemory: @unchecked Sendable {
    public let bytes: UnsafeMutableRawBufferPointer

    public init(_ source: [UInt8]) {
        unsafe bytes = .allocate(byteCount: max(1, source.count), alignment: MKQ.alignment)
        unsafe bytes.copyBytes(from: source)
    }

    deinit { unsafe bytes.deallocate() }
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
