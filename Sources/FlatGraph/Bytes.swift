/// Little-endian reads from borrowed memory. Offsets are checked: a record can never read outside the file, whatever
/// the numbers in it say.
@safe public struct ByteView: Sendable {
    private nonisolated(unsafe) let base: UnsafeRawPointer?
    public let count: Int

    /// The caller keeps the memory alive and unchanged for as long as the view is used.
    public init(_ bytes: UnsafeRawBufferPointer) {
        unsafe base = bytes.baseAddress
        count = bytes.count
    }

    private func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, _ offset: Int) -> T {
        precondition(offset >= 0 && offset <= count - MemoryLayout<T>.size, "read outside the file")
        return T(littleEndian: unsafe base!.loadUnaligned(fromByteOffset: offset, as: T.self))
    }

    public func u8(_ offset: Int) -> UInt8 { load(UInt8.self, offset) }
    public func u16(_ offset: Int) -> UInt16 { load(UInt16.self, offset) }
    public func i16(_ offset: Int) -> Int16 { load(Int16.self, offset) }
    public func u32(_ offset: Int) -> UInt32 { load(UInt32.self, offset) }
    public func i32(_ offset: Int) -> Int32 { load(Int32.self, offset) }
    public func u64(_ offset: Int) -> UInt64 { load(UInt64.self, offset) }
    public func i64(_ offset: Int) -> Int64 { load(Int64.self, offset) }

    /// A part of the view. Precondition: inside.
    public func slice(_ offset: Int, _ length: Int) -> ByteView {
        precondition(offset >= 0 && length >= 0 && offset <= count - length, "slice outside the file")
        return unsafe ByteView(UnsafeRawBufferPointer(start: base.map { unsafe $0 + offset }, count: length))
    }

    public var bytes: UnsafeRawBufferPointer { unsafe UnsafeRawBufferPointer(start: base, count: count) }
}

/// Little-endian appends.
public struct ByteWriter: Sendable {
    public private(set) var bytes: [UInt8] = []

    public init() {}

    public var count: Int { bytes.count }

    public mutating func append<T: FixedWidthInteger>(_ value: T) {
        var bits = value
        for _ in 0..<(T.bitWidth / 8) {
            bytes.append(UInt8(truncatingIfNeeded: bits))
            bits = T.bitWidth > 8 ? bits &>> 8 : 0
        }
    }

    public mutating func append(contentsOf other: [UInt8]) {
        bytes += other
    }

    /// Zeros up to the next multiple of `alignment`.
    public mutating func pad(to alignment: Int) {
        while bytes.count % alignment != 0 { bytes.append(0) }
    }

    public mutating func zeros(_ count: Int) {
        bytes += [UInt8](repeating: 0, count: count)
    }

    /// Overwrites four bytes written before.
    public mutating func patch(_ value: UInt32, at offset: Int) {
        for i in 0..<4 { bytes[offset + i] = UInt8(truncatingIfNeeded: value &>> UInt32(8 * i)) }
    }
}
