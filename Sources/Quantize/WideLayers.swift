import GraphIR

/// Which convolutions write 16-bit codes that the next convolutions read as they are: 256 times finer steps for half the speed
/// and twice the memory of those values. The network's input counts as one: its bytes stay, but the convolutions that read them get
/// weights of 16 bits.
public enum WideLayers: Equatable, Sendable {
    case none
    case all
    /// By name.
    case layers(Set<String>)
}

extension FloatGraph {
    /// Values that `WideLayers` can choose, by the name of the convolution behind each: what a convolution writes, with its
    /// ReLU if it has one, and the network's input, where only convolutions read it. A sum, a table or a concatenation has a form
    /// of its own.
    public func convolvedValues() -> [(layer: String, value: ValueID)] {
        let fused = valuesInsideFusedActivations
        let written = nodes.compactMap { node -> (layer: String, value: ValueID)? in
            guard case .conv3d = node.op else { return nil }
            return (node.name, fused.contains(node.output) ? nodes[consumers(of: node.output)[0]].output : node.output)
        }
        return ([("input", 0)] + written).filter { onlyConvolutionsRead($0.value) }
    }

    private func onlyConvolutionsRead(_ value: ValueID) -> Bool {
        let readers = consumers(of: value)
        return !readers.isEmpty && readers.allSatisfy { if case .conv3d = nodes[$0].op { true } else { false } }
    }

    /// - Throws: `QuantizeError` naming a layer that is not there or that cannot write 16 bits.
    func values(_ wide: WideLayers) throws(QuantizeError) -> Set<ValueID> {
        let candidates = convolvedValues()
        switch wide {
        case .none: return []
        case .all: return Set(candidates.map(\.value))
        case .layers(let names):
            for name in names.sorted() where !candidates.contains(where: { $0.layer == name }) {
                throw QuantizeError(
                    layer: name,
                    message: "cannot be kept in 16 bits: those that can are "
                        + candidates.map(\.layer).joined(separator: ", "))
            }
            return Set(candidates.filter { names.contains($0.layer) }.map(\.value))
        }
    }
}
