import Testing

@testable import GraphIR

/// A file that must be refused, as what, and part of the message.
struct Refusal: Sendable, CustomTestStringConvertible {
    var name: String
    var kind: ImportError.Kind
    var message: String
    var bytes: @Sendable () -> [UInt8]

    init(
        _ name: String, _ message: String, as kind: ImportError.Kind = .malformed,
        _ bytes: @escaping @Sendable () -> [UInt8]
    ) {
        self.name = name
        self.kind = kind
        self.message = message
        self.bytes = bytes
    }

    var testDescription: String { name }
}

private let eight = [UInt8](repeating: 0, count: 8)

/// A safetensors file of one entry for 8 bytes of data, whose fields are given as text.
private func one(
    _ name: String, _ message: String, as kind: ImportError.Kind = .malformed, type: String = "\"F32\"",
    shape: String = "[2]", offsets: String = "[0,8]", data: [UInt8] = eight
) -> Refusal {
    Refusal(name, message, as: kind) {
        safetensors("{\"a\":{\"dtype\":\(type),\"shape\":\(shape),\"data_offsets\":\(offsets)}}", data)
    }
}

private func header(_ name: String, _ message: String, _ header: String, data: [UInt8] = eight) -> Refusal {
    Refusal(name, message) { safetensors(header, data) }
}

private let a = tensorEntry("a", "F32", "[2]", 0, 8)

