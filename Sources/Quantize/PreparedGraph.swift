import GraphIR

extension FloatGraph {
    /// What is lowered: batch normalization multiplied into the convolutions before it, and copies where two ops do not agree on the
    /// bits of a value. The labels stay.
    public func prepared() -> FloatGraph {
        let folded = foldingBatchNorm()
        return folded.isStateSpace ? folded : folded.insertingCopies()
    }

    /// Normalizations and 16-bit sums read 16 bits, which concatenations, tables and shuffles cannot write; and most ops cannot read
    /// them. A pointwise convolution between the two reads and writes both. A batch normalization that nothing could take up
    /// becomes such a convolution itself.
    private func insertingCopies() -> FloatGraph {
        let wide = CodingGroups(self).wide
        let fused = valuesInsideFusedActivations
        let writers = Dictionary(uniqueKeysWithValues: nodes.map { ($0.output, $0) })
        var result = FloatGraph(inputChannels: inputChannels)
        var renamed: [ValueID: ValueID] = [0: 0]
        var copies: [ValueID: ValueID] = [:]
        for node in nodes {
            let inputs = node.inputs.map { value -> ValueID in
                let found = renamed[value]!
                guard wide.contains(value) || value == 0 else { return found }
                let readsWide = node.readsWide(wide)
                let isWritten = writers[value].map { $0.writesWide(fused) } ?? false
                if case .batchNorm = node.op { return found }
                guard readsWide ? !isWritten : isWritten && wide.contains(value) && !node.takesEither else {
                    return found
                }
                if let copy = copies[value] { return copy }
                let name = writers[value]?.name ?? "input"
                copies[value] = result.append("\(name).copy", .conv3d(.identity(channels[value])), [found])
                return copies[value]!
            }
            var op = node.op
            if case .batchNorm(let norm) = op, !(writers[node.inputs[0]].map { $0.writesWide(fused) } ?? false) {
                op = .conv3d(.diagonal((0..<channels[node.output]).map(norm.affine)))
            }
            renamed[node.output] = result.append(node.name, op, inputs)
        }
        return result
    }
}

extension Node {
    /// Whether the integer form reads 16 bits, and nothing else.
    fileprivate func readsWide(_ wide: Set<ValueID>) -> Bool {
        switch op {
        case .groupNorm, .layerNorm, .batchNorm: true
        case .add, .maxPool, .resize, .sliceOrder: wide.contains(output)
        default: false
        }
    }

    /// Whether it reads bytes or 16 bits, or makes its own copy in bytes.
    fileprivate var takesEither: Bool {
        switch op {
        case .conv3d, .multiply, .activation, .argmax, .globalPool: true
        default: false
        }
    }

    /// - Parameter fused: values inside of an op with its ReLU.
    fileprivate func writesWide(_ fused: Set<ValueID>) -> Bool {
        switch op {
        case .conv3d, .depthwise, .groupNorm, .add, .maxPool, .resize, .sliceOrder: true
        case .activation(.relu): fused.contains(inputs[0])
        default: false
        }
    }
}

extension ConvWeights {
    /// Each channel times its gain, plus its offset.
    fileprivate static func diagonal(_ factors: [(gain: Double, offset: Double)]) -> ConvWeights {
        var conv = identity(factors.count)
        for (c, factor) in factors.enumerated() {
            conv.weights[c * factors.count + c] = Float(factor.gain)
            conv.bias[c] = Float(factor.offset)
        }
        return conv
    }
}
