/// What is wrong with a graph, by the name of the node.
public struct GraphError: Error, Equatable, Sendable, CustomStringConvertible {
    public let node: String
    public let message: String

    public var description: String { "\(node): \(message)" }
}

/// Consistency of one node with the values before it.
struct GraphCheck {
    let graph: FloatGraph
    let index: Int
    let node: Node

    static let maxElements = 1 << 40

    private func check(_ ok: Bool, _ message: @autoclosure () -> String) throws(GraphError) {
        guard ok else { throw GraphError(node: node.name, message: message()) }
    }

    func run() throws(GraphError) {
        try check(node.output == index + 1, "output is value \(node.output) (must be \(index + 1))")
        try check(
            node.inputs.allSatisfy { (0...index).contains($0) },
            "inputs \(node.inputs) (must be earlier values)")
        let wanted = inputCount
        try check(
            wanted.contains(node.inputs.count), "\(node.inputs.count) inputs (must be \(wanted.lowerBound))")
        let inputs = node.inputs.map { graph.channels[$0] }
        try check(
            (1...1 << 16).contains(graph.channels[node.output]), "\(graph.channels[node.output]) channels")
        switch node.op {
        case .conv3d(let conv): try check(conv, inputs[0])
        case .batchNorm(let norm): try check(norm, inputs[0])
        case .add, .multiply: try check(inputs[0] == inputs[1], "\(inputs[0]) and \(inputs[1]) channels")
        case .gate: try check(Set(inputs).count == 1, "gates \(inputs) channels")
        case .depthToSpace(let factor):
            try checkFactor(factor)
            try check(
                inputs[0] % factor.count == 0, "\(inputs[0]) channels (must be a multiple of \(factor.count))")
        case .maxPool(let pool): try checkFactor(pool.factor)
        case .resize(let resize): try checkFactor(resize.factor)
        default: try checkTokenOp(inputs)
        }
        try check(
            graph.channels[node.output] == node.op.outputChannels(inputs),
            "\(graph.channels[node.output]) output channels")
        try check(node.op != .argmax || index == graph.nodes.count - 1, "argmax before the end")
    }

    private func checkFactor(_ factor: Size3) throws(GraphError) {
        try check(
            [factor.depth, factor.height, factor.width].allSatisfy((1...2).contains) && factor.count > 1,
            "factor \(factor) (must be 1 or 2 along each axis)")
    }

    private var inputCount: ClosedRange<Int> {
        switch node.op {
        case .add, .multiply: 2...2
        case .scan, .gate: 3...3
        case .concat: 1...64
        default: 1...1
        }
    }

    private func checkTokenOp(_ inputs: [Int]) throws(GraphError) {
        let channels = inputs[0]
        switch node.op {
        case .groupNorm(let norm):
            try check(
                norm.groups > 0 && channels % norm.groups == 0, "\(norm.groups) groups of \(channels) channels")
            try checkLists([norm.scale, norm.shift], channels)
        case .layerNorm(let norm): try checkLists([norm.scale, norm.shift], channels)
        case .depthwise(let conv):
            try checkLists([conv.bias], channels)
            try checkLists([conv.weights], channels * conv.kernel.count)
        case .tokenConv(let conv):
            try check((1...16).contains(conv.taps), "\(conv.taps) taps (must be 1...16)")
            try checkLists([conv.bias], channels)
            try checkLists([conv.weights], channels * conv.taps)
        case .kanBasis(let basis): try check((1...12).contains(basis.grid), "grid \(basis.grid) (must be 1...12)")
        case .scan(let scan):
            try check((1...64).contains(scan.states), "\(scan.states) states (must be 1...64)")
            try check(inputs == [channels, channels, 2 * scan.states], "scan inputs of \(inputs) channels")
            try checkLists([scan.a], channels * scan.states)
            try checkLists([scan.skip], channels)
            try check(scan.a.allSatisfy { $0 < 0 }, "a decay rate is not negative")
        default: break
        }
    }

    private func checkLists(_ lists: [[Float]], _ count: Int) throws(GraphError) {
        for list in lists {
            try check(list.count == count, "\(list.count) parameters (must be \(count))")
            try check(list.allSatisfy(\.isFinite), "a parameter is not finite")
        }
    }

    private func check(_ conv: ConvWeights, _ channels: Int) throws(GraphError) {
        try check(conv.inChannels == channels, "\(conv.inChannels) input channels (must be \(channels))")
        for (name, size, range) in [
            ("kernel", conv.kernel, 1...64), ("dilation", conv.dilation, 1...256),
            ("padding", conv.padding, 0...4096), ("stride", conv.stride, 1...2),
        ] {
            try check(
                [size.depth, size.height, size.width].allSatisfy(range.contains),
                "\(name) \(size) (must be in \(range))")
        }
        let count = conv.outChannels * conv.inChannels * conv.kernel.count
        try check(conv.weights.count == count, "\(conv.weights.count) weights (must be \(count))")
        try check(
            conv.bias.count == conv.outChannels, "\(conv.bias.count) biases (must be \(conv.outChannels))")
        try check((conv.weights + conv.bias).allSatisfy(\.isFinite), "a weight or bias is not finite")
    }

    private func check(_ norm: BatchNorm, _ channels: Int) throws(GraphError) {
        for list in [norm.mean, norm.variance, norm.scale, norm.shift] {
            try check(list.count == channels, "\(list.count) statistics (must be \(channels))")
            try check(list.allSatisfy(\.isFinite), "a statistic is not finite")
        }
        try check(norm.variance.allSatisfy { Double($0) + norm.epsilon > 0 }, "a variance is not positive")
    }

    static func checkSize(_ size: Size3, channels: Int, node: String) throws(GraphError) {
        guard size.depth > 0, size.height > 0, size.width > 0 else {
            throw GraphError(
                node: node,
                message: "size \(size.depth)x\(size.height)x\(size.width) (input smaller than the kernel)")
        }
        guard let count = elementCount([channels, size.depth, size.height, size.width]), count <= maxElements
        else { throw GraphError(node: node, message: "more than 2^40 elements") }
    }
}
