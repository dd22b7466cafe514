import ONNXSchema

extension ONNXImporter {
    /// The function of a one-input elementwise operator; nil for other operators.
    func unary(_ node: Onnx_NodeProto) throws(Problem) -> Expression? {
        let attributes = ONNXAttributes(node)
        func alpha(_ standard: Double) -> Double { attributes.float("alpha", standard) }
        let x = Expression.x
        let negative = Expression.minimum(x, .constant(0))
        switch node.opType {
        case "Relu": return .relu
        case "LeakyRelu": return .add(.relu, .scaled(alpha(0.01), negative))
        case "Elu", "Celu":
            let a = alpha(1)
            let inner = node.opType == "Celu" ? Expression.divide(negative, .constant(a)) : negative
            return .add(.relu, .scaled(a, .add(.unary(.exp, inner), .constant(-1))))
        case "Selu":
            let a = alpha(1.6732631921768188)
            return .scaled(
                attributes.float("gamma", 1.0507010221481323),
                .add(.relu, .scaled(a, .add(.unary(.exp, negative), .constant(-1)))))
        case "Sigmoid": return .unary(.sigmoid, x)
        case "HardSigmoid":
            return Expression.clip(0, 1).of(.add(.scaled(alpha(0.2), x), .constant(attributes.float("beta", 0.5))))
        case "HardSwish": return .multiply(x, Expression.clip(0, 1).of(.add(.scaled(1.0 / 6, x), .constant(0.5))))
        case "Tanh": return .unary(.tanh, x)
        case "Softplus": return .unary(.softplus, x)
        case "Softsign": return .divide(x, .add(.constant(1), .unary(.abs, x)))
        case "Mish": return .multiply(x, .unary(.tanh, .unary(.softplus, x)))
        case "Swish": return .multiply(x, .unary(.sigmoid, .scaled(alpha(1), x)))
        case "Gelu":
            let isTanh = attributes.text("approximate", "none") == "tanh"
            let cubic = Expression.add(x, .scaled(0.044715, .power(x, .constant(3))))
            let inner: Expression =
                isTanh
                ? .unary(.tanh, .scaled(0.7978845608028654, cubic)) : .unary(.erf, .scaled(0.5.squareRoot(), x))
            return .multiply(.scaled(0.5, x), .add(.constant(1), inner))
        case "Abs": return .unary(.abs, x)
        case "Neg": return .unary(.negate, x)
        case "Exp": return .unary(.exp, x)
        case "Log": return .unary(.log, x)
        case "Sqrt": return .unary(.sqrt, x)
        case "Erf": return .unary(.erf, x)
        case "Floor": return .unary(.floor, x)
        case "Ceil": return .unary(.ceil, x)
        case "Reciprocal": return .divide(.constant(1), x)
        case "Clip": return .clip(try limit(node, 1, "min", -.infinity), try limit(node, 2, "max", .infinity))
        default: return nil
        }
    }

    /// A bound of Clip: an input since opset 11, an attribute before.
    private func limit(_ node: Onnx_NodeProto, _ index: Int, _ name: String, _ standard: Double) throws(Problem)
        -> Double
    {
        guard hasInput(node, index) else { return ONNXAttributes(node).float(name, standard) }
        guard let value = try constant(node, index, name).scalar else { throw Problem("\(name) is not a number") }
        return Double(value)
    }

    mutating func applyUnary(_ f: Expression, _ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        switch try input(node, 0) {
        case .function(let base, let inner): set(node, try shortened(.function(base, f.of(inner)), name))
        case .constant(let c):
            set(node, .constant(ONNXConstant(shape: c.shape, values: c.values.map { Float(f(Double($0))) })))
        case .shape: set(node, .shape)
        case let other: set(node, .function(try materialize(other, name), f))
        }
    }

    /// A tree that grows too large becomes a table of its own.
    private mutating func shortened(_ value: Value, _ name: String) throws(Problem) -> Value {
        guard case .function(_, let f) = value, f.size > 200 else { return value }
        return .tensor(try materialize(value, name))
    }

    // MARK: Two inputs

