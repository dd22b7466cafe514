/// Runs a graph in float32: the yardstick for the integer network, and what calibration watches.
///
/// Results do not depend on the number of threads.
public struct FloatExecutor {
    public let graph: FloatGraph
    /// Threads that work at once, at least 1.
    public let threads: Int
    /// Told the finished share of the nodes, 0...1, after each node.
    public var progress: ((Double) -> Void)?
    /// Told what a scan keeps to itself (node index, by channel).
    public var observeScan: ((Int, [ScanPeaks]) -> Void)?

    /// - Parameter threads: nil for one per processor.
    public init(_ graph: FloatGraph, threads: Int? = nil, progress: ((Double) -> Void)? = nil) {
        self.graph = graph
        self.threads = max(1, threads ?? Parallel.processorCount)
        self.progress = progress
    }

    /// Runs the network and returns the class index of every voxel.
    ///
    /// Precondition: `graph.sizes(input:)` accepts the input's size. A tensor is freed after its last use.
    /// - Parameters:
    ///   - input: `[channel][depth][height][width]`, normalized.
    ///   - observe: sees the output of each node before the argmax (node index, tensor); the node is
    ///     `graph.nodes[index]`.
    public func run<E: Error>(
        _ input: FloatTensor, observe: (Int, FloatTensor) throws(E) -> Void
    ) throws(E) -> [UInt16] {
        let lastUses = lastUses()
        let parallel = Parallel(threads: threads)
        var values: [ValueID: FloatTensor] = [0: input]
        for (index, node) in graph.nodes.enumerated() {
            var sources = node.inputs.map { values[$0]! }
            for value in node.inputs where lastUses[value] == index { values[value] = nil }
            if node.op == .argmax {
                let labels = FloatKernels.argmax(sources[0], parallel)
                progress?(1)
                return labels
            }
            let result: FloatTensor
            if case .scan(let scan) = node.op {
                let (output, peaks) = FloatTokens.scan(sources[0], sources[1], sources[2], scan)
                observeScan?(index, peaks)
                result = output
            } else {
                result = Self.evaluate(node.op, &sources, parallel)
            }
            try observe(index, result)
            if lastUses[node.output] != nil { values[node.output] = result }
            progress?(Double(index + 1) / Double(graph.nodes.count))
        }
        preconditionFailure("a graph ends with an argmax")
    }

    private func lastUses() -> [ValueID: Int] {
        var result: [ValueID: Int] = [:]
        for (index, node) in graph.nodes.enumerated() {
            for value in node.inputs { result[value] = index }
        }
        return result
    }

    /// Takes the inputs, so that an operation without other readers works in place.
    private static func evaluate(_ op: FloatOp, _ inputs: inout [FloatTensor], _ parallel: Parallel)
        -> FloatTensor
    {
        switch op {
        case .conv3d(let conv):
            return conv.stride == Size3(cube: 1)
                ? FloatConvolution(conv, inputs[0]).run(parallel) : FloatTokens.strided(inputs[0], conv)
        case .concat: return FloatGrids.concatenate(inputs)
        case .batchNorm(let norm):
            var result = inputs.removeFirst()
            FloatKernels.normalize(&result, norm, parallel)
            return result
        case .activation(let f):
            var result = inputs.removeFirst()
            FloatKernels.activate(&result, f, parallel)
            return result
        case .add:
            var result = inputs.removeFirst()
            FloatKernels.add(&result, inputs[0], parallel)
            return result
        case .multiply:
            var result = inputs.removeFirst()
            FloatGrids.multiply(&result, inputs[0])
            return result
        case .groupNorm(let norm):
            var result = inputs.removeFirst()
            FloatTokens.normalize(&result, norm)
            return result
        case .layerNorm(let norm):
            var result = inputs.removeFirst()
            FloatTokens.normalize(&result, norm)
            return result
        case .depthwise(let conv): return FloatTokens.depthwise(inputs[0], conv)
        case .tokenConv(let conv): return FloatTokens.convolve(inputs[0], conv)
        case .kanBasis(let basis): return FloatTokens.expand(inputs[0], basis)
        case .scan: preconditionFailure("a scan has two results")
        case .gate: return FloatTokens.gate(inputs[0], inputs[1], inputs[2])
        case .depthToSpace(let factor): return FloatGrids.depthToSpace(inputs[0], factor)
        case .maxPool(let pool): return FloatGrids.maxPool(inputs[0], pool)
        case .resize(let resize): return FloatGrids.resize(inputs[0], resize)
        case .globalPool(let isPerSlice): return FloatGrids.globalPool(inputs[0], isPerSlice: isPerSlice)
        case .sliceOrder(let order): return FloatTokens.reorder(inputs[0], order)
        case .argmax: preconditionFailure("an argmax makes no float tensor")
        }
    }
}
