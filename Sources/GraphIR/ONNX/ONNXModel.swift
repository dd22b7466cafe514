import ONNXSchema
import SwiftProtobuf

/// An ONNX file (onnx.ai, IR version 3 and later): its graph and constants, sizes checked before anything is allocated.
public struct ONNXModel: @unchecked Sendable {
    let graph: Onnx_GraphProto
    public let opset: Int
    let path: String
    public let producer: String

    init(bytes: [UInt8], path: String) throws(ImportError) {
        var options = BinaryDecodingOptions()
        options.messageDepthLimit = 16
        let model: Onnx_ModelProto
        do {
            model = try Onnx_ModelProto(serializedBytes: bytes, options: options)
        } catch {
            throw ImportError(.malformed, path, "not an ONNX file: \(error)")
        }
        guard model.hasGraph, !model.graph.node.isEmpty else {
            throw ImportError(.malformed, path, "not an ONNX file: there is no graph in it")
        }
        // A model file holds 4,096 ops, of several nodes each; some checks look at every pair.
        guard model.graph.node.count <= 20_000 else {
            throw ImportError(.unsupported, path, "\(model.graph.node.count) nodes (limit 20000)")
        }
        let opset = model.opsetImport.first { $0.domain.isEmpty || $0.domain == "ai.onnx" }?.version ?? 0
        guard (9...30).contains(opset) else {
            throw ImportError(.unsupported, path, "opset \(opset) (supported: 9 and later)")
        }
        graph = model.graph
        self.opset = Int(opset)
        self.path = path
        producer = [model.producerName, model.producerVersion].filter { !$0.isEmpty }.joined(separator: " ")
    }

    /// How many nodes there are of each operator, by name.
    public var operators: [(name: String, count: Int)] {
        var counts: [String: Int] = [:]
        for node in graph.node { counts[node.opType, default: 0] += 1 }
        return counts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Known sizes of a value, -1 where the file leaves them open; nil for a value without a description.
    func shape(of value: String) -> [Int]? {
        let known = graph.input + graph.output + graph.valueInfo
        guard let info = known.first(where: { $0.name == value }), info.type.tensorType.hasShape else { return nil }
        return info.type.tensorType.shape.dim.map { $0.hasDimValue ? Int(clamping: $0.dimValue) : -1 }
    }
}

/// A tensor that is in the file: weights, shapes, axes.
struct ONNXConstant: Equatable, Sendable {
    var shape: [Int]
    var values: [Float]
    /// Of integer tensors only.
    var integers: [Int]?
    /// What the codes of a small integer type can be.
    var codes: ClosedRange<Float>?

    var scalar: Float? { values.count == 1 ? values[0] : nil }
}

/// Reads the tensors of a model, some of which may lie in other files beside it.
struct ONNXTensorReader {
    let path: String

    /// Bits of the data types that are read.
    private static let types: [Int32: (StoredType, String)] = [
        1: (.float32, "float"), 2: (.uint8, "uint8"), 3: (.int8, "int8"), 5: (.int16, "int16"), 6: (.int32, "int32"),
        7: (.int64, "int64"), 9: (.bool, "bool"), 10: (.float16, "float16"), 11: (.float64, "double"),
        16: (.bfloat16, "bfloat16"),
    ]

    func read(_ tensor: Onnx_TensorProto) throws(ImportError) -> ONNXConstant {
        func fail(_ message: String, _ kind: ImportError.Kind = .malformed) -> ImportError {
            ImportError(kind, path, "tensor \(tensor.name): \(message)")
        }
        guard tensor.dims.count <= 16, let count = elementCount(tensor.dims.map { Int(clamping: $0) }) else {
            throw fail("shape \(tensor.dims.prefix(16))")
        }
        let shape = tensor.dims.map { Int($0) }
        guard let (type, name) = Self.types[tensor.dataType] else {
            throw fail("data type \(tensor.dataType)", .unsupported)
        }
        let codes: ClosedRange<Float>? =
            switch type {
            case .uint8: 0...255
            case .int8: -128...127
            case .int16: -32768...32767
            default: nil
            }
        if let typed = try typedData(tensor, type, name, count, fail) {
            return ONNXConstant(shape: shape, values: typed.0, integers: typed.1, codes: codes)
        }
        let data = tensor.dataLocation == 1 ? try external(tensor, fail) : [UInt8](tensor.rawData)
        guard data.count / type.bytes == count, data.count % type.bytes == 0 else {
            throw fail("\(data.count) bytes for \(count) elements of \(name)")
        }
        var result = try decode(data, type, shape, fail)
        result.codes = codes
        return result
    }

