import GraphIR

/// Steps that accumulators and the ops around a value allow.
extension Lowering {
    /// Requantization factors must stay under a quarter (docs/arithmetic.md): where an output step would be finer than
    /// four accumulator steps, it carries next to no information and is made coarser, with those that share its scale. That
    /// makes the accumulator steps of its readers coarser in turn, so it goes on until nothing changes.
    mutating func coarsenScales() {
        let fused = graph.valuesInsideFusedActivations
        for _ in 0..<graph.nodes.count {
            var isChanged = false
            for (index, node) in graph.nodes.enumerated() {
                guard let units = accumulatorScales(node) else { continue }
                let target = fused.contains(node.output) ? graph.consumers(of: node.output)[0] : index
                let value = graph.nodes[target].output
                let isSplit = target != index && byteForms[value] != nil
                isChanged = (isSplit ? coarsenForm(value, units) : coarsen(value, units)) || isChanged
            }
            isChanged = alignScales() || isChanged
            if !isChanged { return }
        }
    }

    /// Coarser steps of one channel are also those of the channels that must have the same: all of b and all of c of a scan, a
    /// channel's eight places in a rearrangement; and of what hands codes on as they are.
    private mutating func alignScales() -> Bool {
        guard groups.isStateSpace else { return false }
        let before = codings
        for node in graph.nodes {
            switch node.op {
            case .scan(let scan): shareScales(node.inputs[2]) { $0 / scan.states }
            case .depthToSpace:
                let count = graph.channels[node.output]
                shareScales(node.inputs[0]) { $0 % count }
                codings[node.output]!.scales = Array(codings[node.inputs[0]]!.scales.prefix(count))
            case .concat:
                codings[node.output]!.scales = node.inputs.flatMap { input in
                    (0..<graph.channels[input]).map { codings[input]!.scale($0) }
                }
            default: break
            }
        }
        return codings != before
    }

    /// Gives every channel of a part of a value the coarsest steps of that part.
    private mutating func shareScales(_ value: ValueID, part: (Int) -> Int) {
        var most: [Int: Float] = [:]
        let scales = codings[value]!.scales
        for (c, scale) in scales.enumerated() { most[part(c)] = max(most[part(c)] ?? 0, scale) }
        codings[value]!.scales = scales.indices.map { most[part($0)]! }
    }

    private mutating func coarsen(_ value: ValueID, _ units: [Double]) -> Bool {
        guard let coding = codings[value] else { return false }
        let scales = coding.coarsened(for: units).scales
        guard scales != coding.scales else { return false }
        codings[value]!.scales = scales
        for member in groups.members(value) where codings[member]?.scales.count == scales.count {
            codings[member]!.scales = scales
        }
        return true
    }

    /// The same of bytes that a value is made 16 bits of: its steps must be coarse for that, too.
    private mutating func coarsenForm(_ value: ValueID, _ units: [Double]) -> Bool {
        let form = byteForms[value]!
        byteForms[value] = form.coarsened(for: units)
        let widened = byteForms[value]!.scales.map { Double($0 / Self.wideFormWeight) }
        return coarsen(value, widened) || byteForms[value] != form
    }

    /// Real value of one accumulator unit by output channel, or a little more (clipping of weights makes it smaller); nil for an
    /// op without an accumulator.
    private func accumulatorScales(_ node: Node) -> [Double]? {
        switch node.op {
        case .conv3d(let conv):
            let input = readCoding(node.inputs[0])
            let taps = conv.kernel.count
            if input.isWide {
                let scales = (0..<conv.inChannels).map { input.scale($0) }
                return WeightQuantizer.quantizeWide(conv, inputScales: scales).accumulatorScales
            }
            return (0..<conv.outChannels).map { o in
                var most = 0.0
                for i in 0..<conv.inChannels {
                    let first = (o * conv.inChannels + i) * taps
                    let largest = conv.weights[first..<(first + taps)].reduce(Float(0)) { max($0, abs($1)) }
                    most = max(most, Double(largest) * Double(input.scale(i)))
                }
                return most / 127
            }
        case .depthwise(let conv): return tapScales(node, conv.weights, taps: conv.kernel.count)
        case .tokenConv(let conv): return tapScales(node, conv.weights, taps: conv.taps)
        default: return nil
        }
    }

    /// Of a convolution of each channel on its own, whose taps are coded by their largest magnitude.
    func tapScales(_ node: Node, _ weights: [Float], taps: Int) -> [Double] {
        let input = codings[node.inputs[0]]!
        return (0..<(weights.count / taps)).map { c in
            let most = weights[(c * taps)..<((c + 1) * taps)].map(abs).max() ?? 0
            return max(Double(most) / 127, 1e-9) * Double(input.scale(c))
        }
    }
}
