/// Index of a value (an activation tensor) of a graph.
public typealias ValueID = Int

/// Size of a kernel, dilation or padding along depth (slowest), height, width (fastest, the first NIfTI axis).
public struct Size3: Hashable, Sendable {
    public var depth: Int
    public var height: Int
    public var width: Int

    public init(depth: Int, height: Int, width: Int) {
        self.depth = depth
        self.height = height
        self.width = width
    }

    public init(cube side: Int) { self.init(depth: side, height: side, width: side) }

    public var count: Int { depth * height * width }
}

/// A 3D convolution (cross-correlation) with zero padding.
public struct ConvWeights: Equatable, Sendable {
    public var outChannels: Int
    public var inChannels: Int
    public var kernel: Size3
    public var dilation: Size3
    public var padding: Size3
    /// 1 or 2.
    public var stride: Size3
    /// `[out][in][kz][ky][kx]`, x being the width axis.
    public var weights: [Float]
    /// One per output channel.
    public var bias: [Float]

    public init(
        outChannels: Int, inChannels: Int, kernel: Size3, dilation: Size3, padding: Size3,
        stride: Size3 = Size3(cube: 1),
        weights: [Float], bias: [Float]
    ) {
        precondition(weights.count == outChannels * inChannels * kernel.count && bias.count == outChannels)
        self.outChannels = outChannels
        self.inChannels = inChannels
        self.kernel = kernel
        self.dilation = dilation
        self.padding = padding
        self.stride = stride
        self.weights = weights
        self.bias = bias
    }

    /// Size of the output; an axis of an input smaller than the kernel's reach becomes zero or negative.
    public func outputSize(of input: Size3) -> Size3 {
        func axis(_ input: Int, _ padding: Int, _ dilation: Int, _ kernel: Int, _ stride: Int) -> Int {
            (input + 2 * padding - dilation * (kernel - 1) + stride - 1) / stride
        }
        return Size3(
            depth: axis(input.depth, padding.depth, dilation.depth, kernel.depth, stride.depth),
            height: axis(input.height, padding.height, dilation.height, kernel.height, stride.height),
            width: axis(input.width, padding.width, dilation.width, kernel.width, stride.width))
    }

    public var multiplyAddsPerVoxel: Int { outChannels * inChannels * kernel.count }
}

/// Batch normalization at inference: y = (x - mean) / sqrt(variance + epsilon) · scale + shift, per channel.
public struct BatchNorm: Equatable, Sendable {
    public var mean: [Float]
    /// Not negative.
    public var variance: [Float]
    public var scale: [Float]
    public var shift: [Float]
    public var epsilon: Double

    public init(mean: [Float], variance: [Float], scale: [Float], shift: [Float], epsilon: Double) {
        self.mean = mean
        self.variance = variance
        self.scale = scale
        self.shift = shift
        self.epsilon = epsilon
    }

    /// y = x · gain + offset, in double.
    public func affine(_ channel: Int) -> (gain: Double, offset: Double) {
        let gain = Double(scale[channel]) / (Double(variance[channel]) + epsilon).squareRoot()
        return (gain, Double(shift[channel]) - Double(mean[channel]) * gain)
    }
}

public enum Activation: Equatable, Sendable {
    case relu
    /// x for x > 0, alpha · (exp(x) - 1) otherwise.
    case elu(alpha: Double)
    /// x · Φ(x), Φ the standard normal distribution function (the exact form, with erf).
    case gelu
    /// x for x > 0, slope · x otherwise.
    case leakyRelu(slope: Double)
    /// x · sigmoid(x)
    case silu
    case sigmoid
    case tanh
    /// x · min(max(x + 3, 0), 6) / 6
    case hardSwish
    /// min(max(x, low), high)
    case clip(low: Double, high: Double)
    /// ln(1 + exp(x))
    case softplus
    case expression(Expression)

    public var name: String {
        switch self {
        case .relu: "relu"
        case .leakyRelu: "leaky relu"
        case .elu: "elu"
        case .gelu: "gelu"
        case .silu: "silu"
        case .sigmoid: "sigmoid"
        case .tanh: "tanh"
        case .hardSwish: "hard swish"
        case .clip: "clip"
        case .softplus: "softplus"
        case .expression: "function"
        }
    }

