/// The largest of each box of voxels, channel by channel; sides are multiples of the factors. See `Ops.MaxPool`.
public struct GridPool: Equatable, Sendable {
    /// 1 or 2.
    public var factor: Size3
    /// Boxes have one voxel more, before them, along axes that are halved.
    public var overlaps: Bool

    public init(factor: Size3, overlaps: Bool = false) {
        self.factor = factor
        self.overlaps = overlaps
    }
}

/// A change to a grid twice as fine along some axes: see `Ops.Resize`.
public struct GridResize: Equatable, Sendable {
    /// 1 or 2.
    public var factor: Size3
    /// Between centres of voxels, with the edge repeated outside; otherwise the nearest voxel.
    public var isLinear: Bool

    public init(factor: Size3, isLinear: Bool) {
        self.factor = factor
        self.isLinear = isLinear
    }
}

extension Size3 {
    static func + (a: Size3, b: Size3) -> Size3 {
        Size3(depth: a.depth + b.depth, height: a.height + b.height, width: a.width + b.width)
    }

    static func * (a: Size3, b: Size3) -> Size3 {
        Size3(depth: a.depth * b.depth, height: a.height * b.height, width: a.width * b.width)
    }

    static func / (a: Size3, b: Size3) -> Size3 {
        Size3(depth: a.depth / b.depth, height: a.height / b.height, width: a.width / b.width)
    }

    /// Index of a voxel, width fastest.
    fileprivate func index(_ z: Int, _ y: Int, _ x: Int) -> Int { (z * height + y) * width + x }

    fileprivate func forEach(_ body: (Int, Int, Int) -> Void) {
        for z in 0..<depth {
            for y in 0..<height {
                for x in 0..<width { body(z, y, x) }
            }
        }
    }
}

/// What one voxel of a value stands for.
public enum ValueSpan: Sendable {
    /// A voxel of its grid.
    case voxel
    /// All of a slice: the value has one voxel for it.
    case slice
    /// All of the volume.
    case volume
}

/// Where the voxels of a value lie.
public struct ValueGrid: Equatable, Sendable {
    /// log2 of how much coarser than the input it is.
    public var level: Size3
    /// Its size minus that of the input at that coarseness. Level and growth are 0 along axes of which one voxel is left.
    public var growth: Size3
    public var span: ValueSpan
}

extension FloatGraph {
    /// Of every value.
    public func grids() -> [ValueGrid] {
        let base = 1 << 20
        var levels = [Size3(cube: 0)]
        var sizes = [Size3(cube: base)]
        var spans = [ValueSpan.voxel]
        for node in nodes {
            let first = node.sizing(spans)
            var level = levels[first] + node.op.coarsening
            spans.append(node.span(spans))
            if case .globalPool(let isPerSlice) = node.op {
                level = Size3(depth: isPerSlice ? level.depth : 0, height: 0, width: 0)
            }
            levels.append(level)
            let size = node.op.outputSize(sizes[first])
            // Thousands of doublings would leave an Int.
            sizes.append(
                Size3(
                    depth: min(size.depth, 1 << 40), height: min(size.height, 1 << 40), width: min(size.width, 1 << 40))
            )
        }
        return levels.indices.map { value in
            let (level, size, span) = (levels[value], sizes[value], spans[value])
            func growth(_ size: Int, _ level: Int) -> Int { size - (base >> min(max(level, 0), 20)) }
            return ValueGrid(
                level: level,
                growth: Size3(
                    depth: span == .volume ? 0 : growth(size.depth, level.depth),
                    height: span == .voxel ? growth(size.height, level.height) : 0,
                    width: span == .voxel ? growth(size.width, level.width) : 0),
                span: span)
        }
    }

    /// Voxels of the input that the coarsest grid makes one of. Sides of the input are its multiples.
    public var cell: Size3 {
        let levels = grids().map(\.level)
        func most(_ axis: KeyPath<Size3, Int>) -> Int { 1 << min(levels.map { $0[keyPath: axis] }.max() ?? 0, 20) }
        return Size3(depth: most(\.depth), height: most(\.height), width: most(\.width))
    }

