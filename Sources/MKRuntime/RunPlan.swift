import FlatGraph
import Ops

public enum ExecutionMode: UInt8, Sendable, CaseIterable {
    /// Every layer over the whole volume at once.
    case whole = 0
    /// Overlapping windows of the model's patch size, weighted sums of class scores.
    case windows = 1
    /// Slice by slice through all layers, optionally in tiles of the slice. Same labels as `whole`.
    case lines = 2
    /// Boxes with a halo as wide as the receptive field. Same labels as `whole`.
    case tiles = 3

    public var name: String {
        switch self {
        case .whole: "whole"
        case .windows: "windows"
        case .lines: "lines"
        case .tiles: "tiles"
        }
    }
}

/// Everything a run will touch, computed from the model and the volume's size before a voxel is read.
public struct RunPlan: Sendable {
    public let mode: ExecutionMode
    public let threads: Int
    /// Size of the volume in the model's grid.
    public let volume: Extent
    /// Size of the network's input: the volume (with zeros at its end up to whole cells of the coarsest grid), the patch, or a
    /// tile with its halo.
    public let extent: Extent
    /// What is computed at a time: rows and columns in `lines`, a box without its halo in `tiles`, rows of labels in
    /// `windows`; the volume where nothing is cut.
    public let tile: Extent
    /// Of every tensor over `extent`.
    public let layouts: [TensorLayout]
    public let buffers: [PlannedBuffer]
    public let arenaBytes: Int
    public let lowerBoundBytes: Int
    /// Windows or tiles along depth, height, width; empty in the other modes.
    public let windows: [WindowAxis]
    /// Voxels that a tile computes beyond its labels on each side that is not the volume's (depth, height, width).
    let halo: Extent
    /// Rows of labels that are finished together in `windows`, and the window rows they need.
    let strips: [WindowStrip]
    let lines: LinesPlan?
    /// How state-space blocks run; nil when their tensors exist whole.
    public let streaming: BlockStreaming?
    let blocks: [TokenBlock]
    let splines: [SplineLayer]
    let chains: [RowChain]
    /// Class probabilities come out beside the labels.
    public let probabilities: Bool
    /// Index of the first op of the tail that runs row by row: [pointwise convolution, argmax] or [argmax].
    let tail: Int
    let scoreTensor: Int
    /// Multiply-adds of the plan over those of one run of the network over the volume without overlap, in thousandths.
    public let recomputePerMille: Int

    /// - Parameters:
    ///   - volume: size in the model's grid.
    ///   - materializeScores: keep the class scores as a whole tensor, for an observer.
    ///   - tile: see the property; nil for no cut.
    ///   - probabilities: of the classes, beside the labels.
    ///   - streaming: of state-space blocks; an observer needs nil.
    ///   - fusion: an observer of every op needs `none`.
    ///   - chainBytes: that the ops of a chain may write at a time.
    public init(
        file: ModelFile, volume: Extent, mode: ExecutionMode, threads: Int, materializeScores: Bool = false,
        tile: Extent? = nil, streaming: BlockStreaming? = nil, probabilities: Bool = false,
        fusion: Fusion = .none, chainBytes: Int = RunPlan.chainBytes
    ) throws(RuntimeError) {
        try Self.checkSize(file, volume)
        self.mode = mode
        self.threads = threads
        self.volume = volume
        let tile = Self.clamp(tile ?? volume, to: volume)
        self.tile = tile
        halo = mode == .tiles ? try Self.halo(file) : Extent(depth: 0, height: 0, width: 0)
        let filled = Self.filled(file, volume)
        switch mode {
        case .whole, .lines: windows = []
        case .windows: windows = try Self.windowAxes(file, volume)
        case .tiles: windows = Self.tileAxes(file, filled, tile, halo)
        }
        extent =
            windows.isEmpty
            ? filled : Extent(depth: windows[0].patch, height: windows[1].patch, width: windows[2].patch)
        strips = mode == .windows ? WindowStrip.split(windows[1], rows: tile.height) : []
        layouts = try Self.layouts(file, extent)
        let last = file.opCount - 1
        scoreTensor = file.operand(file.op(last), 0)
        try Self.checkScores(layouts[scoreTensor].extent, within: extent, mode)
        tail = !materializeScores && Self.canFuseHead(file) ? last - 1 : last
        lines =
            mode == .lines
            ? try LinesPlan(file: file, layouts: layouts, tail: tail, volume: volume, tile: (tile.height, tile.width))
            : nil
        self.probabilities = probabilities
        self.streaming = mode == .lines ? nil : streaming
        blocks = self.streaming == nil ? [] : TokenBlock.find(file, tail: tail)
        let fusion = mode == .lines ? .none : fusion
        splines = SplineLayer.find(file, layouts, fusion, tail: tail)
        let (layouts, blocks) = (self.layouts, self.blocks)
        chains =
            fusion == .none
            ? []
            : RowChain.find(file, splines, blocks, tail: tail, bytes: chainBytes) {
                TokenBlock.layout(layouts[Int(file.op($0).output)], op: $0, blocks, streaming)
            }
        let shapes = Shapes(
            file: file, mode: mode, threads: threads, volume: volume, extent: extent, layouts: layouts, tail: tail,
            strips: strips, lines: lines, streaming: self.streaming, blocks: blocks, splines: splines,
            chains: chains, probabilities: probabilities)
        var buffers = shapes.buffers()
        arenaBytes = BufferPlanner.place(&buffers)
        lowerBoundBytes = BufferPlanner.lowerBound(buffers)
        self.buffers = buffers
        recomputePerMille = Self.recompute(file, volume, extent, layouts, windows, strips, lines, tail)
    }

