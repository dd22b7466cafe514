import GraphIR

/// What calibration learned about every value of a graph: one histogram per channel.
public struct Calibration: Sendable {
    public private(set) var histograms: [ValueID: [Histogram]] = [:]
    /// What scans keep to themselves, by node index and channel.
    private(set) var scanPeaks: [Int: [ScanPeaks]] = [:]
    public private(set) var volumes = 0

    public init() {}

    /// Runs the float network over one volume (or a crop of it) and adds what it sees.
    /// - Parameter report: fraction done, 0 ... 1.
    public mutating func add(
        _ graph: FloatGraph, _ input: FloatTensor, report: (Double) -> Void = { _ in }
    ) {
        collect(input, value: 0)
        let skipped = graph.valuesInsideFusedActivations
        let nodes = graph.nodes
        var executor = FloatExecutor(graph)
        var peaks: [Int: [ScanPeaks]] = [:]
        executor.observeScan = { peaks[$0] = $1 }
        _ = executor.run(input) { (index, tensor) throws(Never) in
            if !skipped.contains(nodes[index].output) { collect(tensor, value: nodes[index].output) }
            report(Double(index + 1) / Double(nodes.count))
        }
        scanPeaks.merge(peaks) { zip($0, $1).map { $0.merged($1) } }
        volumes += 1
    }

    private mutating func collect(_ tensor: FloatTensor, value: ValueID) {
        var list = histograms[value] ?? [Histogram](repeating: Histogram(), count: tensor.channels)
        histograms[value] = nil
        let count = tensor.size.count
        for channel in 0..<tensor.channels {
            list[channel].add(tensor.values[(channel * count)..<((channel + 1) * count)])
        }
        histograms[value] = list
    }

    /// All channels of a value together.
    func pooled(_ value: ValueID) -> Histogram {
        var result = Histogram()
        for histogram in histograms[value] ?? [] { result.merge(histogram) }
        return result
    }
}

extension FloatOp {
    /// Whether the integer form ends with a clamp of its codes that can do the work of a ReLU.
    var clampsLikeReLU: Bool {
        switch self {
        case .conv3d, .groupNorm, .depthwise: true
        default: false
        }
    }
}

extension FloatOp {
    /// Whether the op decides the zero point of what it reads.
    var setsZeroPoint: Bool {
        switch self {
        case .concat, .kanBasis: true
        default: false
        }
    }

    /// Whether codes pass the op as they are, or as means of them.
    var keepsCodes: Bool {
        switch self {
        case .maxPool, .resize, .sliceOrder: true
        default: false
        }
    }
}

extension FloatGraph {
    func consumers(of value: ValueID) -> [Int] { nodes.indices.filter { nodes[$0].inputs.contains(value) } }

    /// Whether what reads a value, or codes that came of it, decides its zero point.
    private func isZeroPointSet(_ value: ValueID) -> Bool {
        consumers(of: value).contains {
            nodes[$0].op.setsZeroPoint || nodes[$0].op.keepsCodes && isZeroPointSet(nodes[$0].output)
        }
    }

    /// Outputs of convolutions and normalizations that only a ReLU reads: the clamp of the integer op does both, so these values never
    /// exist.
    var valuesInsideFusedActivations: Set<ValueID> {
        var result: Set<ValueID> = []
        for node in nodes {
            guard node.op.clampsLikeReLU, let only = consumers(of: node.output).first,
                consumers(of: node.output).count == 1, case .activation(.relu) = nodes[only].op,
                // These may give the value a zero point, and then the clamp of the codes is no ReLU.
                !isZeroPointSet(nodes[only].output)
            else { continue }
            result.insert(node.output)
        }
        return result
    }
}