    private func decode(
        _ data: [UInt8], _ type: StoredType, _ shape: [Int], _ fail: (String, ImportError.Kind) -> ImportError
    ) throws(ImportError) -> ONNXConstant {
        let count = data.count / type.bytes
        if type.isFloat {
            let values = (0..<count).map { type.value(data, $0 * type.bytes) }
            guard values.allSatisfy(\.isFinite) else { throw fail("a value is not finite", .malformed) }
            return ONNXConstant(shape: shape, values: values)
        }
        let isSigned = ![.uint8, .bool].contains(type)
        let integers = (0..<count).map { index in
            let bits = data.little(index * type.bytes, type.bytes)
            let unused = UInt64(64 - 8 * type.bytes)
            return isSigned ? Int(Int64(bitPattern: bits << unused) >> Int64(unused)) : Int(bits)
        }
        return ONNXConstant(shape: shape, values: integers.map(Float.init), integers: integers)
    }

    /// Elements in the fields made for them, instead of raw bytes; nil when there are none.
    private func typedData(
        _ tensor: Onnx_TensorProto, _ type: StoredType, _ name: String, _ count: Int,
        _ fail: (String, ImportError.Kind) -> ImportError
    ) throws(ImportError) -> ([Float], [Int]?)? {
        guard !tensor.hasRawData, tensor.dataLocation == 0 else { return nil }
        var result: ([Float], [Int]?)
        switch type {
        case .float32: result = (tensor.floatData, nil)
        case .float64: result = (tensor.doubleData.map { Float($0) }, nil)
        case .int64: result = (tensor.int64Data.map { Float($0) }, tensor.int64Data.map { Int($0) })
        case .float16, .bfloat16:
            let bytes = tensor.int32Data.flatMap {
                [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)]
            }
            result = ((0..<tensor.int32Data.count).map { type.value(bytes, 2 * $0) }, nil)
        default: result = (tensor.int32Data.map { Float($0) }, tensor.int32Data.map { Int($0) })
        }
        guard result.0.count == count else {
            throw fail("\(result.0.count) elements of \(name) for a shape of \(count)", .malformed)
        }
        guard result.0.allSatisfy(\.isFinite) else { throw fail("a value is not finite", .malformed) }
        return result
    }

    /// Bytes in a file beside the model: no other folder may be named.
    private func external(
        _ tensor: Onnx_TensorProto, _ fail: (String, ImportError.Kind) -> ImportError
    ) throws(ImportError) -> [UInt8] {
        var entries: [String: String] = [:]
        for entry in tensor.externalData { entries[entry.key] = entry.value }
        guard let location = entries["location"], !location.isEmpty, location.utf8.count <= 255,
            !location.utf8.contains(UInt8(ascii: "/")), !location.utf8.contains(0), location != "..", location != "."
        else {
            throw fail(
                "external data at \(entries["location"] ?? "no place") (must be a file beside the model)", .malformed)
        }
        let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        let bytes = try SourceFile.read(path: folder.isEmpty ? location : "\(folder)/\(location)")
        let offset = Int(entries["offset"] ?? "0") ?? -1
        let length = entries["length"].map { Int($0) ?? -1 } ?? max(0, bytes.count - offset)
        guard offset >= 0, length >= 0, offset <= bytes.count, length <= bytes.count - offset else {
            throw fail("external data at \(offset), \(length) bytes, of \(location) with \(bytes.count)", .malformed)
        }
        return Array(bytes[offset..<(offset + length)])
    }
}
