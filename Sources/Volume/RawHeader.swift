/// The bytes of a NIfTI header, brought into native byte order, with access by field.
struct RawHeader: Sendable, Equatable {
    /// 1 or 2.
    let version: Int
    /// 348 or 540 bytes.
    private(set) var bytes: [UInt8]
    /// Whether the file has the other byte order (voxels too).
    let isSwapped: Bool

    /// Bytes of a header and of the 4-byte extension flag that follows it in a single file.
    static func length(version: Int) -> Int { version == 1 ? 348 : 540 }
    var firstDataOffset: Int { bytes.count + 4 }

    /// The version and the byte order that the first four bytes tell; nil when they are neither 348 nor 540.
    static func identify(_ bytes: [UInt8]) -> (version: Int, isSwapped: Bool)? {
        guard bytes.count >= 4 else { return nil }
        var value: UInt32 = 0
        for index in 0..<4 { value |= UInt32(bytes[index]) << UInt32(8 * index) }
        let native = UInt32(littleEndian: value)
        for (version, length) in [(1, UInt32(348)), (2, 540)] {
            if native == length { return (version, false) }
            if native.byteSwapped == length { return (version, true) }
        }
        return nil
    }

    /// - Parameter bytes: exactly the header, in the file's byte order.
    init(bytes: [UInt8], version: Int, isSwapped: Bool) {
        self.version = version
        self.bytes = bytes
        self.isSwapped = isSwapped
        if isSwapped { swapFields() }
    }

    private mutating func swapFields() {
        for field in HeaderField.allCases {
            guard let place = field.place(version: version), place.width > 1 else { continue }
            for element in 0..<place.count {
                let start = place.offset + element * place.width
                bytes[start..<start + place.width].reverse()
            }
        }
    }

    private func load<T: BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T {
        unsafe bytes.span.bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: type)
    }

    private mutating func store<T: BitwiseCopyable>(_ value: T, at offset: Int) {
        unsafe withUnsafeBytes(of: value) {
            unsafe bytes.replaceSubrange(offset..<offset + $0.count, with: $0)
        }
    }

    /// An integer element. The field must exist in this version and be of an integer kind.
    func integer(_ field: HeaderField, _ index: Int = 0) -> Int {
        guard let place = field.place(version: version) else { return 0 }
        let offset = place.offset + index * place.width
        switch place.kind {
        case .int8: return Int(load(Int8.self, at: offset))
        case .int16: return Int(load(Int16.self, at: offset))
        case .int32: return Int(load(Int32.self, at: offset))
        case .int64: return Int(load(Int64.self, at: offset))
        case .float32, .float64: preconditionFailure("\(field) is a real field")
        }
    }

    /// A real element; an integer field is converted.
    func real(_ field: HeaderField, _ index: Int = 0) -> Double {
        guard let place = field.place(version: version) else { return 0 }
        let offset = place.offset + index * place.width
        switch place.kind {
        case .float32: return Double(load(Float.self, at: offset))
        case .float64: return load(Double.self, at: offset)
        default: return Double(integer(field, index))
        }
    }

    /// The value as a message shows it: a float32 with the digits it has, not those of its double.
    func text(_ field: HeaderField, _ index: Int = 0) -> String {
        guard let place = field.place(version: version) else { return "absent" }
        let offset = place.offset + index * place.width
        switch place.kind {
        case .float32: return "\(load(Float.self, at: offset))"
        case .float64: return "\(load(Double.self, at: offset))"
        default: return "\(integer(field, index))"
        }
    }

    /// The bytes of a text field up to its first zero.
    func string(_ field: HeaderField) -> [UInt8] {
        guard let place = field.place(version: version) else { return [] }
        return Array(bytes[place.offset..<place.offset + place.count].prefix { $0 != 0 })
    }

    /// Stores an integer, which must fit the field.
    mutating func set(_ field: HeaderField, _ index: Int = 0, _ value: Int) {
        guard let place = field.place(version: version) else { return }
        let offset = place.offset + index * place.width
        switch place.kind {
        case .int8: store(Int8(value), at: offset)
        case .int16: store(Int16(value), at: offset)
        case .int32: store(Int32(value), at: offset)
        case .int64: store(Int64(value), at: offset)
        case .float32: store(Float(value), at: offset)
        case .float64: store(Double(value), at: offset)
        }
    }

    /// Stores a real number into a real field.
    mutating func set(_ field: HeaderField, _ index: Int = 0, real value: Double) {
        guard let place = field.place(version: version) else { return }
        let offset = place.offset + index * place.width
        if place.kind == .float32 { store(Float(value), at: offset) } else { store(value, at: offset) }
    }

    /// Stores text, cut so that a terminating zero remains, and clears the rest of the field.
    mutating func set(_ field: HeaderField, text: String) {
        guard let place = field.place(version: version) else { return }
        let cut = Array(text.utf8.prefix(place.count - 1))
        for index in 0..<place.count { bytes[place.offset + index] = index < cut.count ? cut[index] : 0 }
    }

    /// Stores the mark of a single file (`n+1` or `n+2`).
    mutating func setSingleFileMagic() {
        let magic: [UInt8] =
            version == 1 ? [0x6e, 0x2b, 0x31, 0] : [0x6e, 0x2b, 0x32, 0, 0x0d, 0x0a, 0x1a, 0x0a]
        let place = HeaderField.magic.place(version: version)!
        bytes.replaceSubrange(place.offset..<place.offset + place.count, with: magic)
    }
}