    mutating func binary(_ node: Onnx_NodeProto, _ name: String) throws(Problem) {
        let (a, b) = (try input(node, 0), try input(node, 1))
        switch (a, b) {
        case (.constant(let a), .constant(let b)): set(node, .constant(try folded(node.opType, a, b)))
        case (.shape, _), (_, .shape): set(node, .shape)
        case (.unknown, _), (_, .unknown): throw Problem("an input cannot be imported")
        case (_, .constant(let c)): try withConstant(node, name, a, c, isFirst: false)
        case (.constant(let c), _): try withConstant(node, name, b, c, isFirst: true)
        default: try combined(node, name, a, b)
        }
    }

    /// Two functions of one value are one function of it; other pairs can be added.
    private mutating func combined(_ node: Onnx_NodeProto, _ name: String, _ a: Value, _ b: Value) throws(Problem) {
        if let (base, f) = expression(a), let (other, g) = expression(b), base == other,
            node.opType != "Add" || (!isPlain(a) && !isPlain(b)) || readsOnce(a, b)
        {
            set(node, try shortened(.function(base, try pair(node.opType, f, g)), name))
            return
        }
        guard ["Add", "Sum", "Mul", "Sub", "Div"].contains(node.opType) else {
            throw Problem("of two different tensors (supported: sums, differences, products and quotients)")
        }
        let isProduct = ["Mul", "Div"].contains(node.opType)
        // Differences and quotients are sums and products with a function of the second.
        let inverse: Expression? =
            switch node.opType {
            case "Sub": .unary(.negate, .x)
            case "Div": .divide(.constant(1), .x)
            default: nil
            }
        let other: Value
        if let inverse, let (base, f) = expression(b) { other = .function(base, inverse.of(f)) } else { other = b }
        let spreadA = isProduct ? try spread(a, over: b, name) : nil
        let spreadB = isProduct ? try spread(other, over: a, name) : nil
        let x = if let spreadA { spreadA } else { try tensor(node, 0, name) }
        let y =
            if let spreadB { spreadB } else if inverse != nil { try materialize(other, "\(name).inverse") } else {
                try tensor(node, 1, name)
            }
        guard graph.channels[x] == graph.channels[y] else {
            throw Problem("\(graph.channels[x]) and \(graph.channels[y]) channels")
        }
        // One voxel for all comes second.
        let isTurned = isProduct && isPooled(x) && !isPooled(y)
        set(node, .tensor(graph.append(name, isProduct ? .multiply : .add, isTurned ? [y, x] : [x, y])))
    }

    /// One channel that multiplies many becomes as many equal ones, before its function if it has one.
    private mutating func spread(_ one: Value, over many: Value, _ name: String) throws(Problem) -> ValueID? {
        guard let (base, f) = expression(one), graph.channels[base] == 1, let other = expression(many),
            graph.channels[other.0] > 1
        else { return nil }
        let count = graph.channels[other.0]
        let ones = [Float](repeating: 1, count: count)
        let wide = graph.append(
            "\(name).channels", .conv3d(.pointwise(count, 1, ones, bias: ones.map { _ in 0 })), [base])
        return try materialize(f == .x ? .tensor(wide) : .function(wide, f), "\(name).factor")
    }

    private func isPlain(_ value: Value) -> Bool { if case .tensor = value { true } else { false } }
    private func readsOnce(_ a: Value, _ b: Value) -> Bool { isPlain(a) != isPlain(b) }

    private func expression(_ value: Value) -> (ValueID, Expression)? {
        switch value {
        case .tensor(let base): (base, .x)
        case .function(let base, let f): (base, f)
        default: nil
        }
    }

    private func pair(_ op: String, _ f: Expression, _ g: Expression) throws(Problem) -> Expression {
        switch op {
        case "Add", "Sum": .add(f, g)
        case "Sub": .add(f, .unary(.negate, g))
        case "Mul": .multiply(f, g)
        case "Div": .divide(f, g)
        case "Pow": .power(f, g)
        case "Min": .minimum(f, g)
        case "Max": .maximum(f, g)
        case "PRelu": .add(.maximum(f, .constant(0)), .multiply(g, .minimum(f, .constant(0))))
        default: throw Problem("not supported")
        }
    }

