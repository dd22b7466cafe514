/// A named array of float32 values in row-major order.
public struct NamedTensor: Equatable, Sendable {
    public var name: String
    public var shape: [Int]
    public var values: [Float]

    public init(name: String, shape: [Int], values: [Float]) {
        self.name = name
        self.shape = shape
        self.values = values
    }
}

/// Trained weights as a file holds them. The container is recognised by content: files called `.pth` are often
/// safetensors inside.
public struct Checkpoint: Sendable {
    public enum Container: String, Sendable {
        case safetensors
        case torchZip = "torch zip"
        case onnx = "ONNX"
    }

    public let path: String
    public let container: Container
    /// SHA-256 of the file, hexadecimal: for provenance.
    public let sha256: String
    public let tensors: [NamedTensor]
    /// The whole network, where the file holds more than weights.
    public let onnx: ONNXModel?
    private let index: [String: Int]

    /// The tensor of that name, if there is one.
    public subscript(name: String) -> NamedTensor? { index[name].map { tensors[$0] } }

    /// The checkpoint in a regular file of at most 2 GiB. Every value of it is finite and every name unique.
    ///
    /// Throws an `ImportError` that names the file, the tensor and the value.
    public static func read(path: String) throws(ImportError) -> Checkpoint {
        try read(bytes: try SourceFile.read(path: path), path: path)
    }

    /// As `read(path:)`, of a file already in memory; `path` is for messages.
    package static func read(bytes: [UInt8], path: String) throws(ImportError) -> Checkpoint {
        guard bytes.count >= 10 else {
            throw ImportError(.malformed, path, "not a checkpoint: \(bytes.count) bytes")
        }
        switch container(startingWith: bytes) {
        case .torchZip: return try Checkpoint(path, .torchZip, bytes, TorchReader.tensors(bytes: bytes, path: path))
        case .safetensors:
            return try Checkpoint(path, .safetensors, bytes, SafetensorsReader.tensors(bytes: bytes, path: path))
        case .onnx: return try Checkpoint(path, .onnx, bytes, [], onnx: ONNXModel(bytes: bytes, path: path))
        case nil:
            throw ImportError(.malformed, path, "neither safetensors nor a torch zip nor ONNX (unknown first bytes)")
        }
    }

    /// What a file with these first bytes (9 or more) claims to be.
    public static func container(startingWith bytes: [UInt8]) -> Container? {
        guard bytes.count > 8 else { return nil }
        if bytes[0] == 0x50, bytes[1] == 0x4B { return .torchZip }
        let isHeader = bytes[8] == UInt8(ascii: "{")
        // The length in front of a safetensors header is below 2^40; an ONNX file begins with its version as field 1.
        if bytes[0] == 0x08, !(isHeader && bytes[5...7].allSatisfy { $0 == 0 }) { return .onnx }
        return isHeader ? .safetensors : nil
    }

    private init(
        _ path: String, _ container: Container, _ bytes: [UInt8], _ tensors: [NamedTensor],
        onnx: ONNXModel? = nil
    ) throws(ImportError) {
        var index: [String: Int] = [:]
        for (position, tensor) in tensors.enumerated() {
            guard index.updateValue(position, forKey: tensor.name) == nil else {
                throw ImportError(.malformed, path, "tensor \(tensor.name) occurs twice")
            }
            for (i, value) in tensor.values.enumerated() where !value.isFinite {
                throw ImportError(.malformed, path, "tensor \(tensor.name)[\(i)]=\(value) (must be finite)")
            }
        }
        self.path = path
        self.container = container
        self.tensors = tensors
        self.onnx = onnx
        self.index = index
        sha256 = SHA256.hex(bytes)
    }
}

/// Element types of stored tensors.
enum StoredType: Sendable {
    case float32, float64, float16, bfloat16
    case int64, int32, int16, int8, uint8, bool

    var bytes: Int {
        switch self {
        case .float64, .int64: 8
        case .float32, .int32: 4
        case .float16, .bfloat16, .int16: 2
        case .int8, .uint8, .bool: 1
        }
    }

    var isFloat: Bool {
        switch self {
        case .float32, .float64, .float16, .bfloat16: true
        default: false
        }
    }

    /// One value as float32. Precondition: a float type, in range.
    func value(_ data: [UInt8], _ offset: Int, bigEndian: Bool = false) -> Float {
        var bits = data.little(offset, bytes)
        if bigEndian { bits = bits.byteSwapped >> UInt64(64 - 8 * bytes) }
        switch self {
        case .float32: return Float(bitPattern: UInt32(bits))
        case .float64: return Float(Double(bitPattern: bits))
        case .bfloat16: return Float(bitPattern: UInt32(bits) << 16)
        case .float16: return Self.half(UInt16(bits))
        default: return .nan
        }
    }

    /// IEEE 754 binary16.
    private static func half(_ bits: UInt16) -> Float {
        let sign: Float = bits & 0x8000 != 0 ? -1 : 1
        let exponent = Int(bits >> 10 & 31)
        let fraction = Float(bits & 1023)
        if exponent == 31 { return fraction == 0 ? sign * .infinity : .nan }
        if exponent == 0 { return sign * fraction * 0x1p-24 }
        return sign * (1 + fraction / 1024) * Float(sign: .plus, exponent: exponent - 15, significand: 1)
    }
}

/// Number of elements of a shape; nil when a dimension is negative or the product of the dimensions that are not 0 does
/// not fit, so that no order of multiplication can overflow later.
func elementCount(_ shape: [Int]) -> Int? {
    var product = 1
    for dimension in shape {
        guard dimension >= 0 else { return nil }
        let (next, overflow) = product.multipliedReportingOverflow(by: max(dimension, 1))
        guard !overflow else { return nil }
        product = next
    }
    return shape.contains(0) ? 0 : product
}
