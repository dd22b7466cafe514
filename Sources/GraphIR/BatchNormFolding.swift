extension BatchNorm {
    /// Of the sum of an op: `factors` has equally many for each channel.
    fileprivate func apply(_ factors: inout [Float], _ offsets: inout [Float]) {
        let each = factors.count / offsets.count
        for channel in offsets.indices {
            let (gain, offset) = affine(channel)
            for i in (channel * each)..<((channel + 1) * each) { factors[i] = Float(Double(factors[i]) * gain) }
            offsets[channel] = Float(Double(offsets[channel]) * gain + offset)
        }
    }
}

extension FloatGraph {
    /// The same network with every batch normalization multiplied into the convolution or normalization before it. In double, rounded
    /// once per weight. A normalization stays where it is when its input is not a convolution, or when someone else
    /// reads that convolution's output as well.
    public func foldingBatchNorm() -> FloatGraph {
        var result = FloatGraph(inputChannels: inputChannels)
        var renamed: [ValueID: ValueID] = [0: 0]
        for node in nodes {
            let inputs = node.inputs.map { renamed[$0]! }
            if case .batchNorm(let norm) = node.op, readers(of: node.inputs[0]) == 1,
                let folded = result.fold(norm, into: inputs[0])
            {
                renamed[node.output] = folded
            } else {
                renamed[node.output] = result.append(node.name, node.op, inputs)
            }
        }
        return result
    }

    private func readers(of value: ValueID) -> Int {
        nodes.reduce(0) { count, node in count + node.inputs.count { $0 == value } }
    }

    /// Returns `value` when what made it can take the normalization up, nil otherwise.
    private mutating func fold(_ norm: BatchNorm, into value: ValueID) -> ValueID? {
        guard let index = nodes.firstIndex(where: { $0.output == value }) else { return nil }
        switch nodes[index].op {
        case .conv3d(var conv):
            norm.apply(&conv.weights, &conv.bias)
            nodes[index].op = .conv3d(conv)
        case .depthwise(var conv):
            norm.apply(&conv.weights, &conv.bias)
            nodes[index].op = .depthwise(conv)
        case .groupNorm(var before):
            norm.apply(&before.scale, &before.shift)
            nodes[index].op = .groupNorm(before)
        default: return nil
        }
        return value
    }
}
