extension KMambaImporter {
    // MARK: Bidirectional selective scan

    mutating func mixer(_ block: String, _ trunk: ValueID, _ stage: Int) throws(ImportError) -> ValueID {
        let channels = config.dims[stage]
        let (name, inner) = ("\(block).mixer", config.expand * channels)
        let normalized = try layerNorm("\(block).norm", trunk, channels)
        let projection = try tensor("\(name).in_proj.weight", [2 * inner, channels])
        let zeros = [Float](repeating: 0, count: inner)
        let x = pointwise(
            "\(name).in_proj.x", normalized, weights: Array(projection[..<(inner * channels)]), bias: zeros)
        let z = pointwise(
            "\(name).in_proj.z", normalized, weights: Array(projection[(inner * channels)...]), bias: zeros)
        var outputs: [ValueID] = []
        for order in config.scanDirections {
            outputs.append(try direction(name, x, inner, config.dtRank[stage], order))
        }
        var out = try tensor("\(name).out_proj.weight", [channels, inner])
        // The gate adds two directions: of one it makes twice its value.
        if outputs.count == 1 {
            outputs.append(outputs[0])
            for i in out.indices { out[i] *= 0.5 }
        }
        while outputs.count > 2 {
            let last = outputs.removeLast()
            outputs.append(graph.append("\(name).sum", .add, [outputs.removeLast(), last]))
        }
        let gated = graph.append("\(name).gate", .gate, outputs + [z])
        let projected = pointwise(
            "\(name).out_proj", gated, weights: out, bias: [Float](repeating: 0, count: channels))
        return graph.append(name, .add, [trunk, projected])
    }

    /// Rows of `x_proj` are the low-rank step, B and C. The step's two projections are multiplied into one: for the ranks in
    /// use that costs little, and nothing between them is rounded.
    private mutating func direction(
        _ name: String, _ x: ValueID, _ inner: Int, _ rank: Int, _ order: KMambaConfig.ScanDirection
    ) throws(ImportError) -> ValueID {
        let tail = order.suffix
        let label = "\(name).\(order.rawValue)"
        let isReversed = order == .backward
        let tokens =
            order == .slice ? graph.append("\(label).order", .sliceOrder(SliceOrder(isInverse: false)), [x]) : x
        let states = config.dState
        let taps = TokenConv(
            taps: config.dConv, reversed: isReversed,
            weights: try tensor("\(name).conv1d\(tail).weight", [inner, 1, config.dConv]),
            bias: try tensor("\(name).conv1d\(tail).bias", [inner]))
        let convolved = activate(graph.append("\(label).conv1d", .tokenConv(taps), [tokens]), .silu)
        let projection = try tensor("\(name).x_proj\(tail).weight", [rank + 2 * states, inner])
        let step = try tensor("\(name).dt_proj\(tail).weight", [inner, rank])
        var combined = [Float](repeating: 0, count: inner * inner)
        for o in 0..<inner {
            for i in 0..<inner {
                let sum = (0..<rank).reduce(0.0) {
                    $0 + Double(step[o * rank + $1]) * Double(projection[$1 * inner + i])
                }
                combined[o * inner + i] = Float(sum)
            }
        }
        let v = pointwise(
            "\(label).dt", convolved, weights: combined, bias: try tensor("\(name).dt_proj\(tail).bias", [inner]))
        let matrices = pointwise(
            "\(label).bc", convolved, weights: Array(projection[(rank * inner)...]),
            bias: [Float](repeating: 0, count: 2 * states))
        let logs = try tensor("\(name).A\(tail)_log", [inner, states])
        let scan = SelectiveScan(
            states: states, reversed: isReversed, a: logs.map { -Float(expValue(Double($0))) },
            skip: try tensor("\(name).D\(tail)", [inner]))
        let y = graph.append("\(label).scan", .scan(scan), [convolved, v, matrices])
        return order == .slice ? graph.append("\(label).back", .sliceOrder(SliceOrder(isInverse: true)), [y]) : y
    }

