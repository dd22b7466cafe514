import GraphIR

/// Chooses the coding of every value that the integer network stores.
struct CodingChooser {
    let graph: FloatGraph
    let calibration: Calibration
    let rule: RangeRule
    private let groups: CodingGroups
    /// 16-bit values that convolutions read as they are.
    private let requested: Set<ValueID>
    /// Those of them that would else have bytes.
    private let widened: Set<ValueID>
    /// One voxel for a slice or the volume: there are few to calibrate on, so ranges are wider than what was seen.
    let pooled: Set<ValueID>
    /// A scale per channel wherever the layers around a value absorb it.
    private let equalizes: Bool
    /// Scores get some room above what calibration saw: a clipped score could tie with another.
    static let scoreHeadroom: Float = 1.25
    /// A clipped value shifts the statistics of its whole group, and 16 bits have room.
    static let statisticsHeadroom: Float = 4
    /// The trunk and the scan: 16 bits with some room.
    static let wideHeadroom: Float = 2

    init(
        graph: FloatGraph, calibration: Calibration, rule: RangeRule, requested: Set<ValueID> = [],
        equalizes: Bool = true
    ) {
        self.equalizes = equalizes
        self.requested = requested
        pooled = graph.pooledValues()
        self.graph = graph
        self.calibration = calibration
        self.rule = rule
        groups = CodingGroups(graph, requested: requested)
        widened = requested.subtracting(CodingGroups(graph).wide)
    }

    /// - Parameter input: coding of the image in bytes.
    func choose(input: ValueCoding) -> [ValueID: ValueCoding] {
        var result: [ValueID: ValueCoding] = [0: requested.contains(0) ? input.widened : input]
        let fused = graph.valuesInsideFusedActivations
        for node in graph.nodes where !fused.contains(node.output) && node.op != .argmax && result[node.output] == nil {
            let value = node.output
            let members = groups.members(value)
            let coding =
                members.count > 1
                ? shared(members)
                : groups.wide.contains(value) ? wide(node, result) : concatenated(node, result) ?? narrow(node, result)
            for member in members where !fused.contains(member) { result[member] = coding }
        }
        return result
    }

    /// Codings of the copies in bytes that convolutions read instead of 16-bit values.
    func copies() -> [ValueID: ValueCoding] {
        var result: [ValueID: ValueCoding] = [:]
        for node in graph.nodes {
            if node.op == .multiply {
                for value in node.inputs where groups.wide.contains(value) { result[value] = bytes(value) }
            }
            guard case .conv3d = node.op, groups.wide.contains(node.inputs[0]), !requested.contains(node.inputs[0]),
                result[node.inputs[0]] == nil
            else { continue }
            guard !groups.isStateSpace else {
                result[node.inputs[0]] = .centred(high: clipped(node.inputs[0]))
                continue
            }
            result[node.inputs[0]] = bytes(node.inputs[0])
        }
        return result
    }

    /// One scale and zero point.
    private func bytes(_ value: ValueID) -> ValueCoding {
        var range = rule.range(calibration.pooled(value))
        if pooled.contains(value) {
            let seen = RangeRule.minMax.range(calibration.pooled(value))
            range = (Self.wideHeadroom * seen.low, Self.wideHeadroom * seen.high)
        }
        return .unsigned(low: range.low, high: range.high)
    }

    /// Bytes in which a convolution writes what its ReLU makes 16 bits of: it has no 16-bit form with a clamp at 0.
    func byteForms() -> [ValueID: ValueCoding] {
        var result: [ValueID: ValueCoding] = [:]
        let fused = graph.valuesInsideFusedActivations
        for node in graph.nodes {
            guard case .activation(.relu) = node.op, fused.contains(node.inputs[0]), groups.wide.contains(node.output),
                !requested.contains(node.output),
                case .conv3d = graph.nodes[node.inputs[0] - 1].op
            else { continue }
            result[node.output] = .perChannel(
                high: (calibration.histograms[node.output] ?? []).map { max(rule.range($0).high, 1e-6) })
        }
        return result
    }

