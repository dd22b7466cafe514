import GraphIR

/// Values that must share one coding: inputs and output of a concatenation, of a rearrangement, of a 16-bit sum, and the two
/// directions of a gate.
struct CodingGroups {
    /// Group of each value that is in one, as the lowest value of the group.
    private var parents: [ValueID]
    /// Values that are stored in 16 bits: what normalizations read, and everything that is summed into it; what a table reads of a
    /// normalization, which would else be rounded to bytes twice.
    let wide: Set<ValueID>
    /// Networks with scans run patch by patch, so that 16 bits cost little memory, and noise in their decoders costs labels: what
    /// an activation reads and every sum has 16 bits, and concatenated channels keep a scale each.
    let isStateSpace: Bool

    /// - Parameter requested: values that get 16 bits without need.
    init(_ graph: FloatGraph, requested: Set<ValueID> = []) {
        isStateSpace = graph.isStateSpace
        wide = Self.wideValues(graph).union(requested)
        parents = Array(0..<graph.channels.count)
        for node in graph.nodes {
            switch node.op {
            case .concat where isStateSpace: break
            case .depthToSpace where isStateSpace: break
            case .concat, .depthToSpace: for value in node.inputs { join(value, node.output) }
            case .add where wide.contains(node.output): for value in node.inputs { join(value, node.output) }
            case .gate: join(node.inputs[0], node.inputs[1])
            case .sliceOrder, .maxPool, .resize: join(node.inputs[0], node.output)
            default: break
            }
        }
    }

    private static func wideValues(_ graph: FloatGraph) -> Set<ValueID> {
        var result: Set<ValueID> = []
        let fused = graph.valuesInsideFusedActivations
        for node in graph.nodes.reversed() {
            switch node.op {
            case .groupNorm, .layerNorm: result.insert(node.inputs[0])
            case .scan:
                result.formUnion([node.inputs[1], node.inputs[2], node.output])
            case .gate: result.formUnion(node.inputs[..<2])
            case .sliceOrder where result.contains(node.output), .maxPool where result.contains(node.output),
                .resize where result.contains(node.output):
                result.insert(node.inputs[0])
            // The input's bytes are given.
            case .batchNorm where node.inputs[0] != 0: result.insert(node.inputs[0])
            case .add where graph.isStateSpace || result.contains(node.output):
                result.formUnion(node.inputs + [node.output])
            case .activation(.relu) where result.contains(node.output):
                // The normalization before it clamps; the value between them never exists.
                result.insert(node.inputs[0])
            case .activation where graph.isStateSpace || graph.isNormalized(node.inputs[0]):
                if !fused.contains(node.inputs[0]) { result.insert(node.inputs[0]) }
            case .argmax: result.insert(node.inputs[0])
            default: break
            }
        }
        return result
    }

    private func root(_ value: ValueID) -> ValueID {
        var value = value
        while parents[value] != value { value = parents[value] }
        return value
    }

    private mutating func join(_ a: ValueID, _ b: ValueID) {
        let (a, b) = (root(a), root(b))
        parents[max(a, b)] = min(a, b)
    }

    /// All values of `value`'s group, itself included.
    func members(_ value: ValueID) -> [ValueID] {
        let own = root(value)
        return parents.indices.filter { root($0) == own }
    }
}

extension FloatGraph {
    /// Whether a group or instance norm writes the value.
    fileprivate func isNormalized(_ value: ValueID) -> Bool {
        if value > 0, case .groupNorm = nodes[value - 1].op { true } else { false }
    }

    var isStateSpace: Bool { nodes.contains { if case .scan = $0.op { true } else { false } } }
}
