/// Typed access to the members of a JSON object; a member of another type is refused by its full key and its value.
/// A member that is null counts as absent.
struct ConfigFields {
    let value: JSONValue
    /// Full key of this object with a dot at the end, or empty.
    let prefix: String
    let path: String

    private func member(_ key: String) -> JSONValue? {
        guard let found = value.object?[key], found != .null else { return nil }
        return found
    }

    private func fail(_ key: String, _ value: JSONValue, _ expected: String) -> ImportError {
        ImportError(.malformed, path, "\(prefix)\(key)=\(value.shown) (must be \(expected))")
    }

    func required<Value>(_ key: String, _ value: Value?) throws(ImportError) -> Value {
        guard let value else { throw ImportError(.malformed, path, "\(prefix)\(key) is missing") }
        return value
    }

    func bool(_ key: String) throws(ImportError) -> Bool? {
        guard let found = member(key) else { return nil }
        guard case .bool(let result) = found else { throw fail(key, found, "true or false") }
        return result
    }

    func int(_ key: String) throws(ImportError) -> Int? {
        guard let found = member(key) else { return nil }
        guard let result = Self.int(found) else { throw fail(key, found, "an integer") }
        return result
    }

    func double(_ key: String) throws(ImportError) -> Double? {
        guard let found = member(key) else { return nil }
        guard let result = Self.double(found) else { throw fail(key, found, "a number") }
        return result
    }

    func string(_ key: String) throws(ImportError) -> String? {
        guard let found = member(key) else { return nil }
        guard case .string(let result) = found else { throw fail(key, found, "a string") }
        return result
    }

    func ints(_ key: String) throws(ImportError) -> [Int]? {
        try elements(key, "a list of integers", Self.int)
    }

    func isList(_ key: String) -> Bool {
        if case .array = member(key) { true } else { false }
    }

    func doubles(_ key: String) throws(ImportError) -> [Double]? {
        try elements(key, "a list of numbers", Self.double)
    }

    func strings(_ key: String) throws(ImportError) -> [String]? {
        try elements(key, "a list of strings") { if case .string(let text) = $0 { text } else { nil } }
    }

    func object(_ key: String) throws(ImportError) -> ConfigFields? {
        guard let found = member(key) else { return nil }
        guard case .object = found else { throw fail(key, found, "an object") }
        return ConfigFields(value: found, prefix: "\(prefix)\(key).", path: path)
    }

    /// A list of objects.
    func list(_ key: String) throws(ImportError) -> [ConfigFields]? {
        guard let found = member(key) else { return nil }
        guard case .array(let elements) = found else { throw fail(key, found, "a list of objects") }
        var result: [ConfigFields] = []
        for (index, element) in elements.enumerated() {
            guard case .object = element else { throw fail("\(key)[\(index)]", element, "an object") }
            result.append(ConfigFields(value: element, prefix: "\(prefix)\(key)[\(index)].", path: path))
        }
        return result
    }

    private func elements<Element>(
        _ key: String, _ expected: String, _ convert: (JSONValue) -> Element?
    ) throws(ImportError) -> [Element]? {
        guard let found = member(key) else { return nil }
        guard case .array(let elements) = found else { throw fail(key, found, expected) }
        let result = elements.compactMap(convert)
        guard result.count == elements.count else { throw fail(key, found, expected) }
        return result
    }

    private static func int(_ value: JSONValue) -> Int? {
        switch value {
        case .integer(let result): result
        // Some writers print whole numbers as 3.0.
        case .number(let number): Int(exactly: number)
        default: nil
        }
    }

    private static func double(_ value: JSONValue) -> Double? {
        switch value {
        case .integer(let number): Double(number)
        case .number(let number): number
        default: nil
        }
    }
}

extension JSONValue {
    /// For messages: the value as JSON, long and nested ones by their size only.
    var shown: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): "\"\(value)\""
        case .array(let values):
            values.count <= 8 && values.allSatisfy(\.isScalar)
                ? "[" + values.map(\.shown).joined(separator: ", ") + "]" : "an array of \(values.count)"
        case .object(let members): "an object of \(members.count)"
        }
    }

    private var isScalar: Bool {
        switch self {
        case .array, .object: false
        default: true
        }
    }
}
