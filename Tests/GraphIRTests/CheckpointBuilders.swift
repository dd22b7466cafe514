@testable import GraphIR

extension [UInt8] {
    mutating func little(_ value: Int, bytes: Int) {
        for i in 0..<bytes { append(UInt8(truncatingIfNeeded: value >> (8 * i))) }
    }

    /// Overwrites bytes in place, little-endian.
    mutating func patch(_ offset: Int, _ value: Int, bytes: Int) {
        for i in 0..<bytes { self[offset + i] = UInt8(truncatingIfNeeded: value >> (8 * i)) }
    }

    init(floats: [Float], bigEndian: Bool = false) {
        self = floats.flatMap { value -> [UInt8] in
            var bytes: [UInt8] = []
            bytes.little(Int(value.bitPattern), bytes: 4)
            return bigEndian ? bytes.reversed() : bytes
        }
    }
}

/// A safetensors file with the given header text and data.
func safetensors(_ header: String, _ data: [UInt8], length: Int? = nil) -> [UInt8] {
    var file: [UInt8] = []
    file.little(length ?? header.utf8.count, bytes: 8)
    return file + Array(header.utf8) + data
}

/// A header entry, as text.
func tensorEntry(_ name: String, _ type: String, _ shape: String, _ begin: Int, _ end: Int) -> String {
    "\"\(name)\":{\"dtype\":\"\(type)\",\"shape\":\(shape),\"data_offsets\":[\(begin),\(end)]}"
}

/// A stored zip archive, with the lies that a test asks for.
struct ZipBuilder {
    struct Entry {
        var name: String
        var data: [UInt8]
        var method = 0
        var flags = 0
        var crc: UInt32?
        /// Sizes in the directory (packed, unpacked).
        var sizes: (Int, Int)?
        var localName: String?
        /// Directory's offset of the local header, counted from the true one.
        var shift = 0
    }

    var entries: [Entry] = []
    /// Overrides of fields of the end record: entry count, directory size, directory offset.
    var count: Int?
    var directorySize: Int?
    var directoryOffset: Int?
    var disk = 0
    var comment: [UInt8] = []

    mutating func add(_ name: String, _ data: [UInt8], _ change: (inout Entry) -> Void = { _ in }) {
        var entry = Entry(name: name, data: data)
        change(&entry)
        entries.append(entry)
    }

    func build() -> [UInt8] {
        var file: [UInt8] = []
        var directory: [UInt8] = []
        for entry in entries {
            let offset = file.count + entry.shift
            let crc = Int(entry.crc ?? CRC32.checksum(entry.data[...]))
            let sizes = entry.sizes ?? (entry.data.count, entry.data.count)
            let local = Array((entry.localName ?? entry.name).utf8)
            file.little(0x0403_4B50, bytes: 4)
            common(&file, entry, crc, sizes)
            file.little(local.count, bytes: 2)
            file.little(0, bytes: 2)
            file += local + entry.data
            directory.little(0x0201_4B50, bytes: 4)
            directory.little(20, bytes: 2)
            common(&directory, entry, crc, sizes)
            directory.little(entry.name.utf8.count, bytes: 2)
            directory.little(0, bytes: 12)
            directory.little(offset, bytes: 4)
            directory += Array(entry.name.utf8)
        }
        let start = file.count
        file += directory
        file.little(0x0605_4B50, bytes: 4)
        file.little(disk, bytes: 4)
        file.little(count ?? entries.count, bytes: 2)
        file.little(count ?? entries.count, bytes: 2)
        file.little(directorySize ?? directory.count, bytes: 4)
        file.little(directoryOffset ?? start, bytes: 4)
        file.little(comment.count, bytes: 2)
        return file + comment
    }

    private func common(_ out: inout [UInt8], _ entry: Entry, _ crc: Int, _ sizes: (Int, Int)) {
        out.little(20, bytes: 2)
        out.little(entry.flags, bytes: 2)
        out.little(entry.method, bytes: 2)
        out.little(0, bytes: 4)
        out.little(crc, bytes: 4)
        out.little(sizes.0, bytes: 4)
        out.little(sizes.1, bytes: 4)
    }
}

/// Writes pickle programs, protocol 2 unless told.
struct PickleWriter {
    var bytes: [UInt8]

