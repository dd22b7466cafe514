/// The safetensors container: an 8-byte little-endian header length, a JSON header, and the data, which the tensors
/// must cover without a gap or an overlap (so that a file cannot hide anything).
enum SafetensorsReader {
    private static let headerLimit = 100 << 20
    private static let rankLimit = 32

    private struct Entry {
        var name: String
        var type: StoredType
        var shape: [Int]
        var begin: Int
        var end: Int
    }

    /// The float tensors in the order of their data. Counters of integer type (`num_batches_tracked`) are left out.
    ///
    /// Throws `.malformed` when the header and the bytes do not agree, `.unsupported` for other element types.
    static func tensors(bytes: [UInt8], path: String) throws(ImportError) -> [NamedTensor] {
        func fail(_ message: String) -> ImportError { ImportError(.malformed, path, message) }
        let length = bytes.little(0, 8)
        guard length <= UInt64(headerLimit), Int(length) <= bytes.count - 8 else {
            throw fail("safetensors header length=\(length) (file has \(bytes.count) bytes)")
        }
        let dataStart = 8 + Int(length)
        let header: JSONValue
        do {
            header = try JSONValue.parse(bytes[8..<dataStart])
        } catch {
            throw fail("safetensors header, byte \(error.offset): \(error.reason)")
        }
        guard let object = header.object else { throw fail("safetensors header is not an object") }
        var entries: [Entry] = []
        // In a fixed order, so that a file with two faults is always refused for the same one.
        for (name, value) in object.sorted(by: { $0.key < $1.key }) {
            if name == "__metadata__" {
                try checkMetadata(value, path)
                continue
            }
            entries.append(try entry(name, value, dataBytes: bytes.count - dataStart, path))
        }
        entries.sort { ($0.begin, $0.end, $0.name) < ($1.begin, $1.end, $1.name) }
        var end = 0
        for entry in entries {
            guard entry.begin == end else {
                throw fail(
                    "tensor \(entry.name) data_offsets begin at \(entry.begin) (must be \(end): no gaps or overlaps)"
                )
            }
            end = entry.end
        }
        guard end == bytes.count - dataStart else {
            throw fail("\(bytes.count - dataStart) data bytes, but the tensors cover \(end)")
        }
        return try decode(entries, bytes, dataStart, path)
    }

    /// The format allows one map of strings to strings there.
    private static func checkMetadata(_ value: JSONValue, _ path: String) throws(ImportError) {
        guard let fields = value.object, fields.values.allSatisfy({ $0.string != nil }) else {
            throw ImportError(.malformed, path, "safetensors __metadata__ is not a map of strings")
        }
    }

    private static func entry(
        _ name: String, _ value: JSONValue, dataBytes: Int, _ path: String
    ) throws(ImportError) -> Entry {
        func fail(_ message: String) -> ImportError {
            ImportError(.malformed, path, "tensor \(name): \(message)")
        }
        guard let fields = value.object, let typeName = fields["dtype"]?.string else {
            throw fail("no dtype")
        }
        let types: [String: StoredType] = [
            "F64": .float64, "F32": .float32, "F16": .float16, "BF16": .bfloat16, "I64": .int64,
            "I32": .int32,
            "I16": .int16, "I8": .int8, "U8": .uint8, "BOOL": .bool,
        ]
        guard let type = types[typeName] else {
            throw ImportError(
                .unsupported, path,
                "tensor \(name): dtype=\(typeName) (must be one of \(types.keys.sorted().joined(separator: ", ")))"
            )
        }
        guard let shape = fields["shape"]?.integers else { throw fail("shape is not a list of integers") }
        guard shape.count <= rankLimit else { throw fail("\(shape.count) dimensions (limit \(rankLimit))") }
        guard let offsets = fields["data_offsets"]?.integers, offsets.count == 2 else {
            throw fail("data_offsets is not a pair of integers")
        }
        guard let count = elementCount(shape), count <= dataBytes else {
            throw fail("shape=\(shape) is too large or negative")
        }
        guard offsets[0] >= 0, offsets[0] <= offsets[1], offsets[1] <= dataBytes else {
            throw fail("data_offsets=\(offsets) (must be within 0...\(dataBytes))")
        }
        guard offsets[1] - offsets[0] == count * type.bytes else {
            throw fail(
                "shape=\(shape) needs \(count * type.bytes) bytes, data_offsets give \(offsets[1] - offsets[0])"
            )
        }
        return Entry(name: name, type: type, shape: shape, begin: offsets[0], end: offsets[1])
    }

    private static func decode(
        _ entries: [Entry], _ bytes: [UInt8], _ dataStart: Int, _ path: String
    ) throws(ImportError) -> [NamedTensor] {
        var result: [NamedTensor] = []
        for entry in entries where !(entry.name.hasSuffix("num_batches_tracked") && !entry.type.isFloat) {
            guard entry.type.isFloat else {
                throw ImportError(
                    .unsupported, path,
                    "tensor \(entry.name) has integer type \(entry.type) (must be a float type)")
            }
            let count = (entry.end - entry.begin) / entry.type.bytes
            let values = (0..<count).map {
                entry.type.value(bytes, dataStart + entry.begin + $0 * entry.type.bytes)
            }
            result.append(NamedTensor(name: entry.name, shape: entry.shape, values: values))
        }
        return result
    }
}
