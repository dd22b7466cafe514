/// Read access to a stored (uncompressed) zip archive, as `torch.save` writes it. Compressed, encrypted and split
/// archives, and those that need 64-bit fields, are refused by name. Entries may not share bytes, so the contents of
/// all of them together are never larger than the file.
struct ZipArchive: Sendable {
    struct Entry: Sendable {
        var name: String
        /// Offset of the local header.
        var header: Int
        /// The contents.
        var range: Range<Int>
        var crc: UInt32
    }

    let bytes: [UInt8]
    let path: String
    let entries: [String: Entry]

    /// Throws `.malformed` for a damaged archive, `.unsupported` for a kind of archive that is not read.
    init(bytes: [UInt8], path: String) throws(ImportError) {
        self.bytes = bytes
        self.path = path
        entries = try ZipDirectory(bytes: bytes, path: path).read()
    }

    /// Where the contents of an entry lie in `bytes`, once their CRC-32 is found right.
    func checkedRange(_ entry: Entry) throws(ImportError) -> Range<Int> {
        let found = CRC32.checksum(bytes[entry.range])
        guard found == entry.crc else {
            throw ImportError(.malformed, path, "zip entry \(entry.name): CRC-32 does not match: damaged")
        }
        return entry.range
    }

    /// Contents of an entry, its CRC-32 checked.
    func data(_ entry: Entry) throws(ImportError) -> [UInt8] { Array(bytes[try checkedRange(entry)]) }
}

/// The central directory at the end of the archive, and the local headers it points to.
private struct ZipDirectory {
    let bytes: [UInt8]
    let path: String

    private static let is64 = "64-bit zip archives are not supported"

    private func fail(_ message: String, _ kind: ImportError.Kind = .malformed) -> ImportError {
        ImportError(kind, path, message)
    }

    private func field(_ offset: Int, _ count: Int) -> Int { Int(bytes.little(offset, count)) }

    func read() throws(ImportError) -> [String: ZipArchive.Entry] {
        let record = try findEnd()
        let count = field(record + 10, 2)
        let size = field(record + 12, 4)
        let start = field(record + 16, 4)
        // PyTorch always adds the 64-bit end record; what matters is whether the 32-bit fields still tell the truth.
        guard count != 0xFFFF, size != 0xFFFF_FFFF, start != 0xFFFF_FFFF else {
            throw fail(Self.is64, .unsupported)
        }
        guard field(record + 4, 4) == 0, field(record + 8, 2) == count else {
            throw fail("split zip archives are not supported", .unsupported)
        }
        guard start <= record, size <= record - start else {
            throw fail("zip directory of \(size) bytes at \(start) lies outside the file")
        }
        var result: [String: ZipArchive.Entry] = [:]
        var at = start
        for _ in 0..<count {
            let (entry, next) = try entry(at, start: start, end: start + size)
            guard result.updateValue(entry, forKey: entry.name) == nil else {
                throw fail("zip entry \(entry.name) occurs twice")
            }
            at = next
        }
        guard at == start + size else { throw fail("zip directory holds more than its \(count) entries") }
        try checkOverlaps(result.values.sorted { $0.header < $1.header })
        return result
    }

    private func checkOverlaps(_ entries: [ZipArchive.Entry]) throws(ImportError) {
        var end = 0
        for entry in entries {
            guard entry.header >= end else { throw fail("zip entry \(entry.name) overlaps another entry") }
            end = entry.range.upperBound
        }
    }

    private func findEnd() throws(ImportError) -> Int {
        guard bytes.count >= 22 else { throw fail("zip archive of \(bytes.count) bytes is truncated") }
        let lowest = max(0, bytes.count - 22 - 65_535)
        for at in stride(from: bytes.count - 22, through: lowest, by: -1)
        where bytes.little(at, 4) == 0x0605_4B50 && field(at + 20, 2) == bytes.count - at - 22 {
            return at
        }
        throw fail("zip archive has no end record: truncated")
    }

    /// The directory entry at `at`, and the offset of the next one.
    private func entry(_ at: Int, start: Int, end: Int) throws(ImportError) -> (ZipArchive.Entry, Int) {
        guard at + 46 <= end, bytes.little(at, 4) == 0x0201_4B50 else {
            throw fail("zip directory entry at \(at) is damaged")
        }
        let nameLength = field(at + 28, 2)
        let next = at + 46 + nameLength + field(at + 30, 2) + field(at + 32, 2)
        guard next <= end else { throw fail("zip directory entry at \(at) is damaged") }
        let rawName = bytes[(at + 46)..<(at + 46 + nameLength)]
        guard let name = String(validating: rawName, as: UTF8.self), !name.isEmpty else {
            throw fail("zip directory entry at \(at) has a bad name")
        }
        try checkKind(name, flags: field(at + 8, 2), method: field(at + 10, 2))
        let size = field(at + 20, 4)
        let local = field(at + 42, 4)
        guard size != 0xFFFF_FFFF, local != 0xFFFF_FFFF else { throw fail(Self.is64, .unsupported) }
        guard size == field(at + 24, 4) else { throw fail("zip entry \(name) is stored but has two sizes") }
        let content = try contentStart(name, rawName, local, directory: start)
        guard size <= start - content else {
            throw fail("zip entry \(name): \(size) bytes at \(content) lie outside the file")
        }
        let crc = UInt32(bytes.little(at + 16, 4))
        return (.init(name: name, header: local, range: content..<(content + size), crc: crc), next)
    }

    private func checkKind(_ name: String, flags: Int, method: Int) throws(ImportError) {
        guard flags & 0x2041 == 0 else { throw fail("zip entry \(name) is encrypted", .unsupported) }
        guard method == 0 else {
            let kind = method == 8 ? "deflate" : "method \(method)"
            throw fail("zip entry \(name) is compressed (\(kind)); torch.save stores", .unsupported)
        }
    }

    /// End of the local header at `local`, which must tell the same story as the directory: other programs read it
    /// instead, and would see another file.
    private func contentStart(
        _ name: String, _ rawName: ArraySlice<UInt8>, _ local: Int, directory: Int
    ) throws(ImportError) -> Int {
        guard local + 30 <= directory, bytes.little(local, 4) == 0x0403_4B50 else {
            throw fail("zip entry \(name): no local header at \(local)")
        }
        try checkKind(name, flags: field(local + 6, 2), method: field(local + 8, 2))
        let nameEnd = local + 30 + field(local + 26, 2)
        let start = nameEnd + field(local + 28, 2)
        guard start <= directory else {
            throw fail("zip entry \(name): its local header lies outside the file")
        }
        guard bytes[(local + 30)..<nameEnd] == rawName else {
            throw fail("zip entry \(name): its local header has another name")
        }
        return start
    }
}

/// CRC-32 of zip (ISO 3309, reflected polynomial 0xEDB88320).
enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 != 0 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    }

    static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        let table = Self.table
        return ~bytes.reduce(~0) { table[Int(($0 ^ UInt32($1)) & 0xFF)] ^ ($0 >> 8) }
    }
}
