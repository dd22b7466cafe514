import GraphIR

/// Values with one voxel for a slice or the volume: what global pooling makes, and what is made of that.
extension FloatGraph {
    func pooledValues() -> Set<ValueID> {
        let grids = grids()
        return Set(grids.indices.filter { grids[$0].span != .voxel })
    }

    /// Those that have 16 bits, which convolutions read as they are: they cost nothing, and a range can be wide. All else that reads
    /// pooled values wants bytes.
    func pooledWords() -> Set<ValueID> {
        let fused = valuesInsideFusedActivations
        let pooled = pooledValues()
        return pooled.filter { value in
            let readers = consumers(of: value)
            guard !fused.contains(value), !readers.isEmpty,
                readers.allSatisfy({ nodes[$0].op.readsWords }), let writer = nodes.first(where: { $0.output == value })
            else { return false }
            return writer.op == .globalPool(isPerSlice: true) || writer.op == .globalPool(isPerSlice: false)
                || writer.op.readsWords
        }
    }
}

extension CodingChooser {
    /// How large a pooled value may be where means are no larger than those that were seen. A ReLU that was 0 on the few volumes of
    /// the calibration need not stay so.
    func reach(_ value: ValueID) -> Double {
        let seen = Double(most(calibration.pooled(value)))
        guard value > 0, pooled.contains(value) else { return seen }
        let node = graph.nodes[value - 1]
        switch node.op {
        case .conv3d(let conv):
            let input = reach(node.inputs[0])
            let bounds = (0..<conv.outChannels).map { o in
                let row = conv.weights[(o * conv.inChannels)..<((o + 1) * conv.inChannels)]
                return Double(abs(conv.bias[o])) + row.reduce(0) { $0 + Double(abs($1)) * input }
            }
            return max(seen, bounds.max() ?? 0)
        case .activation(let f):
            let input = reach(node.inputs[0])
            return max(seen, f.range(over: -input...input).map { Double(max(-$0.low, $0.high)) } ?? seen)
        default: return seen
        }
    }
}

extension FloatOp {
    fileprivate var readsWords: Bool {
        switch self {
        case .conv3d, .activation: true
        default: false
        }
    }
}

extension Activation {
    /// The least and the largest value within a range, 0 included; nil where one is not finite.
    func range(over inputs: ClosedRange<Double>) -> (low: Float, high: Float)? {
        let steps = 4096
        let step = (inputs.upperBound - inputs.lowerBound) / Double(steps)
        let values = (0...steps).map { self(inputs.lowerBound + step * Double($0)) }
        guard values.allSatisfy({ $0.isFinite && abs($0) < 1e30 }) else { return nil }
        return (Float(min(values.min()!, 0)), Float(max(values.max()!, 0)))
    }
}
