import FlatGraph
import Ops

public enum ExecutionMode: UInt8, Sendable {
    /// Every layer over the whole volume at once.
    case whole = 0
    /// Overlapping windows of the model's patch size, weighted sums of class scores.
    case windows = 1
}

/// Everything a run will touch, computed from the model and the volume's size before a voxel is read.
public struct RunPlan: Sendable {
    public let mode: ExecutionMode
    public let threads: Int
    /// Size of the volume in the model's grid.
    public let volume: Extent
    /// Size of the network's input: the volume, or the patch.
    public let extent: Extent
    public let layouts: [TensorLayout]
    public let buffers: [PlannedBuffer]
    public let arenaBytes: Int
    public let lowerBoundBytes: Int
    /// Windows along depth, height, width; empty when the whole volume is run at once.
    public let windows: [WindowAxis]
    /// Index of the first op of the tail that runs row by row: [pointwise convolution, argmax] or [argmax].
    let tail: Int
    let scoreTensor: Int

    public var windowCount: Int { windows.reduce(1) { $0 * $1.starts.count } }

    /// - Parameters:
    ///   - volume: size in the model's grid.
    ///   - materializeScores: keep the class scores as a whole tensor, for an observer.
    public init(
        file: ModelFile, volume: Extent, mode: ExecutionMode, threads: Int, materializeScores: Bool = false
    ) throws(RuntimeError) {
        // 2^31 voxels of four bytes times the channels of any network stay far inside Int.
        guard volume.depth > 0, volume.height > 0, volume.width > 0, volume.depth <= 32767, volume.height <= 32767,
            volume.width <= 32767, volume.voxels <= 1 << 31
        else { throw RuntimeError(.volumeTooLarge, need: 1 << 31, have: 0) }
        self.mode = mode
        self.threads = threads
        self.volume = volume
        windows = mode == .windows ? try Self.windowAxes(file, volume) : []
        extent =
            mode == .windows
            ? Extent(depth: windows[0].patch, height: windows[1].patch, width: windows[2].patch) : volume
        layouts = try Self.layouts(file, extent)
        let last = file.opCount - 1
        scoreTensor = file.operand(file.op(last), 0)
        try Self.checkScores(layouts[scoreTensor].extent, within: extent, mode)
        tail = !materializeScores && Self.canFuseHead(file) ? last - 1 : last
        var buffers = Self.buffers(file, layouts, tail: tail, threads: threads)
        if mode == .windows {
            let slab = Int(file.tensor(scoreTensor).channels) * extent.depth * volume.height * volume.width * 4
            buffers.append(PlannedBuffer(use: .scoreSlab, bytes: slab, first: 0, last: tail))
        }
        arenaBytes = BufferPlanner.place(&buffers)
        lowerBoundBytes = BufferPlanner.lowerBound(buffers)
        self.buffers = buffers
    }

    func offset(of use: PlannedBuffer.Use) -> Int {
        for buffer in buffers where buffer.use == use { return buffer.offset }
        preconditionFailure("buffer was not planned")
    }

    // MARK: Layouts

    private static func windowAxes(_ file: ModelFile, _ volume: Extent) throws(RuntimeError) -> [WindowAxis] {
        let record = file.record
        guard record.windowScheme != .none else { throw RuntimeError(.noWindowScheme) }
        // The patch is stored along the oriented first (width), second and third (depth) axis.
        let sizes = [(volume.depth, record.patch.2), (volume.height, record.patch.1), (volume.width, record.patch.0)]
        let axes = sizes.map {
            WindowAxis(
                size: $0.0, patch: Int($0.1), overlapPerMille: Int(record.overlapPerMille),
                scheme: record.windowScheme)
        }
        var sum = 1
        var overlap = 1
        for (axis, index) in zip(axes, [2, 1, 0]) {
            sum *= unsafe axis.largestSum(file.windowTable(index))
            overlap *= axis.largestOverlap
        }
        let bound = (sum >> 12) + overlap * Int(WindowWeightRule.floor)
        guard bound <= WindowWeightRule.largestSum else {
            throw RuntimeError(.windowWeightsTooLarge, need: WindowWeightRule.largestSum, have: bound)
        }
        return axes
    }

    /// Whether the model names a window scheme and labels whole windows.
    public static func supportsWindows(_ file: ModelFile) -> Bool {
        let labels = file.tensor(Int(file.record.labelTensor))
        return file.record.windowScheme != .none && labels.growth == (0, 0, 0)
    }

    /// Whether an output depends on more than its surroundings, so that windows and the whole volume are different networks.
    public static func isGlobal(_ file: ModelFile) -> Bool {
        for index in 0..<file.opCount where [.groupNorm, .scan].contains(file.op(index).kind) { return true }
        return false
    }

