import Foundation
import ONNXSchema

@testable import GraphIR

/// A small ONNX file, put together by hand.
struct ONNXBuilder {
    var model: Onnx_ModelProto

    init(channels: Int = 2, rank: Int = 3) {
        model = Onnx_ModelProto()
        model.irVersion = 8
        var opset = Onnx_OperatorSetIdProto()
        opset.version = 17
        model.opsetImport = [opset]
        model.graph.input = [Self.info("x", [1, Int64(channels)] + [Int64](repeating: -1, count: rank))]
        model.graph.output = [Self.info("scores", [1, 3] + [Int64](repeating: -1, count: rank))]
    }

    static func info(_ name: String, _ shape: [Int64]) -> Onnx_ValueInfoProto {
        var info = Onnx_ValueInfoProto()
        info.name = name
        info.type.tensorType.elemType = 1
        info.type.tensorType.shape.dim = shape.map { size in
            var dim = Onnx_TensorShapeProto.Dimension()
            if size < 0 { dim.dimParam = "n" } else { dim.dimValue = size }
            return dim
        }
        return info
    }

    mutating func weight(_ name: String, _ shape: [Int], _ value: (Int) -> Float = { Float($0 % 7) / 8 - 0.4 }) {
        var tensor = Onnx_TensorProto()
        tensor.name = name
        tensor.dims = shape.map { Int64($0) }
        tensor.dataType = 1
        tensor.rawData = Data(
            (0..<shape.reduce(1, *)).flatMap { i in
                withUnsafeBytes(of: value(i).bitPattern.littleEndian) { [UInt8]($0) }
            })
        model.graph.initializer.append(tensor)
    }

    mutating func integers(_ name: String, _ values: [Int64]) {
        var tensor = Onnx_TensorProto()
        (tensor.name, tensor.dims, tensor.dataType, tensor.int64Data) = (name, [Int64(values.count)], 7, values)
        model.graph.initializer.append(tensor)
    }

    mutating func node(
        _ op: String, _ inputs: [String], _ output: String, ints: [String: [Int64]] = [:], texts: [String: String] = [:]
    ) {
        var node = Onnx_NodeProto()
        (node.opType, node.name, node.input, node.output) = (op, "the \(output)", inputs, [output])
        for (name, list) in ints.sorted(by: { $0.key < $1.key }) {
            var attribute = Onnx_AttributeProto()
            attribute.name = name
            if list.count == 1 { attribute.i = list[0] } else { attribute.ints = list }
            node.attribute.append(attribute)
        }
        for (name, text) in texts.sorted(by: { $0.key < $1.key }) {
            var attribute = Onnx_AttributeProto()
            attribute.name = name
            attribute.s = Data(text.utf8)
            node.attribute.append(attribute)
        }
        model.graph.node.append(node)
    }

    /// Squeeze and excitation with fully connected layers.
    static func excitation() -> ONNXBuilder {
        var builder = ONNXBuilder(channels: 3)
        builder.weight("w1", [2, 3])
        builder.weight("b1", [2])
        builder.weight("w2", [2, 3])
        builder.integers("vector", [0, -1])
        builder.integers("behind", [2, 3])
        builder.integers("last", [-1])
        builder.node("GlobalAveragePool", ["x"], "means")
        builder.node("Reshape", ["means", "vector"], "v")
        builder.node("Gemm", ["v", "w1", "b1"], "n", ints: ["transB": [1]])
        builder.node("Relu", ["n"], "r")
        builder.node("MatMul", ["r", "w2"], "m")
        builder.node("Unsqueeze", ["m", "behind"], "m4")
        builder.node("Unsqueeze", ["m4", "last"], "m5")
        builder.node("Sigmoid", ["m5"], "s")
        builder.node("Shape", ["x"], "shape")
        builder.node("Expand", ["s", "shape"], "e")
        builder.node("Mul", ["e", "x"], "scores")
        return builder
    }

    func bytes() throws -> [UInt8] { [UInt8](try model.serializedData() as Data) }

    /// A step of a U-Net: convolution, pooling, transposed convolution, concatenation, head.
    static func step() -> ONNXBuilder {
        var builder = ONNXBuilder()
        builder.weight("w1", [4, 2, 3, 3, 3])
        builder.weight("b1", [4])
        builder.weight("w2", [4, 4, 2, 2, 2])
        builder.weight("w3", [3, 8, 1, 1, 1])
        builder.node("Conv", ["x", "w1", "b1"], "c1", ints: ["pads": [1, 1, 1, 1, 1, 1], "kernel_shape": [3, 3, 3]])
        builder.node("Relu", ["c1"], "r1")
        builder.node("MaxPool", ["r1"], "p1", ints: ["kernel_shape": [2, 2, 2], "strides": [2, 2, 2]])
        builder.node("ConvTranspose", ["p1", "w2"], "u1", ints: ["strides": [2, 2, 2]])
        builder.node("Concat", ["u1", "r1"], "k1", ints: ["axis": [1]])
        builder.node("Conv", ["k1", "w3"], "scores")
        return builder
    }
}

extension ONNXBuilder {
    /// Whether a damaged file can still be imported; nil where it is no ONNX file any more. Anything but a refusal is thrown.
    static func isAccepted(_ bytes: [UInt8]) throws -> Bool? {
        do {
            guard let onnx = try Checkpoint.read(bytes: bytes, path: "f").onnx else { return nil }
            try ONNXImporter.graph(model: onnx).check()
            return true
        } catch is ImportError {
            return false
        }
    }
}
