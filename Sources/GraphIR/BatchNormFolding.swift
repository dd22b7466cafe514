extension FloatGraph {
    /// The same network with every batch normalization multiplied into the convolution before it. In double, rounded
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

    /// Returns `value` when a convolution made it, nil otherwise.
    private mutating func fold(_ norm: BatchNorm, into value: ValueID) -> ValueID? {
        guard let index = nodes.firstIndex(where: { $0.output == value }),
            case .conv3d(var conv) = nodes[index].op
        else {
            return nil
        }
        let perChannel = conv.weights.count / conv.outChannels
        for channel in 0..<conv.outChannels {
            let (gain, offset) = norm.affine(channel)
            for i in (channel * perChannel)..<((channel + 1) * perChannel) {
                conv.weights[i] = Float(Double(conv.weights[i]) * gain)
            }
            conv.bias[channel] = Float(Double(conv.bias[channel]) * gain + offset)
        }
        nodes[index].op = .conv3d(conv)
        return value
    }
}
