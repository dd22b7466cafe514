import FlatGraph
import Ops

/// Where work is done. The runtime has no threads of its own: the host passes a pool, bare metal `SerialPool`.
public protocol WorkPool {
    /// Runs `body(0) … body(count - 1)`, in any order or at the same time, and returns when all are done.
    func forEach(_ count: Int, _ body: (Int) -> Void)
}

public struct SerialPool: WorkPool {
    public init() {}
    public func forEach(_ count: Int, _ body: (Int) -> Void) {
        for index in 0..<count { body(index) }
    }
}

/// Called after each unit of work; false cancels the run.
public typealias ProgressReport = (_ done: Int, _ total: Int) -> Bool

/// Sees the output of each op in whole-volume mode: op index, layout and first byte of the tensor.
public typealias OpObserver = (_ op: Int, _ layout: TensorLayout, _ tensor: UnsafeRawPointer) -> Void

/// Executes a plan in caller-owned memory. Nothing is allocated while it runs.
@safe public struct Session {
    let file: ModelFile
    let plan: RunPlan
    let isa: ISA
    let arena: UnsafeMutableRawPointer
    let steps: [Step]

    /// What an op needs at run time, resolved once.
    struct Step {
        var op: OpRecord
        var conv: Conv3D?
        var concat: Concat?
        var inputs: [Int]
        var inputLayouts: [TensorLayout]
        var output: Int
        var scratch: Int?
    }

    /// - Parameter arena: at least `plan.arenaBytes` bytes aligned to 64; the caller keeps it alive.
    public init(
        file: ModelFile, plan: RunPlan, arena: UnsafeMutableRawBufferPointer, isa: ISA
    ) throws(RuntimeError) {
        guard arena.count >= plan.arenaBytes, let base = arena.baseAddress else {
            throw RuntimeError(.arenaTooSmall, need: plan.arenaBytes, have: arena.count)
        }
        guard UInt(bitPattern: base) % 64 == 0 else { throw RuntimeError(.arenaMisaligned) }
        self.file = file
        self.plan = plan
        self.isa = isa
        unsafe self.arena = base
        steps = Self.resolve(file, plan)
    }

    private static func resolve(_ file: ModelFile, _ plan: RunPlan) -> [Step] {
        let inPlace = RunPlan.inPlaceTargets(file, plan.layouts)
        func offset(_ tensor: Int) -> Int {
            let owner = inPlace[tensor] ?? tensor
            for buffer in plan.buffers where buffer.use == .tensor(owner) { return buffer.offset }
            return -1  // labels, or scores that exist row by row
        }
        return (0..<file.opCount).map { index in
            let op = file.op(index)
            let conv = op.kind == .conv3d ? file.conv3D(op) : nil
            let hasScratch = plan.buffers.contains { $0.use == .scratch(index) }
            let tensors = (0..<Int(op.operandCount)).map { file.operand(op, $0) }
            let layouts = tensors.map { plan.layouts[$0] }
            return Step(
                op: op, conv: conv, concat: op.kind == .concat ? Concat(channels: layouts.map(\.channels)) : nil,
                inputs: tensors.map(offset), inputLayouts: layouts, output: offset(Int(op.output)),
                scratch: hasScratch ? plan.offset(of: .scratch(index)) : nil)
        }
    }

    /// Segments a volume.
    ///
    /// - Parameters:
    ///   - codes: input codes `[channel][depth][height][width]`, one byte each, of the plan's volume.
    ///   - labels: class indices `[depth][height][width]`, one byte each up to 256 classes, else two (native order).
    public func run(
        codes: UnsafeBufferPointer<UInt8>, labels: UnsafeMutableRawBufferPointer, parallel: some WorkPool,
        progress: ProgressReport = { _, _ in true }, observer: OpObserver? = nil
    ) throws(RuntimeError) {
        let input = file.tensor(Int(file.record.inputTensor))
        let argmax = Argmax(classes: file.classCount)
        precondition(codes.count == plan.volume.voxels * Int(input.channels), "codes do not match the plan")
        precondition(labels.count == plan.volume.voxels * argmax.labelBytes, "labels do not match the plan")
        switch plan.mode {
        case .whole:
            unsafe try runWhole(codes, labels, parallel, progress, observer)
        case .windows:
            unsafe try runWindows(codes, labels, parallel, progress)
        }
    }

    // MARK: Whole volume

    private func runWhole(
        _ codes: UnsafeBufferPointer<UInt8>, _ labels: UnsafeMutableRawBufferPointer, _ parallel: some WorkPool,
        _ progress: ProgressReport, _ observer: OpObserver?
    ) throws(RuntimeError) {
        unsafe loadInput(codes, origin: (0, 0, 0), parallel)
        let total = file.opCount
        for index in 0..<plan.tail {
            unsafe try runOp(index, parallel, observer)
            guard progress(index + 1, total) else { throw RuntimeError(.cancelled) }
        }
        let argmax = Argmax(classes: file.classCount)
        let volume = plan.volume
        let scored = plan.layouts[plan.scoreTensor].extent
        if scored != volume { unsafe labels.initializeMemory(as: UInt8.self, repeating: 0) }
        // What a network without padding does not label is a border of equal width on both sides.
        let (z0, y0, x0) = (
            (volume.depth - scored.depth) / 2, (volume.height - scored.height) / 2, (volume.width - scored.width) / 2
        )
        unsafe forEachScoreRow(parallel) { row, scores, layout in
            let line = (row / scored.height + z0) * volume.height + row % scored.height + y0
            let offset = (line * volume.width + x0) * argmax.labelBytes
            unsafe argmax.run(scores: scores, layout: layout, labels: labels.baseAddress! + offset)
        }
        try checkGuards(after: plan.tail)
        _ = progress(total, total)
    }

