import FlatGraph
import Glibc
import GraphIR
import MKRuntime

/// How one op's integer output differs from the float network's, over one volume.
public struct LayerDifference: Sendable {
    public var op: Int
    public var name: String
    public var signal = 0.0
    public var noise = 0.0
    public var worst: Float = 0
    public var floatLow = Float.infinity
    public var floatHigh = -Float.infinity

    /// Signal to quantization noise ratio in dB: mean square of the float values over that of the difference.
    public var sqnr: Double { noise > 0 ? 10 * log10(signal / noise) : .infinity }

    init(op: Int, name: String) { (self.op, self.name) = (op, name) }

    /// - Parameter integers: real values of a channel in the integer network.
    init(op: Int, name: String, _ tensor: FloatTensor, integers: (Int) -> [Float]) {
        self.init(op: op, name: name)
        let count = tensor.size.count
        for channel in 0..<tensor.channels {
            let integers = integers(channel)
            for i in 0..<count { add(tensor.values[channel * count + i], integers[i]) }
        }
    }

    mutating func add(_ real: Float, _ integer: Float) {
        let difference = integer - real
        signal += Double(real * real)
        noise += Double(difference * difference)
        worst = max(worst, abs(difference))
        floatLow = min(floatLow, real)
        floatHigh = max(floatHigh, real)
    }
}

/// Float against integer execution of the same input.
public struct Comparison: Sendable {
    public var layers: [LayerDifference]
    public var floatLabels: [UInt16]
    public var integerLabels: [UInt16]

    public var agreement: Double {
        let same = zip(floatLabels, integerLabels).reduce(0) { $0 + ($1.0 == $1.1 ? 1 : 0) }
        return Double(same) / Double(max(1, floatLabels.count))
    }

    /// Mean Dice of the classes other than 0 that occur in either; nil when there is none.
    public var meanForegroundDice: Double? {
        var both: [UInt16: Int] = [:]
        var sum: [UInt16: Int] = [:]
        for (a, b) in zip(floatLabels, integerLabels) {
            sum[a, default: 0] += 1
            sum[b, default: 0] += 1
            if a == b { both[a, default: 0] += 1 }
        }
        let dice = sum.filter { $0.key != 0 }.map { 2 * Double(both[$0.key] ?? 0) / Double($0.value) }
        return dice.isEmpty ? nil : dice.reduce(0, +) / Double(dice.count)
    }

    public init(layers: [LayerDifference], floatLabels: [UInt16], integerLabels: [UInt16]) {
        self.layers = layers
        self.floatLabels = floatLabels
        self.integerLabels = integerLabels
    }

    /// What the float network says, on the grid of its input.
    static func floatLabels(
        _ graph: FloatGraph, _ input: FloatTensor, observe: (Int, FloatTensor) -> Void = { _, _ in }
    ) -> [UInt16] {
        var scored = input.size
        let labels = FloatExecutor(graph).run(input) { (index, tensor) throws(Never) in
            scored = tensor.size
            observe(index, tensor)
        }
        return centred(labels, scored, in: input.size)
    }

    /// - Parameter graph: the prepared float graph, in the node order that `nodes` refers to.
    /// - Parameter nodes: float node by op.
    public init(
        graph: FloatGraph, nodes: [Int], network: IntegerNetwork, input: FloatTensor,
        report: (Double) -> Void = { _ in }
    ) throws(RuntimeError) {
        // Both go through the network together. An op that has to run before its float counterpart, which ops in another
        // order than the nodes do, leaves its values behind.
        let run = try SteppedRun(network, input, materializeScores: true)
        var (found, next): ([LayerDifference], Int) = ([], 0)
        var kept: [Int: [[Float]]] = [:]
        var failure: RuntimeError?
        let last = Double(graph.nodes.count)
        floatLabels = Self.floatLabels(graph, input) { index, tensor in
            report(Double(index + 1) / last)
            guard failure == nil, let op = nodes.firstIndex(of: index), op < run.stepCount else { return }
            while next <= op {
                do throws(RuntimeError) { try run.step(next) } catch { return failure = error }
                if nodes[next] > index { kept[next] = run.output(of: next).allReals }
                next += 1
            }
            let integers = kept.removeValue(forKey: op)
            let name = network.file.string(network.file.op(op).name)
            let view = run.output(of: op)
            found.append(LayerDifference(op: op, name: name, tensor) { integers?[$0] ?? view.reals($0) })
        }
        if let failure { throw failure }
        layers = found
        integerLabels = try network.run(input)
    }

    /// Labels of a network without padding as the runtime writes them: the border that it eats is background.
    private static func centred(_ labels: [UInt16], _ size: Size3, in volume: Size3) -> [UInt16] {
        guard size != volume else { return labels }
        var result = [UInt16](repeating: 0, count: volume.count)
        let x0 = (volume.width - size.width) / 2
        for row in 0..<(size.depth * size.height) {
            let z = row / size.height + (volume.depth - size.depth) / 2
            let y = row % size.height + (volume.height - size.height) / 2
            let start = (z * volume.height + y) * volume.width + x0
            for x in 0..<size.width { result[start + x] = labels[row * size.width + x] }
        }
        return result
    }
}