    private mutating func withConstant(
        _ node: Onnx_NodeProto, _ name: String, _ value: Value, _ c: ONNXConstant, isFirst: Bool
    ) throws(Problem) {
        if c.values.allSatisfy({ $0 == c.values.first }), let number = c.values.first {
            let f = Expression.constant(Double(number))
            let g = isFirst ? try pair(node.opType, f, .x) : try pair(node.opType, .x, f)
            switch value {
            case .function(let base, let inner): set(node, try shortened(.function(base, g.of(inner)), name))
            case .grouped(let base, let groups, let isNormalized, let epsilon) where g.affine ?? (0, 1) == (1, 0):
                set(node, .grouped(base, groups: groups, isNormalized: isNormalized, epsilon: epsilon))
            case let other: set(node, .function(try materialize(other, name), g))
            }
            return
        }
        let base = try materialize(value, "\(name).input")
        let count = graph.channels[base]
        guard let each = perChannel(c, count) else { throw Problem("a constant \(c.shape) for \(count) channels") }
        let ones = [Float](repeating: 1, count: count)
        let zeros = [Float](repeating: 0, count: count)
        if node.opType == "PRelu", !isFirst { return set(node, .tensor(try slopes(each, of: base, name))) }
        switch node.opType {
        case "Add", "Sum": set(node, .tensor(affine(name, base, gain: ones, offset: each)))
        case "Sub" where isFirst: set(node, .tensor(affine(name, base, gain: ones.map { -$0 }, offset: each)))
        case "Sub": set(node, .tensor(affine(name, base, gain: ones, offset: each.map { -$0 })))
        case "Mul": set(node, .tensor(affine(name, base, gain: each, offset: zeros)))
        case "Div" where !isFirst && !each.contains(0):
            set(node, .tensor(affine(name, base, gain: each.map { 1 / $0 }, offset: zeros)))
        default: throw Problem("with a constant for each channel")
        }
    }

    /// (1 - a) · max(x, 0) + a · x with a slope for each channel: a convolution of both.
    private mutating func slopes(_ slopes: [Float], of base: ValueID, _ name: String) throws(Problem) -> ValueID {
        let count = slopes.count
        let positive = graph.append("\(name).positive", .activation(.relu), [base])
        let both = graph.append("\(name).both", .concat, [positive, base])
        var weights = try Self.zeros(count, 2, count)
        for (c, slope) in slopes.enumerated() {
            weights[c * 2 * count + c] = 1 - slope
            weights[(c * 2 + 1) * count + c] = slope
        }
        let zeros = [Float](repeating: 0, count: count)
        return graph.append(name, .conv3d(.pointwise(count, 2 * count, weights, bias: zeros)), [both])
    }

    /// `[C, 1, 1, 1]` or `[1, C, 1, 1, 1]` as C numbers; where channels are the last axis, `[C]` and the like.
    private func perChannel(_ c: ONNXConstant, _ count: Int) -> [Float]? {
        if isChannelsLast { return c.values.count == count && c.shape.last == count ? c.values : nil }
        guard c.values.count == count, let axis = c.shape.firstIndex(of: count),
            c.shape.enumerated().allSatisfy({ $0 == axis || $1 == 1 }), c.shape.count - axis == rank + 1
        else { return nil }
        return c.values
    }

    /// Of two constants, one of which may be a number.
    private func folded(_ op: String, _ a: ONNXConstant, _ b: ONNXConstant) throws(Problem) -> ONNXConstant {
        guard a.shape == b.shape || a.scalar != nil || b.scalar != nil else {
            throw Problem("constants \(a.shape) and \(b.shape)")
        }
        let shape = a.values.count >= b.values.count ? a.shape : b.shape
        let count = max(a.values.count, b.values.count)
        func at(_ c: ONNXConstant, _ i: Int) -> Double { Double(c.values[c.values.count == 1 ? 0 : i]) }
        let values = try (0..<count).map { i throws(Problem) in
            try pair(op, .constant(at(a, i)), .constant(at(b, i)))(0)
        }
        guard values.allSatisfy({ $0.isFinite && abs($0) <= Double(Float.greatestFiniteMagnitude) }) else {
            throw Problem("constants that are not finite")
        }
        let areWhole = a.integers != nil && b.integers != nil && values.allSatisfy { abs($0) < 0x1p53 }
        return ONNXConstant(
            shape: shape, values: values.map { Float($0) },
            integers: areWhole ? values.map { Int($0.rounded(.towardZero)) } : nil)
    }
}