    // MARK: Channels side by side

    /// Where concatenated channels keep a scale each, they share the zero point 128, and so do a rearrangement's.
    private func concatenated(_ node: Node, _ known: [ValueID: ValueCoding]) -> ValueCoding? {
        guard groups.isStateSpace else { return nil }
        if node.op == .concat {
            let scales = scales(node.inputs, known)
            let most = scales.max()! * 127
            return ValueCoding(scales: scales, zeroPoint: 128, low: -most, high: most)
        }
        let readers = graph.consumers(of: node.output).map { graph.nodes[$0] }
        if let shuffle = readers.first(where: \.isShuffle), readers.count == 1 {
            // Channel `slot · channels + c` becomes channel c of one of eight places.
            let one = clipped(shuffle.output)
            return .centred(high: (0..<graph.channels[node.output]).map { one[$0 % one.count] })
        }
        if node.isShuffle { return .centred(high: clipped(node.output)) }
        guard readers.contains(where: { $0.op == .concat }) else { return nil }
        let high = clipped(node.output)
        // A table serves all channels.
        if case .activation = node.op { return .centred(high: high.map { _ in high.max() ?? 0 }) }
        return .centred(high: high)
    }

    private func clipped(_ value: ValueID) -> [Float] {
        (calibration.histograms[value] ?? []).map {
            let range = rule.range($0)
            return max(abs(range.low), abs(range.high))
        }
    }

    // MARK: 16 bits

    func most(_ histogram: Histogram) -> Float { max(abs(histogram.low), abs(histogram.high)) }

    private func wide(_ node: Node, _ known: [ValueID: ValueCoding]) -> ValueCoding {
        let value = node.output
        let consumers = graph.consumers(of: value).map { graph.nodes[$0].op }
        if pooled.contains(value) {
            let isTabled = consumers.contains { if case .activation = $0 { true } else { false } }
            let headroom = isTabled ? Self.wideHeadroom : Self.statisticsHeadroom
            return .wide(high: [max(headroom * most(calibration.pooled(value)), Float(reach(value)))])
        }
        if widened.contains(value) { return convolved(node, known) }
        if consumers.contains(.argmax) { return .wide(high: [Self.scoreHeadroom * most(calibration.pooled(value))]) }
        // The step of a scan: 2^-11, the range of its softplus table.
        if let producer = graph.nodes.first(where: { $0.inputs.count == 3 && $0.inputs[1] == value }),
            case .scan = producer.op
        {
            var coding = ValueCoding.wide(high: [32767 / 2048])
            coding.high = calibration.pooled(value).high
            return coding
        }
        // b and c of a scan: one scale for each.
        if let states = statesReading(value) {
            let most = (calibration.histograms[value] ?? []).map(most)
            let (b, c) = (most[..<states].max() ?? 0, most[states...].max() ?? 0)
            return .wide(
                high: [Float](repeating: Self.wideHeadroom * b, count: states)
                    + [Float](repeating: Self.wideHeadroom * c, count: states))
        }
        if let factors = channelFactors(value) { return wide(value, factors) }
        // An activation's table has 4096 entries for the range.
        if consumers.contains(where: { if case .activation = $0 { true } else { false } }) {
            return .wide(high: [Self.scoreHeadroom * most(calibration.pooled(value))])
        }
        // Instance normalization cancels the scale, so each channel has its own.
        if consumers.count == 1, case .groupNorm(let norm) = consumers[0], norm.groups == norm.scale.count {
            return .wide(high: (calibration.histograms[value] ?? []).map { Self.statisticsHeadroom * most($0) })
        }
        return .wide(high: [Self.statisticsHeadroom * most(calibration.pooled(value))])
    }

