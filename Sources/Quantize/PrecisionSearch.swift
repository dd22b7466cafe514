import GraphIR

/// Which layers' outputs to keep in 16 bits for convolutions: what each one costs in 8, and the list that keeps the labels, fits into
/// memory, or both.
///
/// A layer's cost is the loss of agreement when it alone has 8 bits. Layers are then given 16 bits from the dearest on, those
/// left out that would not fit, until the mean foreground Dice to the float labels is high enough; where no Dice is asked for,
/// as long as anything fits, and then the best of what was met is taken. Where memory has no limit, twice as many are tried until they are
/// enough, and then halves between: a network of n layers is converted some 2 log n times, not n times.
public struct PrecisionSearch {
    /// What the search has to hold.
    public struct Target: Sendable {
        /// Largest distance of the mean foreground Dice from 1.
        public var maxDiceDrop: Double?
        /// Bytes of a whole run.
        public var memory: Int?

        public init(maxDiceDrop: Double?, memory: Int?) {
            self.maxDiceDrop = maxDiceDrop
            self.memory = memory
        }
    }

    /// What happens when one layer alone has 8 bits.
    public struct Sensitivity: Sendable {
        public var layer: String
        public var agreement: Double
        public var dice: Double
    }

    /// Agreement with the float labels, and mean foreground Dice.
    public typealias Fidelity = (agreement: Double, dice: Double)

    /// What a choice needs.
    public struct Need: Sendable {
        /// Of the smallest plan.
        public var leastBytes: Int
        /// Of the fastest plan that fits; nil when none does.
        public var bytes: Int?
        /// Time of that plan, in units of the fastest one with 8 bits throughout.
        public var time: Double?
        public var plan: String

        public init(leastBytes: Int, bytes: Int?, time: Double?, plan: String) {
            (self.leastBytes, self.bytes, self.time, self.plan) = (leastBytes, bytes, time, plan)
        }
    }

    /// Some more layers in 16 bits than the last step that fits; the first has none.
    public struct Step: Sendable {
        public var layers: [String]
        /// nil where it does not fit into memory.
        public var fidelity: Fidelity?
        public var need: Need
        /// Of all multiply-adds, the share that reads 16 bits, at half the speed.
        public var wideShare: Double
    }

    public struct Result: Sendable {
        public var target: Target
        public var sensitivities: [Sensitivity]
        public var steps: [Step]
        /// Index of the step that is taken.
        public var chosen: Int
        public var wide: WideLayers
        /// Whether the Dice that was asked for is reached.
        public var isReached: Bool
    }

    let graph: FloatGraph
    /// Of a choice of layers; whole conversions are finished in every way, others only have to rank layers.
    public typealias Measure = (_ wide: WideLayers, _ isWhole: Bool) throws -> Fidelity
    let measure: Measure
    let need: (_ wide: WideLayers, _ wideShare: Double) throws -> Need

    public init(
        graph: FloatGraph, measure: @escaping Measure, need: @escaping (WideLayers, Double) throws -> Need
    ) {
        self.graph = graph
        self.measure = measure
        self.need = need
    }

    /// - Parameter report: told the share of the work that is done.
    /// - Throws: what the closures throw; a memory limit that not even 8 bits throughout meet is for the caller to see.
    public func run(_ target: Target, report: (Double) -> Void) throws -> Result {
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
        sensitivities = order.map { sensitivities[$0] }
        func isEnough(_ step: Step) -> Bool {
            guard let most = target.maxDiceDrop, let fidelity = step.fidelity else { return false }
            return 1 - fidelity.dice <= most
        }
        let dearest = sensitivities.map(\.layer)
        let tell = { (steps: Int) in report(Double(layers.count + steps) / work) }
        let steps =
            target.memory == nil && target.maxDiceDrop != nil
            ? try fewest(dearest, tell, isEnough) : try oneByOne(dearest, tell, isEnough)
        report(1)
        return result(target, sensitivities, steps, isEnough)
    }