let safetensorsRefusals: [Refusal] = [
    Refusal("empty", "not a checkpoint: 0 bytes") { [] },
    Refusal("nine bytes", "not a checkpoint: 9 bytes") { [UInt8](repeating: 0x7B, count: 9) },
    Refusal("other content", "unknown first bytes") { [UInt8](repeating: 0, count: 100) },
    Refusal("text", "unknown first bytes") { Array("this is not a checkpoint".utf8) },
    Refusal("header length beyond the file", "header length=1000") {
        safetensors("{\(a)}", eight, length: 1000)
    },
    Refusal("header length 2^63", "header length=9223372036854775808") {
        safetensors("{\(a)}", eight, length: .min)
    },
    Refusal("header length 2^64-1", "header length=18446744073709551615") {
        safetensors("{\(a)}", eight, length: -1)
    },
    Refusal("header length 0", "byte 0") { safetensors("{\(a)}", eight, length: 0) },
    Refusal("header cut short", "safetensors header, byte 10") { safetensors("{\(a)}", eight, length: 10) },
    header("not closed", "expected }", "{\(a)"),
    header("text after", "text after the value", "{\(a)} x"),
    header("trailing comma", "expected \"", "{\(a),}"),
    header(
        "duplicate tensor", "key \"a\" occurs twice", "{\(a),\(tensorEntry("a", "F32", "[2]", 8, 16))}",
        data: eight + eight),
    header(
        "duplicate field", "key \"dtype\" occurs twice",
        #"{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#),
    header("deep", "nested too deeply", "{\"a\":" + String(repeating: "[", count: 100_000)),
    header(
        "a million zeros", "too many values", "{\"a\":[" + String(repeating: "0,", count: 1_000_001) + "0]}"),
    header("control character", "control character", "{\"a\u{1}\":1}"),
    Refusal("not UTF-8", "not UTF-8") {
        safetensors("", Array("{\"a".utf8) + [0xC0, 0x80] + Array("\":1}".utf8), length: 9)
    },
    header("second half of a surrogate pair", "lone surrogate", #"{"a\udc00\ud800":1}"#),
    header("two first halves", "lone surrogate", #"{"a\ud800\ud800":1}"#),
    header("lone surrogate", "lone surrogate", #"{"a\ud800":1}"#),
    header(
        "metadata of numbers", "__metadata__ is not a map of strings", "{\"__metadata__\":{\"a\":1},\(a)}"),
    header("metadata list", "__metadata__ is not a map of strings", "{\"__metadata__\":[],\(a)}"),
    header("tensor is a number", "tensor a: no dtype", "{\"a\":5}"),
    header("no dtype", "tensor a: no dtype", #"{"a":{"shape":[2],"data_offsets":[0,8]}}"#),
    header("no shape", "shape is not a list", #"{"a":{"dtype":"F32","data_offsets":[0,8]}}"#),
    header("no offsets", "data_offsets is not a pair", #"{"a":{"dtype":"F32","shape":[2]}}"#),
    header("nothing described", "8 data bytes, but the tensors cover 0", "{}"),
    header("hole at the start", "begin at 4 (must be 0", "{\(tensorEntry("a", "F32", "[1]", 4, 8))}"),
    header(
        "hole in the middle", "begin at 8 (must be 4",
        "{\(tensorEntry("a", "F32", "[1]", 0, 4)),\(tensorEntry("b", "F32", "[1]", 8, 12))}",
        data: [UInt8](repeating: 0, count: 12)),
    header(
        "overlap", "begin at 4 (must be 8", "{\(a),\(tensorEntry("b", "F32", "[2]", 4, 12))}",
        data: [UInt8](repeating: 0, count: 12)),
    header("same bytes twice", "begin at 0 (must be 8", "{\(a),\(tensorEntry("b", "F32", "[2]", 0, 8))}"),
    header("data left over", "9 data bytes, but the tensors cover 8", "{\(a)}", data: eight + [0]),
    header(
        "data truncated", "data_offsets=[0, 8] (must be within 0...7)", "{\(a)}",
        data: Array(eight.dropLast())),
    one("dtype is a number", "no dtype", type: "32"),
    one("unknown dtype", "dtype=F4 (must be one of BF16", as: .unsupported, type: "\"F4\""),
    one("integer dtype", "tensor a has integer type int32", as: .unsupported, type: "\"I32\""),
    one("wrong dtype for the bytes", "needs 16 bytes, data_offsets give 8", type: "\"F64\""),
    one("negative dimension", "shape=[-2] is too large or negative", shape: "[-2]"),
    one("two negative dimensions", "too large or negative", shape: "[-1,-2]"),
    one("product overflow", "too large or negative", shape: "[4294967296,4294967296]"),
    one("product overflow to 2", "too large or negative", shape: "[9223372036854775807,9223372036854775806]"),
    one(
        "overflow hidden by a zero", "too large or negative", shape: "[0,9223372036854775807,2]",
        offsets: "[0,0]"),
    one("byte count overflow", "too large or negative", shape: "[4611686018427387904]"),
    one("dimension beyond Int", "shape is not a list of integers", shape: "[99999999999999999999]"),
    one("fractional dimension", "shape is not a list of integers", shape: "[2.0]"),
    one("leading zero", "leading zero", shape: "[02]"),
    one("plus sign", "expected a value", shape: "[+2]"),
    one("33 dimensions", "33 dimensions", shape: "[" + String(repeating: "1,", count: 32) + "2]"),
    one("offsets reversed", "data_offsets=[8, 0]", offsets: "[8,0]"),
    one("offsets negative", "data_offsets=[-8, 0]", offsets: "[-8,0]"),
    one("offsets beyond", "data_offsets=[0, 80] (must be within 0...8)", offsets: "[0,80]"),
    one("three offsets", "not a pair", offsets: "[0,4,8]"),
    one("shape smaller than bytes", "needs 4 bytes, data_offsets give 8", shape: "[1]"),
    one("NaN", "tensor a[1]=nan (must be finite)", data: [UInt8](floats: [0, .nan])),
    one("infinity", "tensor a[0]=-inf (must be finite)", data: [UInt8](floats: [-.infinity, 0])),
    one(
        "double beyond float", "tensor a[0]=inf (must be finite)", type: "\"F64\"", shape: "[1]",
        data: [0, 0, 0, 0, 0, 0, 0xE0, 0x7F]),
    Refusal("name with a line break", "tensor a\\u{a}b: no dtype") { safetensors(#"{"a\nb":{}}"#, eight) },
]

private let pickle = stateDictPickle([TensorSpec()])

private func zip(
    _ name: String, _ message: String, as kind: ImportError.Kind = .malformed,
    _ change: @escaping @Sendable (inout ZipBuilder) -> Void
) -> Refusal {
    Refusal(name, message, as: kind) { torchZip(pickle, change: change) }
}

let zipRefusals: [Refusal] = [
    Refusal("zip of two letters", "truncated") { Array("PK".utf8) + eight },
    Refusal("zip truncated", "no end record: truncated") { torchZip(TensorSpec()).dropLast() },
    Refusal("zip halved", "no end record: truncated") { Array(torchZip(TensorSpec()).prefix(300)) },
    Refusal("zip with a byte after", "no end record") { torchZip(TensorSpec()) + [0] },
    Refusal("empty zip", "0 entries data.pkl") { Array("PK".utf8) + ZipBuilder().build() },
    Refusal("no data.pkl", "0 entries data.pkl") {
        var zip = ZipBuilder()
        zip.add("readme", Array("hello".utf8))
        return zip.build()
    },
    zip("two data.pkl", "2 entries data.pkl") { $0.add("other/data.pkl", [1]) },
    zip("deflate", "archive/data/0 is compressed (deflate)", as: .unsupported) { $0.entries[1].method = 8 },
    zip("zstd", "compressed (method 93)", as: .unsupported) { $0.entries[1].method = 93 },
    zip("encrypted", "archive/data.pkl is encrypted", as: .unsupported) { $0.entries[0].flags = 1 },
    zip("strongly encrypted", "is encrypted", as: .unsupported) { $0.entries[2].flags = 0x40 },
    zip("duplicate entry", "archive/data/0 occurs twice") { $0.add("archive/data/0", [1]) },
    zip("bad CRC of a storage", "archive/data/0: CRC-32") { $0.entries[1].crc = 1 },
    zip("bad CRC of the pickle", "archive/data.pkl: CRC-32") { $0.entries[0].crc = 1 },
    zip("bad CRC of the byte order", "archive/byteorder: CRC-32") {
        $0.add("archive/byteorder", Array("big".utf8)) { $0.crc = 0 }
    },
    zip("byte order", "byteorder=middle (must be little or big)") {
        $0.add("archive/byteorder", Array("middle".utf8))
    },
    zip("two sizes", "has two sizes") { $0.entries[1].sizes = (24, 25) },
    zip("size beyond the file", "lie outside the file") { $0.entries[1].sizes = (1 << 30, 1 << 30) },
    zip("size into the next entry", "overlaps another entry") { $0.entries[1].sizes = (40, 40) },
    zip("64-bit size", "64-bit", as: .unsupported) { $0.entries[1].sizes = (0xFFFF_FFFF, 0xFFFF_FFFF) },
    zip("local header elsewhere", "no local header") { $0.entries[1].shift = 1 },
    zip("local header beyond", "no local header") { $0.entries[1].shift = 1 << 30 },
    zip("two names for the same bytes", "occurs twice") { $0.entries[2].name = "archive/data.pkl" },
    zip("local name differs", "its local header has another name") {
        $0.entries[1].localName = "archive/data/1"
    },
    zip("empty name", "bad name") { $0.entries[2].name = "" },
    zip("count too high", "directory entry at") { $0.count = 4 },
    zip("count too low", "more than its 2 entries") { $0.count = 2 },
    zip("64-bit count", "64-bit", as: .unsupported) { $0.count = 0xFFFF },
    zip("directory offset beyond", "lies outside the file") { $0.directoryOffset = 1 << 30 },
    zip("64-bit directory", "64-bit", as: .unsupported) { $0.directoryOffset = 0xFFFF_FFFF },
    zip("directory offset wrong", "directory entry at 0 is damaged") { $0.directoryOffset = 0 },
    zip("directory size beyond", "lies outside the file") { $0.directorySize = 1 << 30 },
    zip("directory size short", "is damaged") { $0.directorySize = 60 },
    zip("split", "split", as: .unsupported) { $0.disk = 1 },
    zip("storage missing", "tensor w: storage 0 is missing") { $0.entries.remove(at: 1) },
    zip("storage short", "tensor w: storage 0 is shorter (20 bytes) than its 6 values of float32") {
        $0.entries[1].data.removeLast(4)
    },
    zip("storage long", "tensor w: storage 0 is longer (25 bytes)") { $0.entries[1].data.append(0) },
    zip("NaN in a zip", "tensor w[5]=nan (must be finite)") {
        $0.entries[1].data.replaceSubrange(20..<24, with: [0, 0, 0xC0, 0x7F])
    },
]