    /// The next convolutions' weights absorb a scale per channel, if whoever writes the value can give it one.
    private func convolved(_ node: Node, _ known: [ValueID: ValueCoding]) -> ValueCoding {
        let least = 1e-6 * most(calibration.pooled(node.output))
        var high = (calibration.histograms[node.output] ?? []).map { max(Self.scoreHeadroom * most($0), least) }
        switch node.op {
        case .concat:
            var coding = ValueCoding.wide(high: high)
            coding.scales = scales(node.inputs, known)
            return coding
        case .activation where !isFused(node):
            return channelFactors(node.output).map { wide(node.output, $0) } ?? .wide(high: [high.max() ?? 0])
        default:
            if let only = graph.consumers(of: node.output).first, graph.nodes[only].isShuffle {
                let count = graph.channels[graph.nodes[only].output]
                high = high.indices.map { c in
                    stride(from: c % count, to: high.count, by: count).map { high[$0] }.max()!
                }
            }
            return .wide(high: high)
        }
    }

    /// 16 bits over the channels divided by their factors.
    private func wide(_ value: ValueID, _ factors: [Float]) -> ValueCoding {
        let reach = zip(calibration.histograms[value] ?? [], factors).map { most($0) / $1 }.max() ?? 0
        return .wide(high: factors.map { Self.scoreHeadroom * reach * $0 })
    }

    private func scales(_ values: [ValueID], _ known: [ValueID: ValueCoding]) -> [Float] {
        values.flatMap { value in (0..<graph.channels[value]).map { known[value]!.scale($0) } }
    }

    private func statesReading(_ value: ValueID) -> Int? {
        for index in graph.consumers(of: value) {
            if case .scan(let scan) = graph.nodes[index].op, graph.nodes[index].inputs[2] == value {
                return scan.states
            }
        }
        return nil
    }

    private func shared(_ members: [ValueID]) -> ValueCoding {
        if members.contains(where: groups.wide.contains) {
            let isScanned = graph.nodes.contains { node in
                if case .scan = node.op { members.contains(node.output) } else { false }
            }
            if isScanned {
                let channels = graph.channels[members[0]]
                return .wide(
                    high: (0..<channels).map { c in
                        Self.wideHeadroom * (members.compactMap { calibration.histograms[$0]?[c] }.map(most).max() ?? 0)
                    })
            }
            return .wide(high: [Self.wideHeadroom * (members.map { most(calibration.pooled($0)) }.max() ?? 0)])
        }
        var histogram = Histogram()
        for member in members where !pooled.contains(member) { histogram.merge(calibration.pooled(member)) }
        var range = rule.range(histogram)
        for member in members where pooled.contains(member) {
            let own = bytes(member)
            range = (min(range.low, own.low), max(range.high, own.high))
        }
        return .unsigned(low: range.low, high: range.high)
    }

    // MARK: 8 bits

    private func narrow(_ node: Node, _ known: [ValueID: ValueCoding]) -> ValueCoding {
        let value = node.output
        if pooled.contains(value) { return pooledBytes(node, known) }
        if let basis = basisReading(value) {
            return ValueCoding(
                scales: [Float(basis.cell / 16)], zeroPoint: 128, low: Float(basis.clamp(-.infinity)),
                high: Float(basis.clamp(.infinity)))
        }
        switch node.op {
        case .kanBasis(let basis):
            let silu = basis.output(basis.grid + 3, basis.clamp(.infinity))
            let one = [Float](repeating: Float(2.0 / 3 / 255), count: basis.grid + 3) + [Float(silu / 255)]
            let channels = graph.channels[value] / basis.outputsPerChannel
            return ValueCoding(
                scales: (0..<channels).flatMap { _ in one }, zeroPoint: 0, low: 0, high: Float(silu))
        case .gate:
            return .centred(high: clipped(value))
        case .activation(.relu) where isFused(node) && onlyConvolutionsRead(value) && equalizes:
            return .perChannel(high: (calibration.histograms[value] ?? []).map { rule.range($0).high })
        default:
            return channelFactors(value).map { equalized(value, $0) } ?? bytes(value)
        }
    }

    /// Of a function all that it can be: what a sigmoid was on a few volumes says little of the next.
    private func pooledBytes(_ node: Node, _ known: [ValueID: ValueCoding]) -> ValueCoding {
        guard case .activation(let f) = node.op, let input = known[node.inputs[0]],
            let range = f.range(over: Double(input.low)...Double(input.high)), range.high - range.low > 1e-6
        else { return bytes(node.output) }
        return .unsigned(low: range.low, high: range.high)
    }

