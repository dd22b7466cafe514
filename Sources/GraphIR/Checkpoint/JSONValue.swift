/// A strict JSON reader (RFC 8259) for untrusted headers: depth and size are limited, a repeated key is an error, and
/// numbers that are integers stay integers.
///
/// Limits: 32 levels, a million values, 64 digits a number.
package enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// Where the text stops being JSON, counted in bytes from its start.
    package struct Fault: Error, Equatable {
        package var offset: Int
        package var reason: String
    }

    package static func parse(_ bytes: ArraySlice<UInt8>) throws(Fault) -> JSONValue {
        var parser = JSONParser(bytes: bytes)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.atEnd else { throw parser.fault("text after the value") }
        return value
    }

    package var object: [String: JSONValue]? { if case .object(let o) = self { o } else { nil } }
    package var string: String? { if case .string(let s) = self { s } else { nil } }
    /// The items of an array whose every item is an integer.
    package var integers: [Int]? {
        guard case .array(let list) = self else { return nil }
        var result: [Int] = []
        for item in list {
            guard case .integer(let value) = item else { return nil }
            result.append(value)
        }
        return result
    }
}

private struct JSONParser {
    let bytes: ArraySlice<UInt8>
    var at: Int

    /// Values so far: bounds the memory that a header of nothing but brackets or zeros would take.
    private var count = 0

    private static let maximumDepth = 32
    private static let maximumCount = 1_000_000

    init(bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        at = bytes.startIndex
    }

    var atEnd: Bool { at >= bytes.endIndex }
    private var next: UInt8? { atEnd ? nil : bytes[at] }

    func fault(_ reason: String) -> JSONValue.Fault { .init(offset: at - bytes.startIndex, reason: reason) }

    mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { at += 1 }
    }

    private mutating func expect(_ text: String) throws(JSONValue.Fault) {
        for expected in text.utf8 {
            guard let byte = next, byte == expected else { throw fault("expected \(text)") }
            at += 1
        }
    }

    mutating func value(depth: Int) throws(JSONValue.Fault) -> JSONValue {
        guard depth < Self.maximumDepth else { throw fault("nested too deeply") }
        count += 1
        guard count <= Self.maximumCount else { throw fault("too many values") }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return try object(depth)
        case UInt8(ascii: "["): return try array(depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"):
            try expect("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try expect("false")
            return .bool(false)
        case UInt8(ascii: "n"):
            try expect("null")
            return .null
        default: return try number()
        }
    }

    private mutating func object(_ depth: Int) throws(JSONValue.Fault) -> JSONValue {
        var result: [String: JSONValue] = [:]
        try expect("{")
        skipSpace()
        if next == UInt8(ascii: "}") {
            at += 1
            return .object(result)
        }
        while true {
            skipSpace()
            let key = try string()
            skipSpace()
            try expect(":")
            guard result.updateValue(try value(depth: depth + 1), forKey: key) == nil else {
                throw fault("key \"\(key.prefix(80))\" occurs twice")
            }
            skipSpace()
            guard next == UInt8(ascii: ",") else { break }
            at += 1
        }
        try expect("}")
        return .object(result)
    }

    private mutating func array(_ depth: Int) throws(JSONValue.Fault) -> JSONValue {
        var result: [JSONValue] = []
        try expect("[")
        skipSpace()
        if next == UInt8(ascii: "]") {
            at += 1
            return .array(result)
        }
        while true {
            result.append(try value(depth: depth + 1))
            skipSpace()
            guard next == UInt8(ascii: ",") else { break }
            at += 1
        }
        try expect("]")
        return .array(result)
    }

    private mutating func string() throws(JSONValue.Fault) -> String {
        try expect("\"")
        var text: [UInt8] = []
        while let byte = next {
            at += 1
            if byte == UInt8(ascii: "\"") {
                guard let result = String(validating: text, as: UTF8.self) else { throw fault("not UTF-8") }
                return result
            }
            guard byte >= 0x20 else { throw fault("control character in a string") }
            if byte == UInt8(ascii: "\\") { text += try escape() } else { text.append(byte) }
        }
        throw fault("unterminated string")
    }

    private mutating func escape() throws(JSONValue.Fault) -> [UInt8] {
        guard let kind = next else { throw fault("unterminated string") }
        at += 1
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [kind]
        case UInt8(ascii: "b"): return [8]
        case UInt8(ascii: "f"): return [12]
        case UInt8(ascii: "n"): return [10]
        case UInt8(ascii: "r"): return [13]
        case UInt8(ascii: "t"): return [9]
        case UInt8(ascii: "u"):
            return Array(String(Character(try escapedScalar())).utf8)
        default: throw fault("bad escape")
        }
    }

    /// What follows `\u`: four digits, or a surrogate pair `XXXX\uXXXX`. A lone surrogate is an error.
    private mutating func escapedScalar() throws(JSONValue.Fault) -> Unicode.Scalar {
        let first = try hexadecimal()
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard first < 0xDC00, bytes[at...].starts(with: "\\u".utf8) else { throw fault("lone surrogate") }
        at += 2
        let second = try hexadecimal()
        guard 0xDC00..<0xE000 ~= second,
            let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
        else { throw fault("lone surrogate") }
        return scalar
    }

    private mutating func hexadecimal() throws(JSONValue.Fault) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw fault("bad \\u escape")
            }
            code = code << 4 | UInt32(digit)
            at += 1
        }
        return code
    }

    /// A number as the grammar has it: no plus sign, no leading zeros, digits on both sides of the point.
    private mutating func number() throws(JSONValue.Fault) -> JSONValue {
        let start = at
        if next == UInt8(ascii: "-") { at += 1 }
        let whole = at
        guard digits() > 0 else { throw fault("expected a value") }
        guard bytes[whole] != UInt8(ascii: "0") || at == whole + 1 else {
            throw fault("number with a leading zero")
        }
        var isInteger = true
        if next == UInt8(ascii: ".") {
            at += 1
            isInteger = false
            guard digits() > 0 else { throw fault("bad number") }
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            at += 1
            isInteger = false
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { at += 1 }
            guard digits() > 0 else { throw fault("bad number") }
        }
        guard at - start <= 64 else { throw fault("number of \(at - start) characters") }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        if isInteger, let integer = Int(text) { return .integer(integer) }
        guard let value = Double(text), value.isFinite else { throw fault("number out of range") }
        return .number(value)
    }

    private mutating func digits() -> Int {
        let start = at
        while let byte = next, UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte { at += 1 }
        return at - start
    }
}
