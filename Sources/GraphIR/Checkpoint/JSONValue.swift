/// A strict JSON reader (RFC 8259) for untrusted headers: depth and size are limited, a repeated key is an error, and
/// numbers that are integers stay integers.
indirect enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    struct Fault: Error { var offset: Int; var reason: String }

    static func parse(_ bytes: ArraySlice<UInt8>) throws(Fault) -> JSONValue {
        var parser = JSONParser(bytes: bytes)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.atEnd else { throw parser.fault("text after the value") }
        return value
    }

    var object: [String: JSONValue]? { if case .object(let o) = self { o } else { nil } }
    var string: String? { if case .string(let s) = self { s } else { nil } }
    var integers: [Int]? {
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

    static let maximumDepth = 32

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
            text += byte == UInt8(ascii: "\\") ? try escape() : [byte]
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
            guard bytes.endIndex - at >= 4, let code = UInt32(String(decoding: bytes[at..<(at + 4)], as: UTF8.self), radix: 16),
                let scalar = Unicode.Scalar(code)
            else { throw fault("bad \\u escape") }
            at += 4
            return Array(String(Character(scalar)).utf8)
        default: throw fault("bad escape")
        }
    }

    private mutating func number() throws(JSONValue.Fault) -> JSONValue {
        let start = at
        while let byte = next, "+-.eE0123456789".utf8.contains(byte) { at += 1 }
        guard at > start, at - start <= 40 else { throw fault("expected a value") }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        if let integer = Int(text) { return .integer(integer) }
        guard let value = Double(text), value.isFinite else { throw fault("bad number") }
        return .number(value)
    }
}
