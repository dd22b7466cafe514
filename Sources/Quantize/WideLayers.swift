import GraphIR

/// Which layers write 16-bit codes that the next convolutions read as they are: 256 times finer steps for half the speed
/// and twice the memory of those values. The network's input counts as one: the image itself is then coded in 16 bits.
public enum WideLayers: Equatable, Sendable {
    case none
    case all
    /// By name.
    case layers(Set<String>)
}

extension FloatGraph {
    /// Values that `WideLayers` can choose, by the name of the layer behind each: what a convolution writes, with its
    /// ReLU if it has one, and the network's input, where only convolutions read it. In networks with scans also what a
    /// normalization, a table or a concatenation writes, and what has 16 bits anyway, of which convolutions else read a copy in bytes.
    public func convolvedValues() -> [(layer: String, value: ValueID)] {
        let fused = valuesInsideFusedActivations
        let inherent = isStateSpace ? CodingGroups(self).wide : []
        let pooled = pooledValues()
        let written = nodes.compactMap { node -> (layer: String, value: ValueID)? in
            let value = fused.contains(node.output) ? nodes[consumers(of: node.output)[0]].output : node.output
            guard !pooled.contains(value),
                node.op.isConvolution || isStateSpace && (inherent.contains(value) || hasWideForm(node)),
                !fused.contains(node.inputs[0])
            else { return nil }
            return (node.name, value)
        }
        return ([("input", 0)] + written).filter {
            inherent.contains($0.value) ? isConvolved($0.value) : onlyConvolutionsRead($0.value)
        }
    }

    private func isConvolved(_ value: ValueID) -> Bool { consumers(of: value).contains { nodes[$0].op.isConvolution } }

    private func onlyConvolutionsRead(_ value: ValueID) -> Bool {
        isConvolved(value) && consumers(of: value).allSatisfy { nodes[$0].op.isConvolution }
    }

    /// Whether the op, and what it takes codes from, can write 16 bits where nothing asks for them.
    private func hasWideForm(_ node: Node) -> Bool {
        switch node.op {
        case .conv3d, .groupNorm, .activation: true
        case .concat, .depthToSpace:
            node.inputs.allSatisfy { value in nodes.first { $0.output == value }.map(hasWideForm) ?? false }
        default: false
        }
    }

    /// What a concatenation or a rearrangement reads has the bits of what it writes.
    private func withSources(_ chosen: Set<ValueID>) -> Set<ValueID> {
        var result = chosen
        for node in nodes.reversed() where isStateSpace && result.contains(node.output) {
            switch node.op {
            case .concat, .depthToSpace: result.formUnion(node.inputs)
            default: break
            }
        }
        return result
    }

    /// Values that convolutions read in 16 bits: those chosen, and what global pooling makes.
    /// - Throws: `QuantizeError` naming a layer that is not there or that cannot write 16 bits.
    func values(_ wide: WideLayers) throws(QuantizeError) -> Set<ValueID> {
        try chosenValues(wide).union(pooledWords())
    }

    private func chosenValues(_ wide: WideLayers) throws(QuantizeError) -> Set<ValueID> {
        let candidates = convolvedValues()
        switch wide {
        case .none: return []
        case .all: return withSources(Set(candidates.map(\.value)))
        case .layers(let names):
            for name in names.sorted() where !candidates.contains(where: { $0.layer == name }) {
                throw QuantizeError(
                    layer: name,
                    message: "cannot be kept in 16 bits: those that can are "
                        + candidates.map(\.layer).joined(separator: ", "))
            }
            return withSources(Set(candidates.filter { names.contains($0.layer) }.map(\.value)))
        }
    }
}

extension FloatOp {
    fileprivate var isConvolution: Bool { if case .conv3d = self { true } else { false } }
}