    init(version: UInt8 = 2) { bytes = [0x80, version] }

    mutating func op(_ text: String) { bytes += Array(text.utf8) }
    mutating func op(_ code: UInt8) { bytes.append(code) }
    mutating func op(_ codes: [UInt8]) { bytes += codes }

    mutating func string(_ text: String) {
        op("X")
        bytes.little(text.utf8.count, bytes: 4)
        op(text)
    }

    mutating func integer(_ value: Int) {
        bytes += [0x8A, 8]
        bytes.little(value, bytes: 8)
    }

    mutating func global(_ module: String, _ name: String) { op("c\(module)\n\(name)\n") }

    mutating func tuple(_ numbers: [Int]) {
        op("(")
        for number in numbers { integer(number) }
        op("t")
    }

    mutating func orderedDictionary() {
        global("collections", "OrderedDict")
        op(")R")
    }

    mutating func tensor(_ spec: TensorSpec) {
        if spec.isParameter {
            global("torch._utils", "_rebuild_parameter")
            op("(")
        }
        global("torch._utils", "_rebuild_tensor_v2")
        op("((")
        string("storage")
        global("torch", spec.storage)
        string(spec.key)
        string("cpu")
        integer(spec.count)
        op("tQ")
        integer(spec.offset)
        tuple(spec.shape)
        tuple(spec.strides)
        op(0x89)
        orderedDictionary()
        op("tR")
        if spec.isParameter {
            op(0x88)
            orderedDictionary()
            op("tR")
        }
    }

    mutating func stop() -> [UInt8] {
        op(".")
        return bytes
    }
}

struct TensorSpec {
    var name = "w"
    var storage = "FloatStorage"
    var key = "0"
    /// Elements of the storage, as the pickle claims.
    var count = 6
    var offset = 0
    var shape = [2, 3]
    var strides = [3, 1]
    var isParameter = false
}

/// A pickle of a state dict, inside dictionaries of the given keys.
func stateDictPickle(_ specs: [TensorSpec], under keys: [String] = [], metadata: Bool = true) -> [UInt8] {
    var writer = PickleWriter()
    for key in keys {
        writer.op("}")
        writer.string(key)
    }
    writer.orderedDictionary()
    writer.op("(")
    for spec in specs {
        writer.string(spec.name)
        writer.tensor(spec)
    }
    writer.op("u")
    if metadata {
        writer.op("}")
        writer.string("_metadata")
        writer.orderedDictionary()
        writer.op("sb")
    }
    for _ in keys { writer.op("s") }
    return writer.stop()
}

let sixFloats: [Float] = [1, -2, 3.5, 4, 5, 6]

/// A torch zip around a pickle, with the storages it names.
func torchZip(
    _ pickle: [UInt8], _ storages: [String: [UInt8]] = ["0": [UInt8](floats: sixFloats)],
    folder: String = "archive/",
    change: (inout ZipBuilder) -> Void = { _ in }
) -> [UInt8] {
    var zip = ZipBuilder()
    zip.add(folder + "data.pkl", pickle)
    for (key, data) in storages.sorted(by: { $0.key < $1.key }) { zip.add(folder + "data/" + key, data) }
    zip.add(folder + "version", Array("3\n".utf8))
    change(&zip)
    return zip.build()
}

func torchZip(_ specs: TensorSpec..., change: (inout ZipBuilder) -> Void = { _ in }) -> [UInt8] {
    torchZip(stateDictPickle(specs), change: change)
}

/// SplitMix64, so that a failing mutation can be repeated.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }
}

/// A safetensors file of float32 tensors.
func safetensors(_ tensors: [NamedTensor]) -> [UInt8] {
    var data: [UInt8] = []
    var entries: [String] = []
    for tensor in tensors {
        let start = data.count
        for value in tensor.values { withUnsafeBytes(of: value.bitPattern.littleEndian) { data += $0 } }
        entries.append(
            "\"\(tensor.name)\":{\"dtype\":\"F32\",\"shape\":\(tensor.shape),\"data_offsets\":[\(start),\(data.count)]}"
        )
    }
    return safetensors("{" + entries.joined(separator: ",") + "}", data)
}