    /// A network without padding labels only the middle of the volume; the rest stays background.
    private static func checkScores(
        _ scores: Extent, within extent: Extent, _ mode: ExecutionMode
    ) throws(RuntimeError) {
        let eaten = [
            extent.depth - scores.depth, extent.height - scores.height, extent.width - scores.width,
        ]
        if mode == .windows, let most = eaten.max(), most > 0 { throw RuntimeError(.windowsShrink, need: most) }
    }

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
            let cell = 1 << Int(tensor.coarseness)
            guard extent.depth % cell == 0, extent.height % cell == 0, extent.width % cell == 0 else {
                throw RuntimeError(.sizeNotDivisible, index: index, need: cell)
            }
            let grown = Extent(
                depth: extent.depth / cell + Int(tensor.growth.0), height: extent.height / cell + Int(tensor.growth.1),
                width: extent.width / cell + Int(tensor.growth.2))
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

    // MARK: Buffers

    /// The last convolution can feed argmax one row at a time when it is pointwise and nobody else reads its output.
    private static func canFuseHead(_ file: ModelFile) -> Bool {
        let last = file.opCount - 1
        guard last >= 1, file.op(last - 1).kind == .conv3d,
            Int(file.op(last - 1).output) == file.operand(file.op(last), 0)
        else { return false }
        return file.conv3D(file.op(last - 1)).isPointwise
    }

    private static func buffers(
        _ file: ModelFile, _ layouts: [TensorLayout], tail: Int, threads: Int
    ) -> [PlannedBuffer] {
        let inPlace = inPlaceTargets(file, layouts)
        var result: [PlannedBuffer] = []
        for tensor in 0..<file.tensorCount where inPlace[tensor] == nil {
            guard file.tensor(tensor).storage != .labels, let life = lifetime(tensor, file, inPlace, tail) else {
                continue
            }
            result.append(
                PlannedBuffer(
                    use: .tensor(tensor), bytes: layouts[tensor].byteCount, first: life.lowerBound,
                    last: life.upperBound))
        }
        for index in 0..<file.opCount {
            let bytes = scratchBytes(file, file.op(index), layouts, threads: threads)
            guard bytes > 0 else { continue }
            let step = min(index, tail)
            result.append(PlannedBuffer(use: .scratch(index), bytes: bytes, first: step, last: step))
        }
        if tail < file.opCount - 1 {
            let row = scoreRow(file, layouts).byteCount
            result.append(
                PlannedBuffer(use: .scoreRows, bytes: BufferPlanner.aligned(row) * threads, first: tail, last: tail))
        }
        return result
    }

    private static func scratchBytes(
        _ file: ModelFile, _ op: OpRecord, _ layouts: [TensorLayout], threads: Int
    ) -> Int {
        switch op.kind {
        case .conv3d: file.conv3D(op).scratchBytes(input: layouts[file.operand(op, 0)])
        case .scan: file.scan(op).scratchBytes(threads: threads)
        case .groupNorm: NormScratch(channels: file.norm(op).channels, threads: threads).byteCount
        default: 0
        }
    }

    /// Output tensor of a look-up → the tensor whose buffer it reuses, where that is not read again.
    static func inPlaceTargets(_ file: ModelFile, _ layouts: [TensorLayout]) -> [Int: Int] {
        var result: [Int: Int] = [:]
        for index in 0..<file.opCount where file.op(index).kind == .lookup {
            let op = file.op(index)
            let input = file.operand(op, 0)
            guard layouts[input] == layouts[Int(op.output)], lastUse(of: input, file) == index else { continue }
            result[Int(op.output)] = result[input] ?? input
        }
        return result
    }

    private static func lastUse(of tensor: Int, _ file: ModelFile) -> Int {
        var last = -1
        for index in 0..<file.opCount {
            let op = file.op(index)
            for i in 0..<Int(op.operandCount) where file.operand(op, i) == tensor { last = index }
        }
        return last
    }

    /// Steps during which the buffer of `tensor` (and of those that reuse it) holds data; nil when it never does.
    private static func lifetime(
        _ tensor: Int, _ file: ModelFile, _ inPlace: [Int: Int], _ tail: Int
    ) -> ClosedRange<Int>? {
        var first = tensor == Int(file.record.inputTensor) ? 0 : Int.max
        var last = -1
        for member in 0..<file.tensorCount where member == tensor || inPlace[member] == tensor {
            last = max(last, min(lastUse(of: member, file), tail))
            for index in 0..<file.opCount where Int(file.op(index).output) == member && index < max(tail, 1) + 1 {
                // The score tensor of a fused head exists row by row only.
                if index >= tail && tail < file.opCount - 1 { continue }
                first = min(first, index)
                last = max(last, index)
            }
        }
        return first <= last ? first...last : nil
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
