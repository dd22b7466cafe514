import FlatGraph
import Ops

/// How far ops that follow one another run as one. All give the same labels.
public enum Fusion: UInt8, Sendable, CaseIterable {
    /// Each op over its whole output, for observers of tensors.
    case none
    /// Chains of ops a few rows at a time (`RowChain`).
    case rows
    /// Besides, Kolmogorov-Arnold layers by tables per edge (`Ops.KANEdges`) where these stay in a second-level cache and are read
    /// so often that filling it pays.
    case tablesWhereFaster
    /// By tables wherever they have 16 bits.
    case tables
}

/// Ops one behind the other, each of which reads voxel by voxel what the one before it writes and nobody else reads. A few rows at
/// a time go through all of them, so that what lies between stays in the cache and needs no tensor.
struct RowChain: Sendable {
    /// Two or more.
    let ops: Range<Int>
    /// Rows at a time.
    let rows: Int
    /// What each op but the last one writes, of these rows.
    let layouts: [TensorLayout]

    /// - Parameters:
    ///   - bytes: that the ops of a chain may write at a time.
    ///   - layout: of what op i writes.
    ///   - tail: first op that works row by row at the end.
    static func find(
        _ file: ModelFile, _ splines: [SplineLayer], _ blocks: [TokenBlock], tail: Int, bytes: Int,
        layout: (_ op: Int) -> TensorLayout
    ) -> [RowChain] {
        var result: [RowChain] = []
        guard hasBlockOps else { return result }
        let readers = readers(file)
        var first = 0
        while first < tail {
            var end = first + 1
            while end < tail, joins(end, file, readers, splines, blocks) { end += 1 }
            if end > first + 1 { result.append(RowChain(first..<end, bytes, layout)) }
            first = end
        }
        return result
    }

    private init(_ ops: Range<Int>, _ bytes: Int, _ layout: (Int) -> TensorLayout) {
        let full = ops.map(layout)
        let rows = min(max(1, bytes / full.reduce(0) { $0 + $1.blocks * $1.rowPitch }), full[0].extent.rows)
        self.ops = ops
        self.rows = rows
        layouts = full.dropLast().map {
            TensorLayout(channels: $0.channels, extent: $0.extent, element: $0.element, heldRows: rows)
        }
    }

    /// The chain that op `index` belongs to.
    static func of(_ index: Int, _ chains: [RowChain]) -> RowChain? {
        for chain in chains where chain.ops.contains(index) { return chain }
        return nil
    }

    /// Rows of a tensor between two ops of the chain; nil for any other tensor.
    func layout(_ tensor: Int, _ file: ModelFile) -> TensorLayout? {
        for (op, layout) in zip(ops, layouts) where Int(file.op(op).output) == tensor { return layout }
        return nil
    }

    /// By tensor: how many operands it is.
    private static func readers(_ file: ModelFile) -> [Int] {
        var result = [Int](repeating: 0, count: file.tensorCount)
        for index in 0..<file.opCount {
            let op = file.op(index)
            for i in 0..<Int(op.operandCount) { result[file.operand(op, i)] += 1 }
        }
        return result
    }

    /// Whether op `index` can take rows from the op before it.
    private static func joins(
        _ index: Int, _ file: ModelFile, _ readers: [Int], _ splines: [SplineLayer], _ blocks: [TokenBlock]
    ) -> Bool {
        let (before, op) = (file.op(index - 1), file.op(index))
        guard before.kind != .scan, before.kind != .globalPool, isVoxelwise(file, op),
            readers[Int(before.output)] == 1,
            file.tensor(Int(before.output)).span == file.tensor(Int(op.output)).span
        else { return false }
        var isRead = false
        for i in 0..<Int(op.operandCount) where file.operand(op, i) == Int(before.output) { isRead = true }
        guard isRead else { return false }
        for layer in splines where layer.basis == index || layer.conv == index { return false }
        for block in blocks {
            guard block.ops.contains(index) == block.ops.contains(index - 1) else { return false }
            guard block.ops.contains(index) else { continue }
            let position = index - block.ops.lowerBound
            guard block.leadsBackward[position] == block.leadsBackward[position - 1] else { return false }
        }
        return true
    }

    /// Whether a voxel of the output depends on this voxel of the operands and no other.
    private static func isVoxelwise(_ file: ModelFile, _ op: OpRecord) -> Bool {
        switch op.kind {
        case .conv3d: file.conv3D(op).isPointwise
        case .lookup, .lookupWide, .add, .addWide, .multiply, .concat, .narrow, .layerNorm, .kanBasis, .gate: true
        default: false
        }
    }
}

extension RunPlan {
    /// What the ops of a chain write at a time: with what they read, well below a second-level cache.
    public static let chainBytes = 1 << 18

    /// The chain that op `index` belongs to.
    func chain(_ index: Int) -> RowChain? { hasBlockOps ? RowChain.of(index, chains) : nil }
}

extension Session {
    /// Runs an op, or the chain that it begins, over all of its rows (of a streamed block: of a chunk).
    func runChain(_ index: Int, rows: Int, _ parallel: some WorkPool) {
        let (step, end) = (steps[index], steps[index].chainEnd)
        fillPaddingRow(step)
        if steps[end].takesSums { clearSums(steps[end + 1]) }
        switch step.op.kind {
        case .groupNorm: runGroupNorm(index, parallel)
        case .scan: runScan(index, parallel)
        case .globalPool: runGlobalPool(index, parallel)
        default: share(.op(index), rows: rows, parallel)
        }
    }

    /// Runs rows of a chain, or of a single op, and adds them to the sums of a normalization behind it while they are in the cache.
    func runChain(_ first: Int, _ rows: Range<Int>, _ thread: Int) {
        let (few, end) = (steps[first].rowsAtATime, steps[first].chainEnd)
        for start in stride(from: rows.lowerBound, to: rows.upperBound, by: few) {
            let part = start..<min(start + few, rows.upperBound)
            for index in first...end {
                let step = steps[index]
                timed(index, thread, voxels: part.count * step.outputLayout.extent.width) {
                    unsafe runRows(step, part, thread, output: place(.output, step, part, thread)) {
                        unsafe UnsafeRawPointer(place(.input($0), step, part, thread))
                    }
                }
            }
            guard steps[end].takesSums else { continue }
            timed(end + 1, thread) { unsafe addSums(steps[end + 1], part, thread, input: arena + steps[end].output) }
        }
    }

    private enum Side {
        case input(Int)
        case output
    }

    /// Where a tensor begins, or would if there were more of it than the rows of a chain.
    private func place(_ side: Side, _ step: Step, _ rows: Range<Int>, _ thread: Int) -> UnsafeMutableRawPointer {
        let (offset, layout) =
            switch side {
            case .input(let i): (step.inputs[i], step.inputLayouts[i])
            case .output: (step.output, step.outputLayout)
            }
        guard layout.heldRows < layout.extent.rows else { return unsafe arena + offset }
        let own = thread * BufferPlanner.aligned(layout.byteCount)
        return unsafe arena + (offset + own - rows.lowerBound * layout.rowPitch)
    }
}