    /// The function in double precision: what tables are made from.
    public func callAsFunction(_ x: Double) -> Double {
        switch self {
        case .relu: max(x, 0)
        case .elu(let alpha): x > 0 ? x : alpha * expm1Value(x)
        case .gelu: 0.5 * x * erfcValue(-x / 2.0.squareRoot())
        case .leakyRelu(let slope): x > 0 ? x : slope * x
        case .silu: x / (1 + expValue(-x))
        case .sigmoid: 1 / (1 + expValue(-x))
        case .tanh: x > 0 ? 2 / (1 + expValue(-2 * x)) - 1 : 1 - 2 / (1 + expValue(2 * x))
        case .hardSwish: x * min(max(x + 3, 0), 6) / 6
        case .clip(let low, let high): min(max(x, low), high)
        case .expression(let f): f(x)
        case .softplus: max(x, 0) + log1pValue(expValue(-abs(x)))
        }
    }
}

public enum FloatOp: Equatable, Sendable {
    case conv3d(ConvWeights)
    case batchNorm(BatchNorm)
    case groupNorm(GroupNorm)
    case layerNorm(LayerNorm)
    case activation(Activation)
    case depthwise(DepthwiseConv)
    case tokenConv(TokenConv)
    case kanBasis(KANBasis)
    case scan(SelectiveScan)
    /// (a + b) · silu(z) of its inputs a, b, z.
    case gate
    /// Channel ((kz·fy + ky)·fx + kx)·C + c of a voxel becomes channel c of voxel (fz·z + kz, fy·y + ky, fx·x + kx): the second
    /// half of a transposed convolution whose kernel and stride are the factors, 1 or 2.
    case depthToSpace(Size3)
    case maxPool(GridPool)
    case resize(GridResize)
    /// The mean of each channel over the volume, or over each slice: one voxel, which `multiply` and `concat` take for all of them.
    case globalPool(isPerSlice: Bool)
    /// The token sequence in another order, or back; the size stays. See `SliceOrder`.
    case sliceOrder(SliceOrder)
    case add
    /// Of two values, element by element; the second may have one voxel for a slice or the volume.
    case multiply
    /// Along the channels; a value may have one voxel for a slice or the volume.
    case concat
    /// Index of the largest channel, the lowest on a tie.
    case argmax

    public var name: String {
        switch self {
        case .conv3d: "conv3d"
        case .batchNorm: "batch norm"
        case .groupNorm: "group norm"
        case .layerNorm: "layer norm"
        case .depthwise: "depthwise"
        case .tokenConv: "token conv"
        case .kanBasis: "kan basis"
        case .scan: "scan"
        case .gate: "gate"
        case .depthToSpace: "depth to space"
        case .maxPool: "max pool"
        case .resize: "resize"
        case .globalPool: "global pool"
        case .sliceOrder: "slice order"
        case .activation(let f): f.name
        case .add: "add"
        case .multiply: "multiply"
        case .concat: "concat"
        case .argmax: "argmax"
        }
    }
}

extension FloatOp {
    /// Precondition: as many inputs as the op takes.
    func outputChannels(_ inputs: [Int]) -> Int {
        switch self {
        case .conv3d(let conv): conv.outChannels
        case .concat: inputs.reduce(0, +)
        case .argmax: 1
        case .depthToSpace(let factor): inputs[0] / factor.count
        case .kanBasis(let basis): inputs[0] * basis.outputsPerChannel
        case .batchNorm, .groupNorm, .layerNorm, .activation, .depthwise, .tokenConv, .scan, .gate, .sliceOrder, .add,
            .multiply, .maxPool, .resize, .globalPool:
            inputs[0]
        }
    }

    public func outputSize(_ input: Size3) -> Size3 {
        switch self {
        case .conv3d(let conv): conv.outputSize(of: input)
        case .depthToSpace(let factor): input * factor
        case .resize(let resize): input * resize.factor
        case .maxPool(let pool): input / pool.factor
        case .globalPool(let isPerSlice): Size3(depth: isPerSlice ? input.depth : 1, height: 1, width: 1)
        default: input
        }
    }