    /// Runs of the network over `extent`.
    public var windowCount: Int {
        guard !windows.isEmpty else { return 0 }
        let rows = strips.isEmpty ? windows[1].starts.count : strips.reduce(0) { $0 + $1.windows.count }
        return windows[0].starts.count * rows * windows[2].starts.count
    }

    /// Parts that each go through the whole depth.
    public var tileCount: Int { lines?.tiles.count ?? (mode == .tiles ? windowCount : max(1, strips.count)) }

    /// Labels come as whole planes of the volume, one after the other from the first.
    public var givesWholePlanes: Bool {
        guard tileCount == 1 else { return false }
        return mode == .windows || clipped(layouts[scoreTensor].extent) == volume
    }

    /// The streamed block that op `index` belongs to.
    func streamedBlock(_ index: Int) -> TokenBlock? { TokenBlock.of(index, blocks) }

    func offset(of use: PlannedBuffer.Use) -> Int {
        for buffer in buffers where buffer.use == use { return buffer.offset }
        preconditionFailure("buffer was not planned")
    }

    /// 2^31 voxels of four bytes times the channels of any network stay far inside an Int of 64 bits. On a 32-bit processor
    /// all tensors together, with a halo of rows around each, must stay inside its address space.
    private static func checkSize(_ file: ModelFile, _ volume: Extent) throws(RuntimeError) {
        let limit = Int64(1) << 31
        let sides = 1...32767
        guard sides.contains(volume.depth), sides.contains(volume.height), sides.contains(volume.width) else {
            throw RuntimeError(.volumeTooLarge, need: Int(clamping: limit))
        }
        let voxels = Int64(volume.depth) * Int64(volume.height) * Int64(volume.width)
        guard voxels <= limit else {
            throw RuntimeError(.volumeTooLarge, need: Int(clamping: limit), have: Int(clamping: voxels))
        }
        #if _pointerBitWidth(_32)
            var channels: Int64 = 0
            for index in 0..<file.tensorCount { channels += Int64(file.tensor(index).channels) + 3 }
            guard voxels * channels * 8 <= Int64(Int.max) else {
                throw RuntimeError(.volumeTooLarge, need: Int(clamping: Int64(Int.max) / (channels * 8)))
            }
        #endif
    }

    private static func clamp(_ tile: Extent, to volume: Extent) -> Extent {
        Extent(
            depth: min(max(1, tile.depth), volume.depth), height: min(max(1, tile.height), volume.height),
            width: min(max(1, tile.width), volume.width))
    }

    /// The volume and zeros behind its last slice, row and column, up to whole cells of the coarsest grid. Networks that eat their
    /// border have no such freedom.
    private static func filled(_ file: ModelFile, _ volume: Extent) -> Extent {
        guard file.tensor(Int(file.record.labelTensor)).growth == (0, 0, 0) else { return volume }
        let cell = cell(file)
        func whole(_ size: Int, _ cell: Int) -> Int { (size + cell - 1) / cell * cell }
        return Extent(
            depth: whole(volume.depth, cell.depth), height: whole(volume.height, cell.height),
            width: whole(volume.width, cell.width))
    }

