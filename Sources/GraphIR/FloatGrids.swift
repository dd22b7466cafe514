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

extension FloatGraph {
    /// Of every value, log2 of how much coarser than the input it is, and its size minus that of the input at that coarseness.
    public func grids() -> [(level: Size3, growth: Size3)] {
        let base = 1 << 20
        var levels = [Size3(cube: 0)]
        var sizes = [Size3(cube: base)]
        for node in nodes {
            levels.append(levels[node.inputs[0]] + node.op.coarsening)
            let size = node.op.outputSize(sizes[node.inputs[0]])
            // Thousands of doublings would leave an Int.
            sizes.append(
                Size3(
                    depth: min(size.depth, 1 << 40), height: min(size.height, 1 << 40), width: min(size.width, 1 << 40))
            )
        }
        return zip(levels, sizes).map { level, size in
            func growth(_ size: Int, _ level: Int) -> Int { size - (base >> min(max(level, 0), 20)) }
            return (
                level,
                Size3(
                    depth: growth(size.depth, level.depth), height: growth(size.height, level.height),
                    width: growth(size.width, level.width))
            )
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
        for node in nodes {
            let first = grids[node.inputs[0]]
            guard node.inputs.allSatisfy({ grids[$0] == first }) else {
                throw GraphError(node: node.name, message: "its inputs lie on different grids")
            }
        }
    }

    /// No grid is coarser than a model file can say, nor finer than the input's.
    public func checkStorable() throws(GraphError) {
        for (node, (level, growth)) in zip(nodes, grids().dropFirst()) {
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
