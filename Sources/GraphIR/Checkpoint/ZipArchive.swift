/// Read access to a stored (uncompressed) zip archive, as `torch.save` writes it. Compressed, encrypted, split and
/// 64-bit archives are refused by name.
struct ZipArchive {
    struct Entry: Sendable {
        var name: String
        var range: Range<Int>
        var crc: UInt32
    }

    let bytes: [UInt8]
    let path: String
    let entries: [String: Entry]

    private static let maximumEntries = 100_000

    init(bytes: [UInt8], path: String) throws(ImportError) {
        self.bytes = bytes
        self.path = path
        entries = try Directory(bytes: bytes, path: path).read(limit: Self.maximumEntries)
    }

    /// Contents of an entry, its CRC-32 checked.
    func data(_ entry: Entry) throws(ImportError) -> [UInt8] {
        let content = Array(bytes[entry.range])
        guard CRC32.checksum(content) == entry.crc else {
            throw ImportError(.malformed, path, "zip entry \(entry.name): CRC-32 does not match: damaged")
        }
        return content
    }
}

/// The central directory at the end of the archive, and the local headers it points to.
private struct Directory {
    let bytes: [UInt8]
    let path: String

    private func fail(_ message: String, _ kind: ImportError.Kind = .malformed) -> ImportError {
        ImportError(kind, path, message)
    }

    func read(limit: Int) throws(ImportError) -> [String: ZipArchive.Entry] {
        let end = try findEnd()
        let count = Int(bytes.little(end + 10, 2))
        let size = Int(bytes.little(end + 12, 4))
        var at = Int(bytes.little(end + 16, 4))
        guard count != 0xFFFF, at != 0xFFFF_FFFF else { throw fail("64-bit zip archives are not supported", .unsupported) }
        guard bytes.little(end + 4, 4) == 0 else { throw fail("split zip archives are not supported", .unsupported) }
        guard count <= limit, at <= end, size == end - at || size <= end - at else {
            throw fail("zip directory of \(size) bytes at \(at) lies outside the file")
        }
        var result: [String: ZipArchive.Entry] = [:]
        for _ in 0..<count {
            let (entry, next) = try entry(at, before: end)
            guard result.updateValue(entry, forKey: entry.name) == nil else {
                throw fail("zip entry \(entry.name) occurs twice")
            }
            at = next
        }
        return result
    }

    private func findEnd() throws(ImportError) -> Int {
        let lowest = max(0, bytes.count - 22 - 65_535)
        guard bytes.count >= 22 else { throw fail("zip archive of \(bytes.count) bytes is truncated") }
        for at in stride(from: bytes.count - 22, through: lowest, by: -1)
        where bytes.little(at, 4) == 0x0605_4B50 && Int(bytes.little(at + 20, 2)) == bytes.count - at - 22 {
            return at
        }
        throw fail("zip archive has no end record: truncated")
    }

    private func entry(_ at: Int, before end: Int) throws(ImportError) -> (ZipArchive.Entry, Int) {
        guard at >= 0, at + 46 <= end, bytes.little(at, 4) == 0x0201_4B50 else { throw fail("zip directory entry at \(at) is damaged") }
        let nameLength = Int(bytes.little(at + 28, 2))
        let next = at + 46 + nameLength + Int(bytes.little(at + 30, 2)) + Int(bytes.little(at + 32, 2))
        guard next <= end, let name = String(validating: bytes[(at + 46)..<(at + 46 + nameLength)], as: UTF8.self) else {
            throw fail("zip directory entry at \(at) is damaged")
        }
        guard bytes.little(at + 8, 2) & 1 == 0 else { throw fail("zip entry \(name) is encrypted", .unsupported) }
        guard bytes.little(at + 10, 2) == 0 else {
            throw fail("zip entry \(name) is compressed (method \(bytes.little(at + 10, 2))); torch.save stores", .unsupported)
        }
        let size = Int(bytes.little(at + 20, 4))
        guard size == Int(bytes.little(at + 24, 4)) else { throw fail("zip entry \(name) has two sizes") }
        let local = Int(bytes.little(at + 42, 4))
        guard size != 0xFFFF_FFFF, local != 0xFFFF_FFFF else { throw fail("64-bit zip archives are not supported", .unsupported) }
        guard local + 30 <= bytes.count, bytes.little(local, 4) == 0x0403_4B50 else {
            throw fail("zip entry \(name): no local header at \(local)")
        }
        let start = local + 30 + Int(bytes.little(local + 26, 2)) + Int(bytes.little(local + 28, 2))
        guard start <= bytes.count, size <= bytes.count - start else {
            throw fail("zip entry \(name): \(size) bytes at \(start) lie outside the file")
        }
        return (.init(name: name, range: start..<(start + size), crc: UInt32(bytes.little(at + 16, 4))), next)
    }
}

/// CRC-32 of zip (ISO 3309, reflected polynomial 0xEDB88320).
enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 != 0 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    }

    static func checksum(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~0) { table[Int(($0 ^ UInt32($1)) & 0xFF)] ^ ($0 >> 8) }
    }
}