    /// One layer after the other, those left out that do not fit.
    private func oneByOne(
        _ dearest: [String], _ tell: (Int) -> Void, _ isEnough: (Step) -> Bool
    ) throws -> [Step] {
        var (steps, chosen): ([Step], Set<String>) = ([], [])
        for layers in [[]] + dearest.map({ [$0] }) {
            let trial = chosen.union(layers)
            let step = try step(layers, trial)
            steps.append(step)
            tell(steps.count)
            if step.fidelity != nil { chosen = trial }
            if isEnough(step) { break }
        }
        return steps
    }

    /// The fewest of the dearest layers that are enough, or all, with what else was tried, by number.
    private func fewest(_ dearest: [String], _ tell: (Int) -> Void, _ isEnough: (Step) -> Bool) throws -> [Step] {
        var found: [Int: Step] = [:]
        func areEnough(_ count: Int) throws -> Bool {
            let step = try step([], Set(dearest.prefix(count)))
            found[count] = step
            tell(found.count)
            return isEnough(step)
        }
        var (few, enough) = (0, 0)
        var isReached = try areEnough(enough)
        while !isReached, enough < dearest.count {
            few = enough
            enough = min(max(1, 2 * enough), dearest.count)
            isReached = try areEnough(enough)
        }
        while isReached, enough - few > 1 {
            let middle = (few + enough) / 2
            if try areEnough(middle) { enough = middle } else { few = middle }
        }
        var before = 0
        return found.sorted { $0.key < $1.key }.map { count, step in
            defer { before = count }
            var step = step
            step.layers = Array(dearest[before..<count])
            return step
        }
    }

    /// - Parameter added: to the layers of the step before.
    private func step(_ added: [String], _ layers: Set<String>) throws -> Step {
        let wide: WideLayers = layers.isEmpty ? .none : .layers(layers)
        let share = wideShare(layers)
        let need = try need(wide, share)
        // Without a 16-bit layer there is something to report in any case.
        let fidelity = need.bytes != nil || layers.isEmpty ? try measure(wide, true) : nil
        return Step(layers: added, fidelity: fidelity, need: need, wideShare: share)
    }

    private func result(
        _ target: Target, _ sensitivities: [Sensitivity], _ steps: [Step], _ isEnough: (Step) -> Bool
    ) -> Result {
        let measured = steps.indices.filter { steps[$0].fidelity != nil }
        // More bits are as a rule, not always, closer to float.
        let best = measured.max {
            let (a, b) = (steps[$0].fidelity!, steps[$1].fidelity!)
            return (a.dice, a.agreement, -$0) < (b.dice, b.agreement, -$1)
        }!
        let chosen = measured.first { isEnough(steps[$0]) } ?? best
        let layers = Set(measured.filter { $0 <= chosen }.flatMap { steps[$0].layers })
        return Result(
            target: target, sensitivities: sensitivities, steps: steps, chosen: chosen,
            wide: layers.isEmpty ? .none : .layers(layers),
            isReached: target.maxDiceDrop == nil || isEnough(steps[chosen]))
    }

    private func wideShare(_ layers: Set<String>) -> Double {
        let values = Set(graph.convolvedValues().filter { layers.contains($0.layer) }.map(\.value))
        let sizes = graph.relativeSizes()
        var (wide, all) = (0.0, 0.0)
        for node in graph.nodes {
            guard case .conv3d(let conv) = node.op, sizes[node.output].span == .voxel else { continue }
            let coarseness = sizes[node.output].coarseness
            let voxels = 1 / Double(1 << (coarseness.depth + coarseness.height + coarseness.width))
            let work = voxels * Double(conv.multiplyAddsPerVoxel)
            all += work
            if values.contains(node.inputs[0]) { wide += work }
        }
        return all > 0 ? wide / all : 0
    }
}