    /// Values that meet lie on one grid.
    func checkGrids() throws(GraphError) {
        let grids = grids()
        let spans = grids.map(\.span)
        for node in nodes {
            let first = grids[node.sizing(spans)]
            let meet = node.inputs.map { grids[$0] }.allSatisfy { grid in
                switch grid.span {
                case first.span: grid == first
                case .slice: grid.level.depth == first.level.depth && grid.growth.depth == first.growth.depth
                default: true
                }
            }
            guard meet else { throw GraphError(node: node.name, message: "its inputs lie on different grids") }
            if let fault = node.spanFault(spans) { throw GraphError(node: node.name, message: fault) }
        }
    }

    /// No grid is coarser than a model file can say, nor finer than the input's.
    public func checkStorable() throws(GraphError) {
        for (node, grid) in zip(nodes, grids().dropFirst()) {
            let (level, growth) = (grid.level, grid.growth)
            guard [level.depth, level.height, level.width].allSatisfy((0...8).contains) else {
                throw GraphError(
                    node: node.name, message: "a grid finer than the input's, or coarser by more than 2^8: \(level)")
            }
            guard [growth.depth, growth.height, growth.width].allSatisfy({ abs($0) <= 32_000 }) else {
                throw GraphError(node: node.name, message: "its size is that of its grid and \(growth)")
            }
        }
    }
}

extension Node {
    /// The input that the output's size follows from: one of them may have a single voxel for all.
    func sizing(_ spans: [ValueSpan]) -> ValueID { inputs.first { spans[$0] == .voxel } ?? inputs[0] }

    /// Of the output.
    func span(_ spans: [ValueSpan]) -> ValueSpan {
        if case .globalPool(let isPerSlice) = op { isPerSlice ? .slice : .volume } else { spans[sizing(spans)] }
    }

    /// Why the op cannot have these inputs; nil where it can.
    func spanFault(_ spans: [ValueSpan]) -> String? {
        let pooled = inputs.filter { spans[$0] != .voxel }
        guard let first = pooled.first else { return nil }
        let what = spans[first] == .slice ? "one voxel for each slice" : "one voxel for the volume"
        guard pooled.count == inputs.count else {
            switch op {
            case .multiply where pooled == [inputs[1]], .concat: return nil
            default: return "\(what) beside all of them (supported: products, concatenations)"
            }
        }
        guard op.isVoxelwise, pooled.allSatisfy({ spans[$0] == spans[first] }) else {
            return "\(what) as input (supported: pointwise convolutions, functions, products, sums, concatenations)"
        }
        return nil
    }
}

extension FloatOp {
    /// Whether a voxel of the output depends on this voxel of the inputs alone, and its scores are none.
    fileprivate var isVoxelwise: Bool {
        switch self {
        case .conv3d(let conv):
            conv.kernel == Size3(cube: 1) && conv.stride == Size3(cube: 1) && conv.padding == Size3(cube: 0)
        case .depthwise(let conv): conv.kernel == Size3(cube: 1)
        case .batchNorm, .layerNorm, .activation, .add, .multiply, .concat: true
        default: false
        }
    }
}

extension FloatTensor {
    /// With zeros behind, up to multiples of `cell` along each axis: what the runtime does.
    public func filled(toMultiplesOf cell: Size3) -> FloatTensor {
        func whole(_ side: Int, _ cell: Int) -> Int { (side + cell - 1) / cell * cell }
        let larger = Size3(
            depth: whole(size.depth, cell.depth), height: whole(size.height, cell.height),
            width: whole(size.width, cell.width))
        guard larger != size else { return self }
        var result = FloatTensor(channels: channels, size: larger)
        for c in 0..<channels {
            for row in 0..<(size.depth * size.height) {
                let from = (c * size.depth * size.height + row) * size.width
                let to = c * larger.count + larger.index(row / size.height, row % size.height, 0)
                result.values.replaceSubrange(to..<(to + size.width), with: values[from..<(from + size.width)])
            }
        }
        return result
    }
}

