import Dispatch

/// Runs a graph in float32: the yardstick for the integer network, and what calibration watches.
public struct FloatExecutor {
    public let graph: FloatGraph

    public init(_ graph: FloatGraph) { self.graph = graph }

    /// Runs the network and returns the class index of every voxel.
    ///
    /// - Parameter observe: sees the output of each node before the argmax (node index, tensor). Tensors are freed after
    ///   their last use.
    public func run<E: Error>(
        _ input: FloatTensor, observe: (Int, FloatTensor) throws(E) -> Void
    ) throws(E) -> [UInt16] {
        var values: [ValueID: FloatTensor] = [0: input]
        for (index, node) in graph.nodes.enumerated() {
            let sources = node.inputs.map { values[$0]! }
            release(&values, after: index)
            guard let result = Self.evaluate(node.op, sources) else { return Self.argmax(sources[0]) }
            try observe(index, result)
            values[node.output] = result
        }
        preconditionFailure("a graph ends with an argmax")
    }

    private func release(_ values: inout [ValueID: FloatTensor], after index: Int) {
        for value in graph.nodes[index].inputs
        where !graph.nodes[(index + 1)...].contains(where: { $0.inputs.contains(value) }) {
            values[value] = nil
        }
    }

    /// nil for argmax, whose result is not a float tensor.
    private static func evaluate(_ op: FloatOp, _ inputs: [FloatTensor]) -> FloatTensor? {
        switch op {
        case .conv3d(let conv): FloatConvolution(conv, inputs[0]).run()
        case .batchNorm(let norm): normalize(inputs[0], norm)
        case .activation(let f): activate(inputs[0], f)
        case .add: sum(inputs[0], inputs[1])
        case .concat:
            FloatTensor(
                channels: inputs.reduce(0) { $0 + $1.channels }, size: inputs[0].size,
                values: inputs.flatMap(\.values))
        case .argmax: nil
        }
    }

    private static func normalize(_ x: FloatTensor, _ norm: BatchNorm) -> FloatTensor {
        var result = x
        for channel in 0..<x.channels {
            let gain = Double(norm.scale[channel]) / (Double(norm.variance[channel]) + norm.epsilon).squareRoot()
            for i in (channel * x.size.count)..<((channel + 1) * x.size.count) {
                let centred = Double(x.values[i]) - Double(norm.mean[channel])
                result.values[i] = Float(centred * gain + Double(norm.shift[channel]))
            }
        }
        return result
    }

    private static func activate(_ x: FloatTensor, _ f: Activation) -> FloatTensor {
        var result = x
        if f == .relu {
            for i in result.values.indices { result.values[i] = max(result.values[i], 0) }
            return result
        }
        for i in result.values.indices { result.values[i] = Float(f(Double(result.values[i]))) }
        return result
    }

    private static func sum(_ a: FloatTensor, _ b: FloatTensor) -> FloatTensor {
        var result = a
        for i in result.values.indices { result.values[i] += b.values[i] }
        return result
    }

    private static func argmax(_ scores: FloatTensor) -> [UInt16] {
        var best = [Float](repeating: -.infinity, count: scores.size.count)
        var winner = [UInt16](repeating: 0, count: scores.size.count)
        for channel in 0..<scores.channels {
            let base = channel * scores.size.count
            for i in best.indices where scores.values[base + i] > best[i] {
                best[i] = scores.values[base + i]
                winner[i] = UInt16(channel)
            }
        }
        return winner
    }
}
