/// A real function of one variable, as a tree: what chains of elementwise ONNX operations on one value come to. Integer networks
/// make one table of it, however long the chain was.
public indirect enum Expression: Hashable, Sendable {
    public enum Unary: String, Hashable, Sendable {
        case negate, abs, exp, log, sqrt, erf, tanh, sigmoid, softplus, floor, ceil
    }

    case x
    case constant(Double)
    case unary(Unary, Expression)
    case add(Expression, Expression)
    case multiply(Expression, Expression)
    case divide(Expression, Expression)
    case power(Expression, Expression)
    case minimum(Expression, Expression)
    case maximum(Expression, Expression)

    public func callAsFunction(_ x: Double) -> Double {
        switch self {
        case .x: x
        case .constant(let value): value
        case .unary(let f, let a): Self.apply(f, a(x))
        case .add(let a, let b): a(x) + b(x)
        case .multiply(let a, let b): a(x) * b(x)
        case .divide(let a, let b): a(x) / b(x)
        case .power(let a, let b): powValue(a(x), b(x))
        case .minimum(let a, let b): min(a(x), b(x))
        case .maximum(let a, let b): max(a(x), b(x))
        }
    }

    private static func apply(_ f: Unary, _ x: Double) -> Double {
        switch f {
        case .negate: -x
        case .abs: Swift.abs(x)
        case .exp: expValue(x)
        case .log: logValue(x)
        case .sqrt: x.squareRoot()
        case .erf: 1 - erfcValue(x)
        case .tanh: Activation.tanh(x)
        case .sigmoid: Activation.sigmoid(x)
        case .softplus: Activation.softplus(x)
        case .floor: x.rounded(.down)
        case .ceil: x.rounded(.up)
        }
    }

    /// The same function of another function.
    func of(_ inner: Expression) -> Expression {
        switch self {
        case .x: inner
        case .constant: self
        case .unary(let f, let a): .unary(f, a.of(inner))
        case .add(let a, let b): .add(a.of(inner), b.of(inner))
        case .multiply(let a, let b): .multiply(a.of(inner), b.of(inner))
        case .divide(let a, let b): .divide(a.of(inner), b.of(inner))
        case .power(let a, let b): .power(a.of(inner), b.of(inner))
        case .minimum(let a, let b): .minimum(a.of(inner), b.of(inner))
        case .maximum(let a, let b): .maximum(a.of(inner), b.of(inner))
        }
    }

    /// gain and offset of gain · x + offset, if that is what it is.
    var affine: (gain: Double, offset: Double)? {
        switch self {
        case .x: return (1, 0)
        case .constant(let value): return (0, value)
        case .unary(.negate, let a): return a.affine.map { (-$0.gain, -$0.offset) }
        case .add(let a, let b):
            guard let a = a.affine, let b = b.affine else { return nil }
            return (a.gain + b.gain, a.offset + b.offset)
        case .multiply(let a, let b):
            guard let a = a.affine, let b = b.affine, a.gain == 0 || b.gain == 0 else { return nil }
            return (a.gain * b.offset + b.gain * a.offset, a.offset * b.offset)
        case .divide(let a, let b):
            guard let a = a.affine, let b = b.affine, b.gain == 0 else { return nil }
            return (a.gain / b.offset, a.offset / b.offset)
        default: return nil
        }
    }

    /// Nodes of the tree: a hostile chain would double at every step.
    var size: Int {
        switch self {
        case .x, .constant: 1
        case .unary(_, let a): 1 + a.size
        case .add(let a, let b), .multiply(let a, let b), .divide(let a, let b), .power(let a, let b),
            .minimum(let a, let b), .maximum(let a, let b):
            1 + a.size + b.size
        }
    }

    static let relu = Expression.maximum(.x, .constant(0))
    static func clip(_ low: Double, _ high: Double) -> Expression {
        .maximum(.minimum(.x, .constant(high)), .constant(low))
    }
    static func scaled(_ a: Double, _ inner: Expression) -> Expression { .multiply(.constant(a), inner) }
}
