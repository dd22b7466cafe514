import FlatGraph
import Ops

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
    let lineSteps: [LineStep]
    let softmax: Softmax
    /// By first op.
    let blocks: [PlannedBlock]
    /// Of buffers that every row of scores asks for.
    let slabOffset: Int
    let scoreRowsOffset: Int
    /// Set to learn where the time goes.
    public var clock: OpClock?

    /// What an op needs at run time, resolved once.
    struct Step {
        var op: OpRecord
        var conv: Conv3D?
        var concat: Concat?
        var inputs: [Int]
        var inputLayouts: [TensorLayout]
        var output: Int
        var outputLayout: TensorLayout
        var scratch: Int?
        /// The next op is a normalization whose sums this one adds up (`RunPlan.takesSums`).
        var takesSums = false
        /// Index in the plan's `splines` of the layer that this convolution stands for, or -1.
        var spline = -1
        /// The last op that runs with this one, by turns, and how many rows at a time.
        var chainEnd = 0
        var rowsAtATime = 0
        /// Another op of the chain begins it.
        var follows = false
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
        lineSteps = LineStep.resolve(file, plan)
        softmax = Self.softmax(file, plan.scoreTensor)
        slabOffset = plan.mode == .windows ? plan.offset(of: .scoreSlab) : 0
        scoreRowsOffset = plan.tail < file.opCount - 1 ? plan.offset(of: .scoreRows) : 0
        unsafe Self.buildTables(file, plan, base)
        blocks = plan.streaming.map { streaming in plan.blocks.map { PlannedBlock($0, streaming, plan) } } ?? []
    }

    private static func softmax(_ file: ModelFile, _ scores: Int) -> Softmax {
        let scale = file.scale(Int(file.tensor(scores).scaleOffset))
        return Softmax(classes: file.classCount, scale: scale)
    }

    private static func resolve(_ file: ModelFile, _ plan: RunPlan) -> [Step] {
        guard plan.lines == nil else { return [] }
        let inPlace = RunPlan.inPlaceTargets(file, plan.layouts, plan.chains)
        return (0..<file.opCount).map { resolve($0, file, plan, inPlace) }
    }

    private static func resolve(_ index: Int, _ file: ModelFile, _ plan: RunPlan, _ inPlace: [Int?]) -> Step {
        let op = file.op(index)
        let chain = plan.chain(index)
        func offset(_ tensor: Int) -> Int {
            if chain?.layout(tensor, file) != nil { return plan.offset(of: .rows(tensor)) }
            let owner = inPlace[tensor] ?? tensor
            let use =
                plan.streamedBlock(index).map { PlannedBuffer.Use.chunk(owner, block: $0.ops.lowerBound) }
                ?? .tensor(owner)
            for buffer in plan.buffers where buffer.use == use { return buffer.offset }
            return -1  // labels, or scores that exist row by row
        }
        func layout(_ tensor: Int) -> TensorLayout {
            chain?.layout(tensor, file)
                ?? TokenBlock.layout(plan.layouts[tensor], op: index, plan.blocks, plan.streaming)
        }
        let conv = op.kind == .conv3d ? file.conv3D(op) : nil
        let layer = plan.spline(conv: index)
        let tensors =
            layer >= 0 ? [plan.splines[layer].input] : (0..<Int(op.operandCount)).map { file.operand(op, $0) }
        let layouts = tensors.map(layout)
        let output = layout(Int(op.output))
        let takesSums = RunPlan.takesSums(file, index, plan.blocks)
        let few = RunPlan.chainBytes / (output.blocks * output.rowPitch)
        let rows = max(1, takesSums ? few : output.extent.rows)
        return Step(
            op: op, conv: conv, concat: op.kind == .concat ? Concat(channels: layouts.map { $0.channels }) : nil,
            inputs: tensors.map(offset), inputLayouts: layouts, output: offset(Int(op.output)), outputLayout: output,
            scratch: layer >= 0 ? plan.offset(of: .spline(index)) : plan.scratchOffset(index), takesSums: takesSums,
            spline: layer, chainEnd: (chain?.ops.upperBound ?? index + 1) - 1, rowsAtATime: chain?.rows ?? rows,
            follows: chain.map { $0.ops.lowerBound < index } ?? false)
    }

    /// Segments a volume in memory.
    ///
    /// - Parameters:
    ///   - codes: bytes of the input codes `[channel][depth][height][width]` of the plan's volume, one or two for each
    ///     (`ModelFile.codeBytes`; native order).
    ///   - labels: class indices `[depth][height][width]`, one byte each up to 256 classes, else two (native order).
    public func run(
        codes: UnsafeBufferPointer<UInt8>, labels: UnsafeMutableRawBufferPointer, parallel: some WorkPool,
        progress: ProgressReport = { _, _ in true }, observer: OpObserver? = nil
    ) throws(RuntimeError) {
        let channels = Int(file.tensor(Int(file.record.inputTensor)).channels)
        let source = unsafe CodeVolume(codes, extent: plan.volume, channels: channels, codeBytes: file.codeBytes)
        let sink = unsafe LabelVolume(
            labels, extent: plan.volume, bytes: Argmax(classes: file.classCount).labelBytes)
        unsafe try run(from: source, to: sink, parallel: parallel, progress: progress, observer: observer)
    }

    /// Segments a volume that comes and goes by rows and slices.
    public func run(
        from source: some CodeSource, to sink: some LabelSink, parallel: some WorkPool,
        progress: ProgressReport = { _, _ in true }, observer: OpObserver? = nil
    ) throws(RuntimeError) {
        switch plan.mode {
        case .whole: unsafe try runWhole(source, sink, parallel, progress, observer)
        case .windows: try runWindows(source, sink, parallel, progress)
        case .lines: try runLines(source, sink, parallel, progress)
        case .tiles: try runTiles(source, sink, parallel, progress)
        }
    }

    // MARK: Whole volume and tiles

    private func runWhole(
        _ source: some CodeSource, _ sink: some LabelSink, _ parallel: some WorkPool, _ progress: ProgressReport,
        _ observer: OpObserver?
    ) throws(RuntimeError) {
        try loadInput(source, origin: (0, 0, 0))
        let total = file.opCount
        for index in 0..<plan.tail {
            unsafe try runOp(index, parallel, observer)
            guard progress(index + 1, total) else { throw RuntimeError(.cancelled) }
        }
        let labelled = plan.clipped(plan.layouts[plan.scoreTensor].extent)
        // What a network without padding does not label is a border of equal width on both sides.
        let origin = (
            (plan.volume.depth - labelled.depth) / 2, (plan.volume.height - labelled.height) / 2,
            (plan.volume.width - labelled.width) / 2
        )
        try deliver((0..<labelled.depth, 0..<labelled.height, 0..<labelled.width), origin: origin, sink, parallel)
        try checkGuards(after: plan.tail)
        _ = progress(total, total)
    }

    private func runTiles(
        _ source: some CodeSource, _ sink: some LabelSink, _ parallel: some WorkPool, _ progress: ProgressReport
    ) throws(RuntimeError) {
        var done = 0
        let (zAxis, yAxis, xAxis) = (plan.windows[0], plan.windows[1], plan.windows[2])
        for (iz, z) in zAxis.starts.enumerated() {
            for (iy, y) in yAxis.starts.enumerated() {
                for (ix, x) in xAxis.starts.enumerated() {
                    try loadInput(source, origin: (z, y, x))
                    for index in 0..<plan.tail { unsafe try runOp(index, parallel, nil) }
                    func part(_ axis: Int, _ index: Int, _ start: Int) -> Range<Int> {
                        let size = [plan.volume.depth, plan.volume.height, plan.volume.width][axis]
                        let range = plan.delivered(axis, index)
                        let lower = min(range.lowerBound, size)
                        return (lower - start)..<(min(range.upperBound, size) - start)
                    }
                    try deliver((part(0, iz, z), part(1, iy, y), part(2, ix, x)), origin: (z, y, x), sink, parallel)
                    try checkGuards(after: plan.tail)
                    done += 1
                    guard progress(done, plan.windowCount) else { throw RuntimeError(.cancelled) }
                }
            }
        }
    }

    /// Labels of a box of the scores, slice by slice, to the volume at `origin` + box.
    private func deliver(
        _ box: (z: Range<Int>, y: Range<Int>, x: Range<Int>), origin: (Int, Int, Int), _ sink: some LabelSink,
        _ parallel: some WorkPool
    ) throws(RuntimeError) {
        let slice = unsafe arena + plan.offset(of: .labelSlice)
        for z in box.z {
            share(
                .labels(z: z, first: box.y.lowerBound, rows: box.y.count, columns: box.x), rows: box.y.count, parallel)
            unsafe packRows(slice, box.y.count, box.x)
            unsafe try give(
                sink, z: origin.0 + z, y: (origin.1 + box.y.lowerBound)..<(origin.1 + box.y.upperBound),
                x: (origin.2 + box.x.lowerBound)..<(origin.2 + box.x.upperBound), slice)
        }
    }

    /// Rows of labels of a slice of the scores, of all columns.
    func labelRows(
        _ z: Int, _ first: Int, _ count: Int, _ columns: Range<Int>, _ rows: Range<Int>, _ thread: Int
    ) {
        let argmax = Argmax(classes: file.classCount)
        let scored = plan.layouts[plan.scoreTensor].extent
        let slice = unsafe arena + plan.offset(of: .labelSlice)
        let start = z * scored.height + first
        unsafe forEachScoreRow((start + rows.lowerBound)..<(start + rows.upperBound), thread) { row, scores, layout in
            let offset = (row - start) * scored.width * argmax.labelBytes
            timed(file.opCount - 1, thread, voxels: scored.width) {
                unsafe argmax.run(isa: isa, scores: scores, layout: layout, labels: slice + offset)
            }
            guard plan.probabilities else { return }
            unsafe softmax.run(
                scores: scores, layout: layout, columns: columns,
                labels: slice + (offset + columns.lowerBound * argmax.labelBytes),
                output: probabilitySlice + (row - start) * columns.count, plane: count * columns.count)
        }
    }

    /// `[class][rows][columns]` of what is delivered.
    var probabilitySlice: UnsafeMutablePointer<UInt8> {
        unsafe (arena + plan.offset(of: .probabilitySlice)).assumingMemoryBound(to: UInt8.self)
    }

    /// Moves the columns `x` of each row together.
    private func packRows(_ slice: UnsafeMutableRawPointer, _ rows: Int, _ x: Range<Int>) {
        let bytes = Argmax(classes: file.classCount).labelBytes
        let pitch = plan.layouts[plan.scoreTensor].extent.width * bytes
        guard x.count * bytes < pitch else { return }
        for row in 0..<rows {
            unsafe (slice + row * x.count * bytes).copyMemory(
                from: slice + (row * pitch + x.lowerBound * bytes), byteCount: x.count * bytes)
        }
    }

    func give(
        _ sink: some LabelSink, z: Int, y: Range<Int>, x: Range<Int>, _ slice: UnsafeRawPointer
    ) throws(RuntimeError) {
        let bytes = y.count * x.count * Argmax(classes: file.classCount).labelBytes
        let labels = unsafe UnsafeRawBufferPointer(start: slice, count: bytes)
        guard unsafe sink.take(LabelSlice(z: z, y: y, x: x, labels: labels)) else {
            throw RuntimeError(.transferFailed)
        }
        guard plan.probabilities else { return }
        let values = unsafe UnsafeRawBufferPointer(
            start: probabilitySlice, count: y.count * x.count * file.classCount)
        guard unsafe sink.takeProbabilities(LabelSlice(z: z, y: y, x: x, labels: values)) else {
            throw RuntimeError(.transferFailed)
        }
    }

    // MARK: Ops

    /// Runs one op before the tail over all its rows; the first one of a streamed block stands for all of them.
    func runOp(_ index: Int, _ parallel: some WorkPool, _ observer: OpObserver?) throws(RuntimeError) {
        guard !plan.isLeftOut(index), !steps[index].follows else { return }
        for block in blocks where block.block.ops.contains(index) {
            guard index == block.block.ops.lowerBound else { return }
            writeGuard(block.output, plan.layouts[block.block.output])
            try runBlock(block, parallel)
            return try checkGuards(after: index)
        }
        let last = steps[index].chainEnd
        writeGuard(steps[last].output, steps[last].outputLayout)
        runChain(index, rows: steps[last].outputLayout.extent.rows, parallel)
        try checkGuards(after: index)
        if let observer = unsafe observer {
            unsafe observer(last, steps[last].outputLayout, arena + steps[last].output)
        }
    }

    /// - Parameters:
    ///   - rows: of the output; row r of every input of a row-by-row op goes with it.
    ///   - thread: whose scratch memory is used.
    ///   - input: first byte of the i-th input.
    func runRows(
        _ step: Step, _ rows: Range<Int>, _ thread: Int, output: UnsafeMutableRawPointer, view: Conv3DView? = nil,
        planes: PlaneView? = nil, input: (Int) -> UnsafeRawPointer
    ) {
        let op = step.op
        let layout = step.outputLayout
        let inputs = step.inputLayouts
        let zeroPoint = file.tensor(Int(op.output)).zeroPoint
        switch op.kind {
        case .conv3d where hasBlockOps && step.spline >= 0:
            unsafe runSplineRows(step, rows, output: output, input: input(0))
        case .conv3d:
            unsafe step.conv!.run(
                isa: isa, buffers: buffers(step, input: input(0), output: output), input: inputs[0], output: layout,
                rows: rows, outputExtent: layout.extent, view: view)
        case .lookup:
            unsafe Lookup().run(
                isa: isa, table: file.table(op), input: input(0), inputLayout: inputs[0],
                output: output, outputLayout: layout, zeroPoint: zeroPoint, rows: rows)
        case .add:
            unsafe file.add(op).run(
                isa: isa, a: input(0), layoutA: inputs[0], b: input(1),
                layoutB: inputs[1], output: output, outputLayout: layout, rows: rows)
        case .concat:
            for source in 0..<inputs.count {
                unsafe step.concat!.run(
                    source: source, input: input(source), inputLayout: inputs[source], output: output,
                    outputLayout: layout, zeroPoint: zeroPoint, rows: rows, span: file.spread(op, source))
            }
        case .argmax: preconditionFailure("argmax is the tail")
        case .groupNorm: unsafe applyNorm(step, rows, input: input(0), output: output)
        case .scan, .globalPool: preconditionFailure("not an op that works row by row")
        case .maxPool, .depthToSpace, .resize: unsafe runGridRows(step, layout, output, rows, planes, input(0))
        default: unsafe runTokenRows(step, layout, output, rows, input: input)
        }
    }

    func buffers(_ step: Step, input: UnsafeRawPointer, output: UnsafeMutableRawPointer) -> Conv3DBuffers {
        let row: UnsafeRawPointer? = unsafe step.scratch.map { unsafe UnsafeRawPointer(arena + $0) }
        return unsafe Conv3DBuffers(
            input: input, output: output, weights: file.weights(step.op),
            channels: file.channels(step.op), paddingRow: row)
    }

    // MARK: Scores, one row at a time

    /// Calls `body(row, scores, layout)` for these rows of the network's output; `scores` is the row's first word.
    func forEachScoreRow(
        _ rows: Range<Int>, _ thread: Int,
        _ body: (_ row: Int, _ scores: UnsafeRawPointer, _ layout: TensorLayout) -> Void
    ) {
        let full = plan.layouts[plan.scoreTensor]
        let step = steps[plan.tail]
        let input = unsafe UnsafeRawPointer(arena + step.inputs[0])
        guard plan.tail < file.opCount - 1 else {
            for row in rows { unsafe body(row, input + full.rowOffset(z: 0, y: row), full) }
            return
        }
        let layout = RunPlan.scoreRow(file, plan.layouts)
        let scores = unsafe arena + (scoreRowsOffset + thread * BufferPlanner.aligned(layout.byteCount))
        let buffers = unsafe buffers(step, input: input, output: scores)
        for row in rows {
            timed(plan.tail, thread, voxels: full.extent.width) {
                unsafe step.conv!.run(
                    isa: isa, buffers: buffers, input: step.inputLayouts[0], output: layout, rows: row..<(row + 1),
                    outputExtent: full.extent, rowBuffer: true)
            }
            unsafe body(row, UnsafeRawPointer(scores) + layout.rowOffset(z: 0, y: 0), layout)
        }
    }
}

extension RunPlan {
    func scratchOffset(_ op: Int) -> Int? {
        for buffer in buffers where buffer.use == .scratch(op) { return buffer.offset }
        return nil
    }
}
