import GraphIR

extension FloatGraph {
    /// Of every value, log2 of how much coarser than the input it is, and its size minus that of the input at that coarseness.
    func relativeSizes() -> [(coarseness: UInt16, growth: (Int16, Int16, Int16))] {
        let base = 1 << 20
        var coarseness = [0]
        var sizes = [Size3(cube: base)]
        for node in nodes {
            var level = coarseness[node.inputs[0]]
            if case .conv3d(let conv) = node.op, conv.stride == 2 { level += 1 }
            if node.op == .depthToSpace { level -= 1 }
            if node.op == .maxPool { level += 1 }
            coarseness.append(level)
            sizes.append(node.op.outputSize(sizes[node.inputs[0]]))
        }
        return zip(coarseness, sizes).map { level, size in
            let cell = base >> level
            return (
                UInt16(level), (Int16(size.depth - cell), Int16(size.height - cell), Int16(size.width - cell))
            )
        }
    }
}