    private mutating func layerNorm(_ name: String, _ input: ValueID, _ channels: Int) throws(ImportError) -> ValueID {
        let norm = LayerNorm(
            scale: try tensor("\(name).weight", count: channels, otherwise: 1),
            shift: try tensor("\(name).bias", count: channels, otherwise: 0), epsilon: 1e-5)
        return graph.append(name, .layerNorm(norm), [input])
    }

    // MARK: Feed-forward parts

    mutating func feedForward(_ name: String, _ trunk: ValueID, _ channels: Int) throws(ImportError) -> ValueID {
        let normalized = try layerNorm("\(name).norm", trunk, channels)
        let hidden = pointwise(
            "\(name).fc1", normalized, weights: try tensor("\(name).fc1.weight", [2 * channels, channels]),
            bias: try tensor("\(name).fc1.bias", [2 * channels]))
        let out = pointwise(
            "\(name).fc2", activate(hidden, .gelu),
            weights: try tensor("\(name).fc2.weight", [channels, 2 * channels]),
            bias: try tensor("\(name).fc2.bias", [channels]))
        return graph.append(name, .add, [trunk, out])
    }

    mutating func kan(_ name: String, _ trunk: ValueID, _ channels: Int) throws(ImportError) -> ValueID {
        var value = try layerNorm("\(name).norm", trunk, channels)
        for j in 1...2 {
            value = try kanLinear("\(name).fc\(j)", value, channels)
            value = relu(try depthwise("\(name).dw\(j)", value, channels))
        }
        return graph.append(name, .add, [trunk, value])
    }

    /// `base_weight · silu(x) + (spline_weight · spline_scaler) · B(x)` as basis and pointwise convolution.
    private mutating func kanLinear(_ name: String, _ input: ValueID, _ channels: Int) throws(ImportError) -> ValueID {
        let basis = KANBasis(grid: config.kanGrid)
        let splines = config.kanGrid + 3
        let base = try tensor("\(name).base_weight", [channels, channels])
        let weight = try tensor("\(name).spline_weight", [channels, channels, splines])
        let scaler =
            !has("\(name).spline_scaler")
            ? [Float](repeating: 1, count: channels * channels)
            : try tensor("\(name).spline_scaler", [channels, channels])
        try checkGrid("\(name).grid", channels, basis)
        var weights: [Float] = []
        var bias = [Float](repeating: 0, count: channels)
        for o in 0..<channels {
            for i in 0..<channels {
                let edge = o * channels + i
                for k in 0..<splines { weights.append(weight[edge * splines + k] * scaler[edge]) }
                weights.append(base[edge])
                bias[o] -= Float(Double(base[edge]) * KANBasis.siluOffset)
            }
        }
        let expanded = graph.append("\(name).basis", .kanBasis(basis), [input])
        return pointwise(name, expanded, weights: weights, bias: bias)
    }

    /// One table serves every edge only while the knots are uniform.
    private mutating func checkGrid(_ name: String, _ channels: Int, _ basis: KANBasis) throws(ImportError) {
        guard has(name) else { return }
        let knots = basis.grid + 7
        for (index, knot) in try tensor(name, [channels, knots]).enumerated() {
            let expected = -1 + Double(index % knots - 3) * basis.cell
            guard abs(Double(knot) - expected) < 1e-4 else {
                throw fail(
                    "\(name)[\(index / knots),\(index % knots)]=\(knot) (a uniform grid has \(expected))", .unsupported)
            }
        }
    }

    private mutating func depthwise(_ name: String, _ input: ValueID, _ channels: Int) throws(ImportError) -> ValueID {
        var weights = try tensor("\(name).conv.weight", [channels, 1, 3, 3, 3])
        var bias = try tensor("\(name).conv.bias", [channels])
        let norm = try batchNorm("\(name).bn", channels)
        for c in 0..<channels {
            let (gain, offset) = norm.affine(c)
            for i in (27 * c)..<(27 * (c + 1)) { weights[i] = Float(Double(weights[i]) * gain) }
            bias[c] = Float(Double(bias[c]) * gain + offset)
        }
        return graph.append(
            name, .depthwise(DepthwiseConv(kernel: Size3(cube: 3), weights: weights, bias: bias)), [input])
    }
}
