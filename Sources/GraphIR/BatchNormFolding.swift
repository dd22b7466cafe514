extension FloatGraph {
    /// The same network with every batch normalization multiplied into the convolution before it. In double, rounded
    /// once per weight. Precondition: a batch normalization reads a convolution that nobody else reads (as the importers
    /// build them).
    public func foldingBatchNorm() -> FloatGraph {
        var result = FloatGraph(inputChannels: inputChannels)
        var renamed: [ValueID: ValueID] = [0: 0]
        for (index, node) in nodes.enumerated() {
            let inputs = node.inputs.map { renamed[$0]! }
            if case .batchNorm(let norm) = node.op {
                precondition(index > 0 && nodes[index - 1].output == node.inputs[0], "no convolution to fold into")
                result.foldIntoLast(norm)
                renamed[node.output] = inputs[0]
            } else {
                renamed[node.output] = result.append(node.name, node.op, inputs)
            }
        }
        return result
    }

    private mutating func foldIntoLast(_ norm: BatchNorm) {
        guard case .conv3d(var conv) = nodes[nodes.count - 1].op else { preconditionFailure("no convolution") }
        let perChannel = conv.weights.count / conv.outChannels
        for channel in 0..<conv.outChannels {
            let gain = Double(norm.scale[channel]) / (Double(norm.variance[channel]) + norm.epsilon).squareRoot()
            for i in (channel * perChannel)..<((channel + 1) * perChannel) {
                conv.weights[i] = Float(Double(conv.weights[i]) * gain)
            }
            let centred = Double(conv.bias[channel]) - Double(norm.mean[channel])
            conv.bias[channel] = Float(centred * gain + Double(norm.shift[channel]))
        }
        nodes[nodes.count - 1].op = .conv3d(conv)
    }
}