/// The float forms of the operations between grids.
enum FloatGrids {
    static func depthToSpace(_ x: FloatTensor, _ factor: Size3) -> FloatTensor {
        let channels = x.channels / factor.count
        var result = FloatTensor(channels: channels, size: x.size * factor)
        for from in 0..<x.channels {
            let (corner, c) = (from / channels, from % channels)
            let (dz, dy, dx) = (
                corner / (factor.height * factor.width), corner / factor.width % factor.height, corner % factor.width
            )
            x.size.forEach { z, y, xx in
                let to = result.size.index(
                    factor.depth * z + dz, factor.height * y + dy, factor.width * xx + dx)
                result.values[c * result.size.count + to] = x.values[from * x.size.count + x.size.index(z, y, xx)]
            }
        }
        return result
    }

    static func maxPool(_ x: FloatTensor, _ pool: GridPool) -> FloatTensor {
        let factor = pool.factor
        var result = FloatTensor(channels: x.channels, size: x.size / factor)
        func range(_ at: Int, _ factor: Int) -> Range<Int> {
            (pool.overlaps && factor == 2 ? max(2 * at - 1, 0) : factor * at)..<(factor * (at + 1))
        }
        for c in 0..<x.channels {
            result.size.forEach { z, y, xx in
                var most = -Float.infinity
                for az in range(z, factor.depth) {
                    for ay in range(y, factor.height) {
                        for ax in range(xx, factor.width) {
                            most = max(most, x.values[c * x.size.count + x.size.index(az, ay, ax)])
                        }
                    }
                }
                result.values[c * result.size.count + result.size.index(z, y, xx)] = most
            }
        }
        return result
    }

    /// Of each slice, or of the volume, in double.
    static func globalPool(_ x: FloatTensor, isPerSlice: Bool) -> FloatTensor {
        let depth = isPerSlice ? x.size.depth : 1
        let part = x.size.count / depth
        let means = stride(from: 0, to: x.values.count, by: part).map { first in
            Float(x.values[first..<(first + part)].reduce(0.0) { $0 + Double($1) } / Double(part))
        }
        return FloatTensor(
            channels: x.channels, size: Size3(depth: depth, height: 1, width: 1), values: means)
    }

    /// Precondition: y has the size of x, or one voxel for each slice or the volume.
    static func multiply(_ x: inout FloatTensor, _ y: FloatTensor) {
        let part = x.size.count / y.size.count
        for i in x.values.indices { x.values[i] *= y.values[i / part] }
    }

    /// Along the channels, each value copied over the largest size.
    static func concatenate(_ inputs: [FloatTensor]) -> FloatTensor {
        let size = inputs.map(\.size).max { $0.count < $1.count }!
        return FloatTensor(
            channels: inputs.reduce(0) { $0 + $1.channels }, size: size,
            values: inputs.flatMap { input in
                let part = size.count / input.size.count
                return part == 1 ? input.values : (0..<(input.channels * size.count)).map { input.values[$0 / part] }
            })
    }

    static func resize(_ x: FloatTensor, _ op: GridResize) -> FloatTensor {
        var result = FloatTensor(channels: x.channels, size: x.size * op.factor)
        func axis(_ factor: Int, _ size: Int) -> [(Int, Int, Float)] {
            (0..<(factor * size)).map { at in
                guard factor == 2, op.isLinear else { return (at / factor, at / factor, 1) }
                return (at / 2, min(max(at / 2 + at % 2 * 2 - 1, 0), size - 1), 0.75)
            }
        }
        let s = x.size
        let (zs, ys, xs) = (
            axis(op.factor.depth, s.depth), axis(op.factor.height, s.height), axis(op.factor.width, s.width)
        )
        for c in 0..<x.channels {
            func row(_ z: Int, _ y: Int, _ at: (Int, Int, Float)) -> Float {
                let first = c * s.count + s.index(z, y, 0)
                return at.2 * x.values[first + at.0] + (1 - at.2) * x.values[first + at.1]
            }
            func plane(_ z: Int, _ y: (Int, Int, Float), _ at: (Int, Int, Float)) -> Float {
                y.2 * row(z, y.0, at) + (1 - y.2) * row(z, y.1, at)
            }
            result.size.forEach { z, y, xx in
                let a = zs[z]
                result.values[c * result.size.count + result.size.index(z, y, xx)] =
                    a.2 * plane(a.0, ys[y], xs[xx]) + (1 - a.2) * plane(a.1, ys[y], xs[xx])
            }
        }
        return result
    }
}
