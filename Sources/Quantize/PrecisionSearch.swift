import GraphIR

/// Which convolutions' outputs to keep in 16 bits: what each one costs in 8, and the shortest list that keeps the labels.
///
/// A layer's cost is the loss of agreement when it alone has 8 bits. Layers are then given 16 bits from the dearest on, until
/// the mean foreground Dice to the float labels has dropped by no more than what is allowed.
public struct PrecisionSearch {
    /// What happens when one layer alone has 8 bits.
    public struct Sensitivity: Sendable {
        public var layer: String
        public var agreement: Double
        public var dice: Double
    }

    /// One more layer in 16 bits than the step before; the first has none.
    public struct Step: Sendable {
        public var layer: String?
        public var agreement: Double
        public var dice: Double
        /// Of all multiply-adds, the share that reads 16 bits, at half the speed.
        public var wideShare: Double
    }

    public struct Result: Sendable {
        public var sensitivities: [Sensitivity]
        public var steps: [Step]
        public var wide: WideLayers
        /// Whether the last step keeps the labels.
        public var isReached: Bool
    }

    let graph: FloatGraph
    /// Agreement and mean foreground Dice of a choice of layers; whole conversions are finished in every way (bias correction),
    /// others only have to rank layers.
    public typealias Measure = (_ wide: WideLayers, _ isWhole: Bool) throws -> (agreement: Double, dice: Double)
    let measure: Measure

    public init(graph: FloatGraph, measure: @escaping Measure) {
        self.graph = graph
        self.measure = measure
    }

    /// - Parameter report: told the share of the work that is done.
    public func run(maxDiceDrop: Double, report: (Double) -> Void) throws -> Result {
        let layers = graph.convolvedValues().map(\.layer)
        let work = Double(2 * layers.count + 1)
        var sensitivities: [Sensitivity] = []
        for layer in layers {
            let others = Set(layers).subtracting([layer])
            let found = try measure(others.isEmpty ? .none : .layers(others), false)
            sensitivities.append(Sensitivity(layer: layer, agreement: found.agreement, dice: found.dice))
            report(Double(sensitivities.count) / work)
        }
        // By agreement, which is finer than Dice where few voxels change; the order of the network on a tie.
        let order = sensitivities.indices.sorted {
            (sensitivities[$0].agreement, $0) < (sensitivities[$1].agreement, $1)
        }
        var steps: [Step] = []
        var chosen: Set<String> = []
        for count in 0...layers.count {
            if count > 0 { chosen.insert(sensitivities[order[count - 1]].layer) }
            let found = try measure(chosen.isEmpty ? .none : .layers(chosen), true)
            steps.append(
                Step(
                    layer: count > 0 ? sensitivities[order[count - 1]].layer : nil, agreement: found.agreement,
                    dice: found.dice, wideShare: wideShare(chosen)))
            report(Double(layers.count + count + 1) / work)
            if 1 - found.dice <= maxDiceDrop { break }
        }
        return Result(
            sensitivities: order.map { sensitivities[$0] }, steps: steps,
            wide: chosen.isEmpty ? .none : .layers(chosen),
            isReached: 1 - steps[steps.count - 1].dice <= maxDiceDrop)
    }

    private func wideShare(_ layers: Set<String>) -> Double {
        let values = Set(graph.convolvedValues().filter { layers.contains($0.layer) }.map(\.value))
        var (wide, all) = (0, 0)
        for node in graph.nodes {
            guard case .conv3d(let conv) = node.op else { continue }
            all += conv.multiplyAddsPerVoxel
            if values.contains(node.inputs[0]) { wide += conv.multiplyAddsPerVoxel }
        }
        return Double(wide) / Double(max(1, all))
    }
}
