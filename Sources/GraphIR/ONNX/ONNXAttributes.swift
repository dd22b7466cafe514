import ONNXSchema

/// Attributes of a node, with ONNX's defaults given by the caller.
struct ONNXAttributes {
    private let node: Onnx_NodeProto

    init(_ node: Onnx_NodeProto) { self.node = node }

    private func found(_ name: String) -> Onnx_AttributeProto? { node.attribute.first { $0.name == name } }

    func int(_ name: String, _ standard: Int) -> Int { found(name).map { Int(clamping: $0.i) } ?? standard }

    func float(_ name: String, _ standard: Double) -> Double { found(name).map { Double($0.f) } ?? standard }

    func text(_ name: String, _ standard: String) -> String {
        found(name).map { String(decoding: $0.s, as: UTF8.self) } ?? standard
    }

    func ints(_ name: String) -> [Int]? { found(name).map { $0.ints.map { Int(clamping: $0) } } }

    func tensor(_ name: String) -> Onnx_TensorProto? { found(name).flatMap { $0.hasT ? $0.t : nil } }

    var names: [String] { node.attribute.map(\.name) }

    /// A list along the network's axes, as (depth, height, width), absent axes `standard`.
    func spatial(_ name: String, rank: Int, _ standard: Int) throws(ONNXImporter.Problem) -> [Int] {
        let absent = [Int](repeating: standard, count: 3 - rank)
        guard let list = ints(name) else { return [standard, standard, standard] }
        guard list.count == rank, list.allSatisfy({ (0...4096).contains($0) }) else {
            throw ONNXImporter.Problem("\(name)=\(list) (must be \(rank) numbers)")
        }
        return absent + list
    }
}
