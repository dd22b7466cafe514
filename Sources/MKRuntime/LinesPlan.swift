import FlatGraph
import Ops

/// How a network without strides across slices runs slice by slice: the slices go through all of its layers one behind the other, and of
/// each tensor only those are kept that a later layer still needs (2 · dilation + 1 before a 3³ convolution).
///
/// In round r the op that writes tensor t computes slice r - delay[t], so nothing is counted and nothing comes in bursts.
/// A normalization over the volume ends a *segment*: a first pass over the segment adds up the sums, a second one computes
/// it again with the finished map and puts the result into a stored volume, in place: a slice has left for its ring
/// before it is overwritten.
struct LinesPlan: Sendable {
    struct Segment: Sendable {
        /// Ops of the second pass; the tail (last pointwise convolution, argmax) is not among them.
        var ops: Range<Int>
        /// The network's input, or what the segment before stored.
        var source: Int
        /// The normalization whose statistics the first pass gathers.
        var norm: Int?
        /// The tensor that is stored; nil in the last segment, which ends in labels.
        var stored: Int?
    }

    /// Rows and columns of a tensor that a tile computes.
    struct Region: Equatable, Sendable {
        var y: Range<Int>
        var x: Range<Int>
        var area: Int { y.count * x.count }

        func union(_ other: Region?) -> Region {
            guard let other else { return self }
            return Region(
                y: min(y.lowerBound, other.y.lowerBound)..<max(y.upperBound, other.y.upperBound),
                x: min(x.lowerBound, other.x.lowerBound)..<max(x.upperBound, other.x.upperBound))
        }
    }

    /// A part of each slice that goes through the whole depth by itself.
    struct Tile: Sendable {
        /// In rows and columns of the labelled part of the volume.
        var box: Region
        /// By tensor; nil where the tile computes none of it.
        var regions: [Region?]
    }

    let segments: [Segment]
    /// Rounds until slice 0 of a tensor is there, by tensor; of a stored tensor in the segment that computes it.
    let delay: [Int]
    /// Slices kept, by segment and tensor; 0 where a segment has no use for it.
    let slots: [[Int]]
    let tiles: [Tile]
    /// One stored slice: the largest of the stored tensors', so that a slice of one never reaches into another of the next.
    let storedSliceBytes: Int

    /// - Parameters:
    ///   - layouts: of the whole tensors.
    ///   - tail: first op that works row by row at the end.
    ///   - volume: what is labelled lies within it.
    ///   - tile: rows and columns of a tile; the whole slice where the network has statistics over the volume or its slices.
    /// - Throws: `linesUnsupported` naming the op for strides across slices, scans and the like.
    init(
        file: ModelFile, layouts: [TensorLayout], tail: Int, volume: Extent, tile: (height: Int, width: Int)
    ) throws(RuntimeError) {
        for index in 0..<tail where !Self.runsInLines(file, file.op(index)) {
            throw RuntimeError(.linesUnsupported, index: index)
        }
        let segments = try Self.segments(file, layouts, tail)
        let delay = Self.delays(file, segments)
        slots = segments.indices.map { Self.slots(file, segments[$0], delay, tail) }
        self.segments = segments
        storedSliceBytes =
            segments.compactMap { $0.stored }.map { RunPlan.storedSlice(layouts[$0]).byteCount }.max() ?? 0
        self.delay = delay
        let scored = layouts[file.operand(file.op(file.opCount - 1), 0)].extent
        let (height, width) = (min(scored.height, volume.height), min(scored.width, volume.width))
        let size = Self.hasStatistics(file) ? (height: height, width: width) : tile
        var tiles: [Tile] = []
        for y in stride(from: 0, to: height, by: max(1, size.height)) {
            for x in stride(from: 0, to: width, by: max(1, size.width)) {
                let box = Region(
                    y: y..<min(y + size.height, height), x: x..<min(x + size.width, width))
                tiles.append(Tile(box: box, regions: Self.regions(file, layouts, segments, box, tail)))
            }
        }
        self.tiles = tiles
    }

