import FixedPoint

/// Header and section table: sizes, order, alignment, padding and checksums. Everything is compared with the real
/// size of the file before it is followed.
enum SectionTable {
    static func read(_ file: ByteView) throws(ModelFileError) -> InlineArray<13, ByteView> {
        try checkHeader(file)
        var sections = unsafe InlineArray<13, ByteView>(
            repeating: ByteView(UnsafeRawBufferPointer(start: nil, count: 0)))
        var end = MKQ.headerBytes + Section.allCases.count * MKQ.sectionEntryBytes
        for section in Section.allCases {
            let entry = MKQ.headerBytes + (Int(section.rawValue) - 1) * MKQ.sectionEntryBytes
            sections[Int(section.rawValue) - 1] = try readSection(section, file, entry, &end)
        }
        try checkZeros(file, from: end, to: file.count)
        return sections
    }

    private static func checkHeader(_ file: ByteView) throws(ModelFileError) {
        let tableEnd = MKQ.headerBytes + Section.allCases.count * MKQ.sectionEntryBytes
        guard file.count >= MKQ.headerBytes else {
            throw ModelFileError(.tooShort, .header, value: file.count, expected: MKQ.headerBytes)
        }
        for i in 0..<8 where file.u8(i) != MKQ.magic[i] { throw ModelFileError(.badMagic, .header) }
        guard file.u16(8) == MKQ.versionMajor else {
            throw ModelFileError(
                .unsupportedVersion, .header, value: Int(file.u16(8)), expected: Int(MKQ.versionMajor))
        }
        guard file.u64(16) == UInt64(file.count), file.count >= tableEnd else {
            throw ModelFileError(
                .wrongLength, .header, value: file.count, expected: Int(truncatingIfNeeded: file.u64(16)))
        }
        guard file.u32(12) == UInt32(Section.allCases.count) else {
            throw ModelFileError(
                .badSectionTable, .header, field: "count", value: Int(clamping: file.u32(12)),
                expected: Section.allCases.count)
        }
        // The checksum field itself counts as zero.
        var crc = CRC32C()
        for i in 0..<tableEnd { crc.update((24..<28).contains(i) ? 0 : file.u8(i)) }
        guard crc.value == file.u32(24) else {
            throw ModelFileError(
                .headerChecksum, .header, value: Int(truncatingIfNeeded: crc.value),
                expected: Int(truncatingIfNeeded: file.u32(24)))
        }
        for i in 28..<MKQ.headerBytes where file.u8(i) != 0 {
            throw ModelFileError(.badRecord, .header, field: "reserved", value: i)
        }
    }

    private static func readSection(
        _ section: Section, _ file: ByteView, _ entry: Int, _ end: inout Int
    ) throws(ModelFileError) -> ByteView {
        func fail(_ field: StaticString, _ value: UInt64, _ expected: Int) -> ModelFileError {
            ModelFileError(
                .badSectionTable, section.place, field: field, value: Int(truncatingIfNeeded: value), expected: expected
            )
        }
        guard file.u32(entry) == section.rawValue else {
            throw fail("kind", UInt64(file.u32(entry)), Int(section.rawValue))
        }
        let start = (end + MKQ.alignment - 1) & ~(MKQ.alignment - 1)
        let offset = file.u64(entry + 8)
        let length = file.u64(entry + 16)
        guard offset == UInt64(start) else { throw fail("offset", offset, start) }
        guard start <= file.count, length <= UInt64(file.count - start) else {
            throw fail("bytes", length, max(0, file.count - start))
        }
        let count = Int(clamping: file.u32(entry + 24))
        let bytes = Int(length)
        guard bytes % section.recordBytes == 0, bytes / section.recordBytes == count, file.u32(entry + 28) == 0 else {
            throw fail("records", UInt64(count), bytes / section.recordBytes)
        }
        try checkZeros(file, from: end, to: start)
        let view = file.slice(start, bytes)
        let crc = unsafe CRC32C.checksum(view.bytes)
        guard crc == file.u32(entry + 4) else {
            throw ModelFileError(
                .sectionChecksum, section.place, value: Int(truncatingIfNeeded: crc),
                expected: Int(truncatingIfNeeded: file.u32(entry + 4)))
        }
        end = start + bytes
        return view
    }

    private static func checkZeros(_ file: ByteView, from: Int, to: Int) throws(ModelFileError) {
        guard from < to else { return }
        for i in from..<to where file.u8(i) != 0 { throw ModelFileError(.nonzeroPadding, .header, value: i) }
    }
}