    /// The part of `extent` voxels that lies within the volume.
    func clipped(_ extent: Extent) -> Extent {
        Extent(
            depth: min(extent.depth, volume.depth), height: min(extent.height, volume.height),
            width: min(extent.width, volume.width))
    }

    // MARK: What a model allows

    /// Whether the model names a window scheme and labels whole windows.
    public static func supportsWindows(_ file: ModelFile) -> Bool {
        let labels = file.tensor(Int(file.record.labelTensor))
        return file.record.windowScheme != .none && labels.growth == (0, 0, 0)
    }

    /// Whether an output depends on more than its surroundings, so that windows and the whole volume are different networks.
    public static func isGlobal(_ file: ModelFile) -> Bool {
        for index in 0..<file.opCount where [.groupNorm, .globalPool, .scan, .sliceOrder].contains(file.op(index).kind)
        {
            return true
        }
        return false
    }

    public static func hasScan(_ file: ModelFile) -> Bool {
        for index in 0..<file.opCount where file.op(index).kind == .scan { return true }
        return false
    }

    /// A network without padding labels only the middle of the volume; the rest stays background.
    private static func checkScores(
        _ scores: Extent, within extent: Extent, _ mode: ExecutionMode
    ) throws(RuntimeError) {
        let eaten = [
            extent.depth - scores.depth, extent.height - scores.height, extent.width - scores.width,
        ]
        guard mode == .windows || mode == .tiles, let most = eaten.max(), most > 0 else { return }
        throw RuntimeError(.windowsShrink, need: most)
    }

    /// The last convolution can feed argmax one row at a time when it is pointwise and nobody else reads its output.
    private static func canFuseHead(_ file: ModelFile) -> Bool {
        let last = file.opCount - 1
        guard last >= 1, file.op(last - 1).kind == .conv3d,
            Int(file.op(last - 1).output) == file.operand(file.op(last), 0)
        else { return false }
        return file.conv3D(file.op(last - 1)).isPointwise
    }

    // MARK: Layouts

    private static func layouts(_ file: ModelFile, _ extent: Extent) throws(RuntimeError) -> [TensorLayout] {
        var pads = [Int](repeating: 0, count: file.tensorCount)
        for index in 0..<file.opCount {
            let op = file.op(index)
            guard op.kind == .conv3d else { continue }
            pads[file.operand(op, 0)] = max(pads[file.operand(op, 0)], Int(op.padding.2))
        }
        // A look-up runs in place where it can, so both sides need the same rows.
        for index in (0..<file.opCount).reversed() where file.op(index).kind == .lookup {
            let op = file.op(index)
            let input = file.operand(op, 0)
            pads[input] = max(pads[input], pads[Int(op.output)])
            pads[Int(op.output)] = pads[input]
        }
        var result: [TensorLayout] = []
        for index in 0..<file.tensorCount {
            let tensor = file.tensor(index)
            for (side, cell) in [
                (extent.depth, tensor.cell.depth), (extent.height, tensor.cell.height),
                (extent.width, tensor.cell.width),
            ] where side % cell != 0 {
                throw RuntimeError(.sizeNotDivisible, index: index, need: cell, have: side)
            }
            let grown = tensor.extent(of: extent)
            guard grown.depth > 0, grown.height > 0, grown.width > 0 else {
                throw RuntimeError(
                    .volumeTooSmall, index: index, need: min(grown.depth, grown.height, grown.width))
            }
            result.append(
                TensorLayout(
                    channels: Int(tensor.channels), extent: grown, element: tensor.element ?? .u8, padX: pads[index]))
        }
        return result
    }

    /// One row of class scores, as the fused head writes it.
    static func scoreRow(_ file: ModelFile, _ layouts: [TensorLayout]) -> TensorLayout {
        let scores = file.operand(file.op(file.opCount - 1), 0)
        let full = layouts[scores]
        return TensorLayout(
            channels: full.channels, extent: Extent(depth: 1, height: 1, width: full.extent.width),
            element: full.element)
    }
}
