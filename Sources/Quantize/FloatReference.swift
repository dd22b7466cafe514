import GraphIR

/// What the float network makes of the inputs on which layers are tuned, once for all conversions that are tried.
public final class FloatReference: Sendable {
    let graph: FloatGraph
    public let inputs: [FloatTensor]
    let draw: VoxelDraw
    private static let drawn = 32768
    /// Output of each convolution at the drawn voxels: by node, `[voxel][channel]`, the inputs one after the other.
    let targets: [Int: [Float]]
    /// Every node's output at some of the drawn voxels of the first input, `[voxel][channel]`.
    private let probes: [Int: [Float]]
    private static let mostProbes = 2048
    /// Labels of the first input, on its grid.
    public let labels: [UInt16]

    /// - Parameters:
    ///   - graph: with batch normalization folded.
    ///   - labels: by input, what the network is likely to say: borders of structures count more.
    ///   - report: fraction done, 0 ... 1.
    public init(
        _ graph: FloatGraph, _ inputs: [FloatTensor], labels: [[UInt16]], report: (Double) -> Void = { _ in }
    ) {
        let draw = VoxelDraw(inputs, labels: labels, count: Self.drawn)
        var targets: [Int: [Float]] = [:]
        var probes: [Int: [Float]] = [:]
        var first: [UInt16] = []
        for (number, input) in inputs.enumerated() {
            let found = Comparison.floatLabels(graph, input) { (index, tensor) in
                report((Double(number) + Double(index) / Double(graph.nodes.count)) / Double(inputs.count))
                if number == 0 { probes[index] = Self.values(tensor, at: Self.probed(draw, tensor.size)) }
                guard case .conv3d = graph.nodes[index].op else { return }
                targets[index, default: []] += Self.values(tensor, at: draw.voxels(of: number, in: tensor.size))
            }
            if number == 0 { first = found }
        }
        (self.graph, self.inputs, self.draw) = (graph, inputs, draw)
        (self.targets, self.probes, self.labels) = (targets, probes, first)
    }

    private static func values(_ tensor: FloatTensor, at voxels: [Int]) -> [Float] {
        voxels.flatMap { voxel in (0..<tensor.channels).map { tensor.values[$0 * tensor.size.count + voxel] } }
    }

    private static func probed(_ draw: VoxelDraw, _ size: Size3) -> [Int] {
        let voxels = draw.voxels(of: 0, in: size)
        let step = max(1, voxels.count / mostProbes)
        return stride(from: 0, to: voxels.count, by: step).map { voxels[$0] }
    }

    /// Runs a model on the first input.
    /// - Returns: labels of both, and the mean over the layers of their signal to noise ratio at some voxels, in dB.
    public func compare(_ model: LoweredModel, threads: Int) throws -> (labels: Comparison, meanSQNR: Double) {
        var (sum, count) = (0.0, 0)
        let network = try IntegerNetwork(model.bytes, threads: threads)
        let labels = try network.run(inputs[0]) { op, view in
            guard model.nodes[op] >= 0, let real = self.probes[model.nodes[op]] else { return }
            let extent = view.layout.extent
            var difference = LayerDifference(op: op, name: "")
            var next = 0
            for voxel in Self.probed(self.draw, Size3(depth: extent.depth, height: extent.height, width: extent.width))
            {
                for c in 0..<view.layout.channels {
                    difference.add(real[next], view.real(c, voxel))
                    next += 1
                }
            }
            guard difference.sqnr.isFinite else { return }
            (sum, count) = (sum + difference.sqnr, count + 1)
        }
        return (
            Comparison(layers: [], floatLabels: self.labels, integerLabels: labels), sum / Double(max(1, count))
        )
    }
}