    /// How far each channel of a value reaches, 1 for the widest, where its producer can give each channel a scale of its own and
    /// all that read it absorb them. An activation without a scale of its own hands them on: f(s·x) = s·f(x).
    private func channelFactors(_ value: ValueID) -> [Float]? {
        guard equalizes, value > 0 else { return nil }
        let node = graph.nodes[value - 1]
        switch node.op {
        case .conv3d, .groupNorm, .layerNorm, .depthwise:
            if onlyConvolutionsRead(value) { return factors(value) }
            guard case .groupNorm = node.op, let only = homogeneousReader(value), onlyConvolutionsRead(only) else {
                return nil
            }
            return factors(only)
        case .activation(let f) where f.isHomogeneous && homogeneousReader(node.inputs[0]) == value:
            return channelFactors(node.inputs[0])
        default: return nil
        }
    }

    /// As SmoothQuant has it: the square root of how far a channel reaches over the largest weight that reads it. Half of what sets
    /// channels apart stays in the codes and half goes into the weights, so that neither is left with a few large ones.
    private func factors(_ value: ValueID) -> [Float]? {
        let weights = weightsReading(value)
        let ratios = zip(clipped(value), weights).map { $1 > 0 ? $0 / $1 : 0 }
        guard let most = ratios.max(), most > 0 else { return nil }
        // Below 2^-12 a channel says nothing that the others do not drown.
        return ratios.map { max($0 / most, 0x1p-24).squareRoot() }
    }

    /// Largest magnitude of a weight by channel, of the convolutions that read a value.
    private func weightsReading(_ value: ValueID) -> [Float] {
        var result = [Float](repeating: 0, count: graph.channels[value])
        for index in graph.consumers(of: value) {
            guard case .conv3d(let conv) = graph.nodes[index].op else { continue }
            let taps = conv.kernel.count
            for i in conv.weights.indices {
                let channel = i / taps % conv.inChannels
                result[channel] = max(result[channel], abs(conv.weights[i]))
            }
        }
        return result
    }

    /// What a homogeneous activation makes of a value that nothing else reads.
    private func homogeneousReader(_ value: ValueID) -> ValueID? {
        let readers = graph.consumers(of: value)
        guard readers.count == 1, case .activation(let f) = graph.nodes[readers[0]].op, f.isHomogeneous else {
            return nil
        }
        return graph.nodes[readers[0]].output
    }

    /// Codes with one zero point over the channels divided by their factors.
    private func equalized(_ value: ValueID, _ factors: [Float]) -> ValueCoding {
        var histogram = Histogram()
        for (channel, factor) in zip(calibration.histograms[value] ?? [], factors) {
            histogram.merge(channel.scaled(by: 1 / factor))
        }
        let range = rule.range(histogram)
        var coding = ValueCoding.unsigned(low: range.low, high: range.high)
        coding.scales = factors.map { $0 * coding.scales[0] }
        return coding
    }

    private func isFused(_ node: Node) -> Bool { graph.valuesInsideFusedActivations.contains(node.inputs[0]) }

    private func basisReading(_ value: ValueID) -> KANBasis? {
        for index in graph.consumers(of: value) {
            if case .kanBasis(let basis) = graph.nodes[index].op { return basis }
        }
        return nil
    }

    /// Means have a factor for each channel, too.
    private func onlyConvolutionsRead(_ value: ValueID) -> Bool {
        graph.consumers(of: value).allSatisfy {
            switch graph.nodes[$0].op {
            case .conv3d, .globalPool: true
            default: false
            }
        }
    }
}

extension Activation {
    /// f(s·x) = s·f(x) for every s > 0.
    var isHomogeneous: Bool {
        switch self {
        case .relu, .leakyRelu: true
        default: false
        }
    }
}

extension Node {
    fileprivate var isShuffle: Bool { if case .depthToSpace = op { true } else { false } }
}