    /// What the grid changes by, as log2: how much coarser the output is.
    public var coarsening: Size3 {
        func levels(_ factor: Size3, _ sign: Int) -> Size3 {
            Size3(
                depth: sign * (factor.depth - 1), height: sign * (factor.height - 1), width: sign * (factor.width - 1))
        }
        return switch self {
        case .conv3d(let conv): levels(conv.stride, 1)
        case .maxPool(let pool): levels(pool.factor, 1)
        case .depthToSpace(let factor): levels(factor, -1)
        case .resize(let resize): levels(resize.factor, -1)
        default: Size3(cube: 0)
        }
    }

    /// Whether a voxel's output depends on more than its surroundings: on statistics or on the whole sequence.
    public var isGlobal: Bool {
        switch self {
        case .groupNorm, .globalPool, .scan, .sliceOrder: true
        default: false
        }
    }
}

/// One operation. `name` is the layer's name in the checkpoint, for reports.
public struct Node: Equatable, Sendable {
    public var name: String
    public var op: FloatOp
    public var inputs: [ValueID]
    public var output: ValueID

    public init(name: String, op: FloatOp, inputs: [ValueID], output: ValueID) {
        self.name = name
        self.op = op
        self.inputs = inputs
        self.output = output
    }
}

/// The network in float, nodes in execution order. Value 0 is the input; the last node is an argmax.
public struct FloatGraph: Equatable, Sendable {
    public var inputChannels: Int
    public var nodes: [Node]
    /// Channels of every value.
    public var channels: [Int]

    public init(inputChannels: Int) {
        self.inputChannels = inputChannels
        nodes = []
        channels = [inputChannels]
    }

    /// Appends an operation on existing values and returns its result.
    @discardableResult
    public mutating func append(_ name: String, _ op: FloatOp, _ inputs: [ValueID]) -> ValueID {
        precondition(inputs.allSatisfy { $0 < channels.count }, "value does not exist")
        channels.append(outputChannels(op, inputs))
        nodes.append(Node(name: name, op: op, inputs: inputs, output: channels.count - 1))
        return channels.count - 1
    }

    private func outputChannels(_ op: FloatOp, _ inputs: [ValueID]) -> Int {
        op.outputChannels(inputs.map { channels[$0] })
    }

    /// Whether nodes, values, channel counts and array sizes agree, and every weight is finite.
    ///
    /// The importers build graphs that pass; this is for graphs that were changed afterwards.
    /// - Throws: the first fault, by node.
    public func check() throws(GraphError) {
        guard inputChannels > 0, channels.first == inputChannels, channels.count == nodes.count + 1 else {
            throw GraphError(
                node: "input",
                message: "\(inputChannels) channels, \(channels.count) values of \(nodes.count) nodes")
        }
        guard nodes.last?.op == .argmax else {
            throw GraphError(node: "output", message: "the last node is not an argmax")
        }
        for (index, node) in nodes.enumerated() {
            try GraphCheck(graph: self, index: index, node: node).run()
        }
        try checkGrids()
    }

    /// Sizes of all values for an input of size `input`.
    /// - Throws: when an axis would become empty or a tensor would have more than 2^40 elements.
    public func sizes(input: Size3) throws(GraphError) -> [Size3] {
        var result = [input]
        try GraphCheck.checkSize(input, channels: inputChannels, node: "input")
        let spans = grids().map(\.span)
        for node in nodes {
            let first = node.sizing(spans)
            let size = node.op.outputSize(result[first])
            guard node.inputs.allSatisfy({ spans[$0] != spans[first] || result[$0] == result[first] }) else {
                throw GraphError(node: node.name, message: "inputs differ in size")
            }
            try GraphCheck.checkSize(size, channels: channels[node.output], node: node.name)
            result.append(size)
        }
        return result
    }

    /// Multiply-adds of all convolutions for an input of size `input`.
    public func multiplyAdds(input: Size3) throws(GraphError) -> Int {
        let sizes = try sizes(input: input)
        return nodes.reduce(0) { sum, node in
            if case .conv3d(let conv) = node.op {
                sum + conv.multiplyAddsPerVoxel * sizes[node.output].count
            } else {
                sum
            }
        }
    }

    /// Classes: channels of what the argmax reads.
    public var classCount: Int { channels[nodes[nodes.count - 1].inputs[0]] }

    public var parameterCount: Int {
        nodes.reduce(0) { sum, node in
            sum + node.op.parameterCount
        }
    }
}