    /// Ring of a tensor in a segment, for a tile; nil where it has none.
    func layout(_ file: ModelFile, _ full: [TensorLayout], segment: Int, tensor: Int, tile: Int) -> TensorLayout? {
        guard slots[segment][tensor] > 0, let region = tiles[tile].regions[tensor] else { return nil }
        return TensorLayout(
            channels: full[tensor].channels,
            extent: Extent(depth: slots[segment][tensor], height: region.y.count, width: region.x.count),
            element: full[tensor].element, padX: full[tensor].padX)
    }

    // MARK: Segments

    private static func runsInLines(_ file: ModelFile, _ op: OpRecord) -> Bool {
        switch op.kind {
        case .conv3d, .maxPool, .depthToSpace, .resize: op.factor.depth == 1
        case .lookup, .lookupWide, .add, .addWide, .concat, .narrow, .groupNorm, .layerNorm, .multiply: true
        case .globalPool: file.globalPool(op).isPerSlice
        default: false
        }
    }

    private static func hasStatistics(_ file: ModelFile) -> Bool {
        for index in 0..<file.opCount where [.groupNorm, .globalPool].contains(file.op(index).kind) { return true }
        return false
    }

    private static func hasStatisticsOfVolume(_ file: ModelFile, _ op: OpRecord) -> Bool {
        op.kind == .groupNorm && !file.norm(op).isPerSlice
    }

    /// Cuts after each normalization, where one tensor alone is needed further on.
    private static func segments(
        _ file: ModelFile, _ layouts: [TensorLayout], _ tail: Int
    ) throws(RuntimeError) -> [Segment] {
        let norms = (0..<tail).filter { hasStatisticsOfVolume(file, file.op($0)) }
        var result: [Segment] = []
        var first = 0
        var source = Int(file.record.inputTensor)
        for (index, norm) in norms.enumerated() {
            let end = index + 1 < norms.count ? norms[index + 1] : tail
            guard let cut = bestCut(file, layouts, norm..<end, from: first, source) else {
                throw RuntimeError(.linesUnsupported, index: norm)
            }
            let stored = Int(file.op(cut).output)
            result.append(Segment(ops: first..<(cut + 1), source: source, norm: norm, stored: stored))
            (first, source) = (cut + 1, stored)
        }
        result.append(Segment(ops: first..<tail, source: source, norm: nil, stored: nil))
        return result
    }

    /// Of the ops in `range` whose output alone is read after them, the last one with the fewest bytes.
    private static func bestCut(
        _ file: ModelFile, _ layouts: [TensorLayout], _ range: Range<Int>, from first: Int, _ source: Int
    ) -> Int? {
        var best: Int?
        for cut in range {
            let before = TensorSet(file, [source] + (first..<cut).map { Int(file.op($0).output) })
            let isAlone = ((cut + 1)..<file.opCount).allSatisfy { later in
                let op = file.op(later)
                return (0..<Int(op.operandCount)).allSatisfy { !before.contains(file.operand(op, $0)) }
            }
            guard isAlone else { continue }
            let bytes = layouts[Int(file.op(cut).output)].blocks
            if let current = best, layouts[Int(file.op(current).output)].blocks < bytes { continue }
            best = cut
        }
        return best
    }

    // MARK: Schedule

    /// Slices that a convolution looks ahead and back.
    private static func reach(_ file: ModelFile, _ op: OpRecord) -> (ahead: Int, back: Int) {
        guard op.kind == .conv3d else { return (0, 0) }
        let conv = file.conv3D(op)
        return (conv.dilation.depth * (conv.kernel.depth - 1) - conv.padding.depth, conv.padding.depth)
    }

    private static func delays(_ file: ModelFile, _ segments: [Segment]) -> [Int] {
        var delay = [Int](repeating: 0, count: file.tensorCount)
        for segment in segments {
            for index in segment.ops {
                let op = file.op(index)
                let inputs = (0..<Int(op.operandCount)).map { file.operand(op, $0) }
                let latest = inputs.map { $0 == segment.source ? 0 : delay[$0] }.max() ?? 0
                delay[Int(op.output)] = latest + reach(file, op).ahead
            }
        }
        return delay
    }

