import FlatGraph
import GraphIR
import MKRuntime

/// Rounding shifts the mean of a channel a little; the shift is measured on a calibration volume, layer by layer, and put
/// back into the bias (Nagel et al. 2019, "Data-free quantization", section 4.2, in its empirical form).
struct BiasCorrection {
    let graph: FloatGraph
    let inputs: [FloatTensor]
    /// Voxels that count, by input and by size of a value: those with a signal. Air is constant and would drown the rest.
    private let masks: [[Size3: [Bool]]]
    private let floatMeans: [Int: [Double]]

    /// - Parameter inputs: of one size; the shift is that over all of them.
    init(graph: FloatGraph, inputs: [FloatTensor]) {
        self.graph = graph
        self.inputs = inputs
        var masks = [[Size3: [Bool]]](repeating: [:], count: inputs.count)
        var sums: [Int: [MaskedSum]] = [:]
        for (number, input) in inputs.enumerated() {
            _ = FloatExecutor(graph).run(input) { (index, tensor) throws(Never) in
                let mask = masks[number][tensor.size] ?? Self.signal(input, tensor.size)
                masks[number][tensor.size] = mask
                var sum = sums[index] ?? [MaskedSum](repeating: MaskedSum(), count: tensor.channels)
                for channel in 0..<tensor.channels {
                    let start = channel * tensor.size.count
                    sum[channel].add(tensor.values[start..<(start + tensor.size.count)], mask)
                }
                sums[index] = sum
            }
        }
        self.masks = masks
        floatMeans = sums.mapValues { $0.map(\.mean) }
    }

    private struct MaskedSum {
        var sum = 0.0
        var count = 0
        /// Voxels that count and are not 0.
        var active = 0

        var mean: Double { count > 0 ? sum / Double(count) : 0 }
        /// A ReLU lets through only the active share of a change of the bias.
        var share: Double { Double(active) / Double(max(1, count)) }

        mutating func add(_ values: ArraySlice<Float>, _ mask: [Bool]) {
            for (value, use) in zip(values, mask) where use {
                sum += Double(value)
                count += 1
                active += value != 0 ? 1 : 0
            }
        }
    }

    /// Where the input has a signal, seen through a coarser or smaller grid: at the voxel that lies in the same place.
    private static func signal(_ input: FloatTensor, _ size: Size3) -> [Bool] {
        let full = input.size
        var result: [Bool] = []
        result.reserveCapacity(size.count)
        for z in 0..<size.depth {
            for y in 0..<size.height {
                for x in 0..<size.width {
                    let at =
                        ((2 * z + 1) * full.depth / (2 * size.depth) * full.height + (2 * y + 1) * full.height
                            / (2 * size.height))
                        * full.width + (2 * x + 1) * full.width / (2 * size.width)
                    result.append((0..<input.channels).contains { input.values[$0 * full.count + at] != 0 })
                }
            }
        }
        return result
    }

    /// Corrections by node index of the convolution.
    func corrections(
        threads: Int, report: (Double) -> Void, lower: ([Int: [Double]]) throws(QuantizeError) -> LoweredModel
    ) throws(QuantizeError) -> [Int: [Double]] {
        var result: [Int: [Double]] = [:]
        let convolutions = graph.nodes.indices.filter { hasLastingBias($0) }
        for (done, node) in convolutions.enumerated() {
            let model = try lower(result)
            guard let shift = measure(node, model, threads: threads) else { continue }
            result[node] = shift
            report(Double(done + 1) / Double(convolutions.count))
        }
        return result
    }

    /// A normalization takes any bias before it away.
    private func hasLastingBias(_ node: Int) -> Bool {
        guard case .conv3d = graph.nodes[node].op else { return false }
        return !graph.consumers(of: graph.nodes[node].output).contains {
            if case .groupNorm = graph.nodes[$0].op { true } else { false }
        }
    }

    /// The correction of one convolution's bias, in real units; nil when it cannot be measured.
    private func measure(_ node: Int, _ model: LoweredModel, threads: Int) -> [Double]? {
        guard let network = try? IntegerNetwork(model.bytes, threads: threads) else { return nil }
        let kinds = (0..<network.file.opCount).map { network.file.op($0).kind }
        // The op that computes this convolution: ops are in node order, one conv3d per convolution.
        let position = graph.nodes[..<node].reduce(0) { count, other in
            if case .conv3d = other.op { count + 1 } else { count }
        }
        guard let op = kinds.indices.filter({ kinds[$0] == .conv3d }).dropFirst(position).first,
            let target = floatMeans[model.nodes[op]]
        else { return nil }
        var found: [MaskedSum] = []
        for (number, input) in inputs.enumerated() {
            _ = try? network.run(input) { index, view in
                guard index == op else { return }
                let extent = view.layout.extent
                let size = Size3(depth: extent.depth, height: extent.height, width: extent.width)
                guard let mask = masks[number][size] else { return }
                if found.isEmpty { found = [MaskedSum](repeating: MaskedSum(), count: view.layout.channels) }
                for channel in found.indices { found[channel].add(view.reals(channel)[...], mask) }
            }
        }
        guard !found.isEmpty else { return nil }
        return zip(target, found).map { $1.share > 0.05 ? ($0 - $1.mean) / $1.share : 0 }
    }
}
