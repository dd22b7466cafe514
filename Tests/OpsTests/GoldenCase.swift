import COps
import Foundation
import Ops
import TestSupport

/// One golden vector: a safetensors file that Tools/golden wrote. Its tensors are an op's inputs, its constants and the
/// result `expected`; its metadata are the op's name and numbers.
struct GoldenCase {
    /// Integers in row-major order, whatever type they are stored as.
    struct Tensor {
        var type: String
        var shape: [Int]
        var values: [Int]
    }

    struct Malformed: Error {
        var file: String
        var reason: String
    }

    let name: String
    private var tensors: [String: Tensor] = [:]
    private var metadata: [String: String] = [:]

    init(contentsOf url: URL) throws {
        name = url.deletingPathExtension().lastPathComponent
        let bytes = [UInt8](try Data(contentsOf: url))
        guard bytes.count >= 8 else { throw malformed("no header") }
        let start = 8 + Int(Self.little(UInt32.self, bytes[..<4]))
        guard start <= bytes.count else { throw malformed("header length") }
        let header = try JSONSerialization.jsonObject(with: Data(bytes[8..<start])) as? [String: Any] ?? [:]
        for (key, entry) in header {
            if let texts = entry as? [String: String] {
                metadata = texts
            } else {
                tensors[key] = try tensor(key, entry as? [String: Any] ?? [:], bytes[start...])
            }
        }
    }

    private func tensor(_ key: String, _ entry: [String: Any], _ data: ArraySlice<UInt8>) throws -> Tensor {
        let types: [String: any FixedWidthInteger.Type] = [
            "U8": UInt8.self, "I8": Int8.self, "U16": UInt16.self, "I16": Int16.self, "U32": UInt32.self,
            "I32": Int32.self, "I64": Int64.self,
        ]
        guard let name = entry["dtype"] as? String, let type = types[name], let shape = entry["shape"] as? [Int],
            let offsets = entry["data_offsets"] as? [Int], offsets.count == 2, offsets[1] <= data.count
        else { throw malformed("tensor \(key): \(entry)") }
        let size = type.init(0).bitWidth / 8
        let values = stride(from: data.startIndex + offsets[0], to: data.startIndex + offsets[1], by: size).map {
            Self.little(type, data[$0..<($0 + size)])
        }
        guard values.count == shape.reduce(1, *) else { throw malformed("tensor \(key): \(entry)") }
        return Tensor(type: name, shape: shape, values: values)
    }

    private static func little<T: FixedWidthInteger>(_: T.Type, _ bytes: ArraySlice<UInt8>) -> Int {
        Int(bytes.reversed().reduce(T(0)) { $0 << 8 | T(truncatingIfNeeded: $1) })
    }

    private func malformed(_ reason: String) -> Malformed { Malformed(file: name, reason: reason) }
}

// MARK: What a case holds

extension GoldenCase {
    var op: String { metadata["op"] ?? "" }
    var tensorNames: [String] { tensors.keys.sorted() }

    subscript(_ key: String) -> Tensor {
        get throws {
            guard let tensor = tensors[key] else { throw malformed("no tensor \(key)") }
            return tensor
        }
    }

    /// The tensor `key` as integers of the type that an op takes.
    func values<T: FixedWidthInteger>(_ key: String, as _: T.Type = T.self) throws -> [T] {
        try self[key].values.map { T($0) }
    }

    func numbers(_ key: String) throws -> [Int] {
        guard let text = metadata[key] else { throw malformed("no number \(key)") }
        return text.split(separator: " ").compactMap { Int($0) }
    }

    func number<T: FixedWidthInteger>(_ key: String, as _: T.Type = T.self) throws -> T {
        guard let value = try numbers(key).first else { throw malformed("no number \(key)") }
        return T(value)
    }

    /// Three numbers in the order depth, height, width.
    func extent(_ key: String) throws -> Extent {
        let numbers = try numbers(key)
        guard numbers.count == 3 else { throw malformed("three numbers \(key)") }
        return Extent(depth: numbers[0], height: numbers[1], width: numbers[2])
    }

    /// Bias (0 where the case has none), multiplier and shift of each channel.
    func channels() throws -> [mk_channel] {
        let (multipliers, shifts) = try (values("multiplier", as: Int32.self), values("shift", as: Int32.self))
        let biases = try tensors["bias"] == nil ? [Int32](repeating: 0, count: shifts.count) : values("bias")
        return shifts.indices.map {
            mk_channel(bias: biases[$0], multiplier: multipliers[$0], shift: shifts[$0], reserved: 0)
        }
    }

    /// `[channels, depth, height, width]` as a blocked layout.
    func layout(_ key: String, padX: Int = 0) throws -> TensorLayout {
        let tensor = try self[key]
        guard tensor.shape.count == 4 else { throw malformed("four axes of \(key)") }
        return TensorLayout(
            channels: tensor.shape[0],
            extent: Extent(depth: tensor.shape[1], height: tensor.shape[2], width: tensor.shape[3]),
            element: tensor.type == "I16" ? .i16 : .u8, padX: padX)
    }

    /// The tensor `key` in blocks, with `zeroPoint` in the gaps.
    func input(_ key: String = "input", padX: Int = 1, zeroPoint: UInt8 = 0) throws -> TestTensor {
        let tensor = TestTensor(try layout(key, padX: padX), zeroPoint: zeroPoint)
        var values = try self[key].values.makeIterator()
        forEachVoxel(tensor.layout) { tensor[$0, $1, $2, $3] = values.next()! }
        return tensor
    }

    /// Memory of the result's shape in which every byte is wrong at first, and its gaps of another width.
    func output() throws -> TestTensor { TestTensor(try layout("expected", padX: 2), zeroPoint: 0x5A) }
}
