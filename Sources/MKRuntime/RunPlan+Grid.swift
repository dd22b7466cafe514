import FlatGraph
import Ops

/// Rows of labels that are finished together when windows run in strips, and the window rows that touch them. Windows on
/// the border of two strips run twice.
struct WindowStrip: Equatable, Sendable {
    var rows: Range<Int>
    /// Indices into the starts of the height axis.
    var windows: Range<Int>

    /// Strips of at most `rows` rows, of nearly equal height.
    static func split(_ axis: WindowAxis, rows: Int) -> [WindowStrip] {
        let count = (axis.size + max(1, rows) - 1) / max(1, rows)
        return (0..<count).map { index in
            let part = (axis.size * index / count)..<(axis.size * (index + 1) / count)
            let touching = axis.starts.indices.filter {
                axis.starts[$0] < part.upperBound && axis.starts[$0] + axis.patch > part.lowerBound
            }
            return WindowStrip(rows: part, windows: touching.first!..<(touching.last! + 1))
        }
    }
}

extension RunPlan {
    static func windowAxes(_ file: ModelFile, _ volume: Extent) throws(RuntimeError) -> [WindowAxis] {
        let record = file.record
        guard record.windowScheme != .none else { throw RuntimeError(.noWindowScheme) }
        // The patch is stored along the oriented first (width), second and third (depth) axis.
        let sizes = [(volume.depth, record.patch.2), (volume.height, record.patch.1), (volume.width, record.patch.0)]
        let axes = sizes.map {
            WindowAxis(
                size: $0.0, patch: Int($0.1), overlapPerMille: Int(record.overlapPerMille),
                scheme: record.windowScheme)
        }
        var sum: Int64 = 1
        var overlap: Int64 = 1
        for (axis, index) in zip(axes, [2, 1, 0]) {
            sum *= unsafe Int64(axis.largestSum(file.windowTable(index)))
            overlap *= Int64(axis.largestOverlap)
        }
        let bound = Int(clamping: (sum >> 12) + overlap * Int64(WindowSums.floor))
        guard bound <= WindowSums.largestWeights else {
            throw RuntimeError(.windowWeightsTooLarge, need: WindowSums.largestWeights, have: bound)
        }
        return axes
    }

    // MARK: Tiles

    /// Coarsest cell of the network: tiles start and end on its multiples.
    static func cell(_ file: ModelFile) -> Extent {
        (0..<file.tensorCount).reduce(Extent(cube: 1)) { most, index in
            let cell = file.tensor(index).cell
            return Extent(
                depth: max(most.depth, cell.depth), height: max(most.height, cell.height),
                width: max(most.width, cell.width))
        }
    }

    /// How far a label looks around itself, in voxels, rounded up to whole cells. Walks back from the scores; a layer on a
    /// grid that is 2^c times coarser reaches 2^c times as far.
    static func halo(_ file: ModelFile) throws(RuntimeError) -> Extent {
        var reach = [Extent](repeating: Extent(depth: 0, height: 0, width: 0), count: file.tensorCount)
        for index in (0..<file.opCount).reversed() {
            let op = file.op(index)
            let own = try own(file, op, index)
            for operand in 0..<Int(op.operandCount) {
                let tensor = file.operand(op, operand)
                let after = reach[Int(op.output)]
                reach[tensor] = Extent(
                    depth: max(reach[tensor].depth, after.depth + own.depth),
                    height: max(reach[tensor].height, after.height + own.height),
                    width: max(reach[tensor].width, after.width + own.width))
            }
        }
        let cell = cell(file)
        let total = reach[Int(file.record.inputTensor)]
        func whole(_ size: Int, _ cell: Int) -> Int { (size + cell - 1) / cell * cell }
        return Extent(
            depth: whole(total.depth, cell.depth), height: whole(total.height, cell.height),
            width: whole(total.width, cell.width))
    }