    private static func slots(_ file: ModelFile, _ segment: Segment, _ delay: [Int], _ tail: Int) -> [Int] {
        var slots = [Int](repeating: 0, count: file.tensorCount)
        func delayOf(_ tensor: Int) -> Int { tensor == segment.source ? 0 : delay[tensor] }
        for index in segment.ops {
            let op = file.op(index)
            slots[Int(op.output)] = max(slots[Int(op.output)], 1)
            for operand in 0..<Int(op.operandCount) {
                let tensor = file.operand(op, operand)
                let span = delay[Int(op.output)] - delayOf(tensor) + reach(file, op).back + 1
                slots[tensor] = max(slots[tensor], span)
            }
        }
        if segment.stored == nil {
            let tensor = file.operand(file.op(tail), 0)
            slots[tensor] = max(slots[tensor], 1)
        }
        return slots
    }

    // MARK: Regions

    /// What of each tensor is needed for the labels of `box`.
    private static func regions(
        _ file: ModelFile, _ layouts: [TensorLayout], _ segments: [Segment], _ box: Region, _ tail: Int
    ) -> [Region?] {
        var regions = [Region?](repeating: nil, count: file.tensorCount)
        // Statistics need all of everything.
        if hasStatistics(file) {
            return layouts.map { Region(y: 0..<$0.extent.height, x: 0..<$0.extent.width) }
        }
        regions[file.operand(file.op(tail), 0)] = box
        for index in (0..<tail).reversed() {
            let op = file.op(index)
            guard let wanted = regions[Int(op.output)] else { continue }
            let needed = written(op, wanted)
            regions[Int(op.output)] = needed
            for operand in 0..<Int(op.operandCount) {
                let tensor = file.operand(op, operand)
                let region = read(file, op, needed, layouts[tensor].extent)
                regions[tensor] = region.union(regions[tensor])
            }
        }
        return regions
    }

    /// What an op writes at least for `region`: whole cells, where it makes the grid finer.
    private static func written(_ op: OpRecord, _ region: Region) -> Region {
        guard op.kind == .depthToSpace || op.kind == .resize else { return region }
        func axis(_ range: Range<Int>, _ factor: Int) -> Range<Int> {
            (range.lowerBound / factor * factor)..<((range.upperBound + factor - 1) / factor * factor)
        }
        return Region(y: axis(region.y, op.factor.height), x: axis(region.x, op.factor.width))
    }

    /// Rows and columns of an input that an op reads for `region` of its output.
    private static func read(_ file: ModelFile, _ op: OpRecord, _ region: Region, _ extent: Extent) -> Region {
        switch op.kind {
        case .conv3d:
            let conv = file.conv3D(op)
            func axis(
                _ range: Range<Int>, _ padding: Int, _ reach: Int, _ stride: Int, _ size: Int
            ) -> Range<Int> {
                let last = stride * (range.upperBound - 1) - padding + reach
                let first = min(max(0, stride * range.lowerBound - padding), size - 1)
                return first..<max(first + 1, min(size, last + 1))
            }
            return Region(
                y: axis(
                    region.y, conv.padding.height, conv.dilation.height * (conv.kernel.height - 1), conv.stride.height,
                    extent.height),
                x: axis(
                    region.x, conv.padding.width, conv.dilation.width * (conv.kernel.width - 1), conv.stride.width,
                    extent.width))
        case .maxPool:
            let before = file.maxPool(op).overlaps ? 1 : 0
            func axis(_ range: Range<Int>, _ factor: Int) -> Range<Int> {
                max(0, factor * range.lowerBound - before * (factor - 1))..<(factor * range.upperBound)
            }
            return Region(y: axis(region.y, op.factor.height), x: axis(region.x, op.factor.width))
        case .depthToSpace, .resize:
            let around = op.kind == .resize && file.resize(op).isLinear ? 1 : 0
            func axis(_ range: Range<Int>, _ factor: Int, _ size: Int) -> Range<Int> {
                let reach = factor == 2 ? around : 0
                return max(0, range.lowerBound / factor - reach)..<min(size, range.upperBound / factor + reach)
            }
            return Region(
                y: axis(region.y, op.factor.height, extent.height), x: axis(region.x, op.factor.width, extent.width))
        default: return region
        }
    }
}