    // MARK: Ops

    /// Runs one op before the tail over all its rows.
    func runOp(_ index: Int, _ parallel: some WorkPool, _ observer: OpObserver?) throws(RuntimeError) {
        let step = steps[index]
        let layout = plan.layouts[Int(step.op.output)]
        writeGuard(step.output, layout)
        switch step.op.kind {
        case .groupNorm: runGroupNorm(step, parallel)
        case .scan: runScan(step, parallel)
        default:
            fillPaddingRow(step)
            splitRows(layout.extent.rows, parallel) { rows, _ in runRows(step, rows) }
        }
        try checkGuards(after: index)
        if let observer = unsafe observer { unsafe observer(index, layout, arena + step.output) }
    }

    /// Even contiguous shares of rows, one per thread: every row is computed by the same arithmetic whoever does it, so
    /// the result does not depend on the number of threads.
    func splitRows(_ rows: Int, _ parallel: some WorkPool, _ body: (Range<Int>, Int) -> Void) {
        let threads = plan.threads
        parallel.forEach(threads) { thread in
            let range = (rows * thread / threads)..<(rows * (thread + 1) / threads)
            if !range.isEmpty { body(range, thread) }
        }
    }

    private func runRows(_ step: Step, _ rows: Range<Int>) {
        let op = step.op
        let layout = plan.layouts[Int(op.output)]
        let inputs = step.inputLayouts
        let output = unsafe arena + step.output
        let zeroPoint = file.tensor(Int(op.output)).zeroPoint
        switch op.kind {
        case .conv3d:
            unsafe step.conv!.run(
                isa: isa, buffers: buffers(step), input: inputs[0], output: layout, rows: rows,
                outputExtent: layout.extent)
        case .lookup:
            unsafe Lookup().run(
                isa: isa, table: file.table(op), input: arena + step.inputs[0], inputLayout: inputs[0],
                output: output, outputLayout: layout, zeroPoint: zeroPoint, rows: rows)
        case .add:
            unsafe file.add(op).run(
                isa: isa, a: arena + step.inputs[0], layoutA: inputs[0], b: arena + step.inputs[1],
                layoutB: inputs[1], output: output, outputLayout: layout, rows: rows)
        case .concat:
            for source in 0..<inputs.count {
                unsafe step.concat!.run(
                    source: source, input: arena + step.inputs[source], inputLayout: inputs[source], output: output,
                    outputLayout: layout, zeroPoint: zeroPoint, rows: rows)
            }
        case .argmax: preconditionFailure("argmax is the tail")
        case .groupNorm, .scan: preconditionFailure("not an op that works row by row")
        default: unsafe runTokenRows(step, layout, output, rows)
        }
    }

    private func buffers(_ step: Step, output: UnsafeMutableRawPointer? = nil) -> Conv3DBuffers {
        let row: UnsafeRawPointer? = unsafe step.scratch.map { unsafe UnsafeRawPointer(arena + $0) }
        return unsafe Conv3DBuffers(
            input: arena + step.inputs[0], output: output ?? arena + step.output, weights: file.weights(step.op),
            channels: file.channels(step.op), paddingRow: row)
    }

    // MARK: Scores, one row at a time

    /// Calls `body(row, scores, layout)` for every row of the network's output; `scores` is the row's first word.
    func forEachScoreRow(
        _ parallel: some WorkPool, _ body: (_ row: Int, _ scores: UnsafeRawPointer, _ layout: TensorLayout) -> Void
    ) {
        let full = plan.layouts[plan.scoreTensor]
        guard plan.tail < file.opCount - 1 else {
            let base = unsafe arena + steps[plan.tail].inputs[0]
            splitRows(full.extent.rows, parallel) { rows, _ in
                for row in rows {
                    unsafe body(row, base + full.rowOffset(z: 0, y: row), full)
                }
            }
            return
        }
        let layout = RunPlan.scoreRow(file, plan.layouts)
        let bytes = BufferPlanner.aligned(layout.byteCount)
        let base = unsafe arena + plan.offset(of: .scoreRows)
        let step = steps[plan.tail]
        let input = step.inputLayouts[0]
        splitRows(full.extent.rows, parallel) { rows, thread in
            let scores = unsafe base + thread * bytes
            let buffers = unsafe buffers(step, output: scores)
            for row in rows {
                unsafe step.conv!.run(
                    isa: isa, buffers: buffers, input: input, output: layout, rows: row..<(row + 1),
                    outputExtent: full.extent, rowBuffer: true)
                unsafe body(row, UnsafeRawPointer(scores) + layout.rowOffset(z: 0, y: 0), layout)
            }
        }
    }
}