    private static func own(_ file: ModelFile, _ op: OpRecord, _ index: Int) throws(RuntimeError) -> Extent {
        let voxels = file.tensor(file.operand(op, 0)).cell
        func scaled(_ depth: Int, _ height: Int, _ width: Int) -> Extent {
            Extent(depth: depth * voxels.depth, height: height * voxels.height, width: width * voxels.width)
        }
        switch op.kind {
        case .conv3d:
            let conv = file.conv3D(op)
            func side(_ kernel: Int, _ dilation: Int, _ padding: Int) -> Int {
                max(padding, dilation * (kernel - 1) - padding)
            }
            return scaled(
                side(conv.kernel.depth, conv.dilation.depth, conv.padding.depth),
                side(conv.kernel.height, conv.dilation.height, conv.padding.height),
                side(conv.kernel.width, conv.dilation.width, conv.padding.width))
        case .depthwise:
            let kernel = file.depthwise(op).kernel
            return scaled(kernel.depth / 2, kernel.height / 2, kernel.width / 2)
        case .maxPool where file.maxPool(op).overlaps:
            return scaled(op.factor.depth - 1, op.factor.height - 1, op.factor.width - 1)
        // A voxel of the output lies within one of the input; between centres, one beside it is read as well.
        case .depthToSpace, .resize:
            let reach = op.kind == .resize && file.resize(op).isLinear ? 2 : 1
            return scaled(
                reach * (op.factor.depth - 1), reach * (op.factor.height - 1), reach * (op.factor.width - 1))
        case .groupNorm, .globalPool, .scan, .tokenConv, .sliceOrder:
            throw RuntimeError(.tilesUnsupported, index: index)
        default: return Extent(depth: 0, height: 0, width: 0)
        }
    }

    /// Tiles as windows: each `tile` plus its halo on both sides, the last one moved back to end with the volume.
    static func tileAxes(_ file: ModelFile, _ volume: Extent, _ tile: Extent, _ halo: Extent) -> [WindowAxis] {
        let cell = cell(file)
        func axis(_ size: Int, _ tile: Int, _ halo: Int, _ cell: Int) -> WindowAxis {
            let core = max(cell, tile / cell * cell)
            return WindowAxis(size: size, patch: min(size, core + 2 * halo), interval: core)
        }
        return [
            axis(volume.depth, tile.depth, halo.depth, cell.depth),
            axis(volume.height, tile.height, halo.height, cell.height),
            axis(volume.width, tile.width, halo.width, cell.width),
        ]
    }

    /// The labels that the tile at index `index` of an axis delivers: those the one before did not, up to its halo.
    func delivered(_ axis: Int, _ index: Int) -> Range<Int> {
        let windows = windows[axis]
        let halo = axis == 0 ? halo.depth : axis == 1 ? halo.height : halo.width
        func end(_ index: Int) -> Int {
            index == windows.starts.count - 1 ? windows.size : windows.starts[index] + windows.patch - halo
        }
        return (index == 0 ? 0 : end(index - 1))..<end(index)
    }

    // MARK: Cost

    /// Multiply-adds of the convolutions over a box of the volume's finest grid.
    private static func work(_ file: ModelFile, _ op: OpRecord, _ voxels: Int) -> Int64 {
        op.kind == .conv3d ? Int64(file.conv3D(op).multiplyAddsPerVoxel) * Int64(voxels) : 0
    }

    static func recompute(
        _ file: ModelFile, _ volume: Extent, _ extent: Extent, _ layouts: [TensorLayout], _ windows: [WindowAxis],
        _ strips: [WindowStrip], _ lines: LinesPlan?, _ tail: Int
    ) -> Int {
        if let lines { return linesRecompute(file, layouts, lines, tail) }
        guard !windows.isEmpty else { return 1000 }
        let rows = strips.isEmpty ? windows[1].starts.count : strips.reduce(0) { $0 + $1.windows.count }
        let count = windows[0].starts.count * rows * windows[2].starts.count
        return Int(clamping: Int64(count) * Int64(extent.voxels) * 1000 / Int64(volume.voxels))
    }

    private static func linesRecompute(
        _ file: ModelFile, _ layouts: [TensorLayout], _ lines: LinesPlan, _ tail: Int
    ) -> Int {
        var once: Int64 = 0
        var planned: Int64 = 0
        for index in 0..<file.opCount {
            let op = file.op(index)
            let full = layouts[Int(op.output)].extent
            let work = work(file, op, full.depth)
            once += work * Int64(full.height * full.width)
            let segment = lines.segments.first { $0.ops.contains(index) }
            // Both passes of a segment compute what leads to its statistics.
            let passes: Int64 = segment.map { ($0.norm ?? -1) > index ? 2 : 1 } ?? 1
            for tile in lines.tiles {
                let area = tile.regions[Int(op.output)]?.area ?? (index >= tail ? tile.box.area : 0)
                planned += passes * work * Int64(area)
            }
        }
        return once > 0 ? Int(clamping: planned * 1000 / once) : 1000
    }
}
