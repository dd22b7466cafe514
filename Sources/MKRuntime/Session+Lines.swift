import FlatGraph
import Ops

/// One op of a slice-by-slice pass, resolved for one tile: where its rings lie and which part of a slice it computes.
struct LineStep {
    var index: Int
    /// Layouts are rings; inputs and output are their offsets.
    var step: Session.Step
    var output: Int
    var inputs: [Int]
    /// Slice z of the output is computed in round z + delay.
    var delay: Int
    /// Slices of the whole output.
    var depth: Int
    /// First row and column of the output's part.
    var origin: (y: Int, x: Int)
    /// The same of every input's part, subtracted from the output's.
    var shifts: [(y: Int, x: Int)]
    /// The whole first input.
    var inputExtent: Extent

    /// All steps: by tile, and in a tile by op. Empty in other modes.
    static func resolve(_ file: ModelFile, _ plan: RunPlan) -> [LineStep] {
        guard let lines = plan.lines else { return [] }
        return lines.tiles.indices.flatMap { tile in
            lines.segments.indices.flatMap { segment in
                let ops = lines.segments[segment].ops
                let last = lines.segments[segment].stored == nil
                return (ops.lowerBound..<(last ? plan.tail + 1 : ops.upperBound)).map {
                    LineStep($0, file, plan, lines, tile, segment)
                }
            }
        }
    }

    /// For an op between grids.
    var planes: PlaneView {
        PlaneView(
            outputY: origin.y, outputX: origin.x, inputY: origin.y - shifts[0].y, inputX: origin.x - shifts[0].x,
            inputExtent: inputExtent)
    }

    /// For a convolution: where the input of the part's first row and column lies in what is held of it.
    var window: Conv3DView {
        let stride = step.conv!.stride
        return Conv3DView(
            depth: inputExtent.depth, offsetY: (stride.height - 1) * origin.y + shifts[0].y,
            offsetX: (stride.width - 1) * origin.x + shifts[0].x)
    }

    private init(_ index: Int, _ file: ModelFile, _ plan: RunPlan, _ lines: LinesPlan, _ tile: Int, _ segment: Int) {
        let op = file.op(index)
        let source = lines.segments[segment].source
        let regions = lines.tiles[tile].regions
        func ring(_ tensor: Int) -> TensorLayout {
            lines.layout(file, plan.layouts, segment: segment, tensor: tensor, tile: tile)
                ?? TensorLayout(channels: 1, extent: Extent(cube: 1), element: .u8)
        }
        func offset(_ tensor: Int) -> Int {
            for buffer in plan.buffers where buffer.use == .ring(tensor, segment: segment) { return buffer.offset }
            return -1
        }
        let tensors = (0..<Int(op.operandCount)).map { file.operand(op, $0) }
        let layouts = tensors.map(ring)
        self.index = index
        output = Int(op.output)
        inputs = tensors
        let isTail = index == plan.tail
        let delays = tensors.map { $0 == source ? 0 : lines.delay[$0] }
        delay = isTail ? delays.max() ?? 0 : lines.delay[Int(op.output)]
        depth = plan.layouts[isTail ? plan.scoreTensor : Int(op.output)].extent.depth
        inputExtent = plan.layouts[tensors[0]].extent
        let box = lines.tiles[tile].box
        let own = isTail ? box : regions[Int(op.output)] ?? box
        let origin = (y: own.y.lowerBound, x: own.x.lowerBound)
        self.origin = origin
        shifts = tensors.map {
            guard let region = regions[$0] else { return (0, 0) }
            return (origin.y - region.y.lowerBound, origin.x - region.x.lowerBound)
        }
        step = Session.Step(
            op: op, conv: op.kind == .conv3d ? file.conv3D(op) : nil,
            concat: op.kind == .concat ? Concat(channels: layouts.map { $0.channels }) : nil,
            inputs: tensors.map(offset), inputLayouts: layouts,
            output: isTail ? -1 : offset(Int(op.output)), outputLayout: ring(Int(op.output)),
            scratch: plan.scratchOffset(index))
    }
}

extension Session {
    /// Tile by tile, segment by segment, round by round (see `LinesPlan`).
    func runLines(
        _ source: some CodeSource, _ sink: some LabelSink, _ parallel: some WorkPool, _ progress: ProgressReport
    ) throws(RuntimeError) {
        let lines = plan.lines!
        var first = 0
        let total = lineRounds(lines)
        var done = 0
        func tick() -> Bool {
            done += 1
            return progress(done, total)
        }
        for tile in lines.tiles.indices {
            for (index, segment) in lines.segments.enumerated() {
                let count = segment.ops.count + (segment.stored == nil ? 1 : 0)
                let steps = first..<(first + count)
                first += count
                prepare(steps, segment)
                let pass = LinePass(tile: tile, segment: index, steps: steps)
                if let norm = segment.norm {
                    let end = steps.lowerBound + norm - segment.ops.lowerBound
                    clearSums(lineSteps[end].step)
                    try run(pass, until: end, source, sink, parallel, tick: tick)
                    reduceSums(lineSteps[end].step)
                }
                try run(pass, until: steps.upperBound, source, sink, parallel, tick: tick)
            }
        }
    }

    private struct LinePass {
        var tile: Int
        var segment: Int
        var steps: Range<Int>
    }

    private func lineRounds(_ lines: LinesPlan) -> Int {
        var first = 0
        var total = 0
        for _ in lines.tiles {
            for segment in lines.segments {
                let count = segment.ops.count + (segment.stored == nil ? 1 : 0)
                if let norm = segment.norm {
                    total += rounds(first..<(first + norm - segment.ops.lowerBound + 1), segment)
                }
                total += rounds(first..<(first + count), segment)
                first += count
            }
        }
        return total
    }

    /// Rounds until the last slice of the last of these steps is done.
    private func rounds(_ steps: Range<Int>, _ segment: LinesPlan.Segment) -> Int {
        steps.reduce(plan.layouts[segment.source].extent.depth) {
            max($0, lineSteps[$1].delay + lineSteps[$1].depth)
        }
    }

    /// Guards behind every ring, zero points in the padding rows.
    private func prepare(_ steps: Range<Int>, _ segment: LinesPlan.Segment) {
        for index in steps {
            let line = lineSteps[index]
            fillPaddingRow(line.step)
            if line.step.output >= 0 { writeGuard(line.step.output, line.step.outputLayout) }
            for (offset, layout) in zip(line.step.inputs, line.step.inputLayouts) where offset >= 0 {
                writeGuard(offset, layout)
            }
        }
    }

    /// One pass over a segment. With `end` at the normalization of the segment its sums are taken there, and nothing is stored.
    private func run(
        _ pass: LinePass, until end: Int, _ source: some CodeSource, _ sink: some LabelSink,
        _ parallel: some WorkPool, tick: () -> Bool
    ) throws(RuntimeError) {
        let segment = plan.lines!.segments[pass.segment]
        let takesSums = end < pass.steps.upperBound
        let steps = pass.steps.lowerBound..<(takesSums ? end + 1 : end)
        for round in 0..<rounds(steps, segment) {
            try timedCopy { () throws(RuntimeError) in try loadRing(pass, segment, round, source) }
            for index in steps {
                let z = round - lineSteps[index].delay
                guard z >= 0, z < lineSteps[index].depth else { continue }
                if takesSums && index == end {
                    addSliceSums(index, z, parallel)
                } else if lineSteps[index].index == plan.tail {
                    try labelSlice(index, z, pass, sink, parallel)
                } else {
                    runSlice(index, z, parallel)
                    if lineSteps[index].output == segment.stored {
                        timedCopy { storeSlice(lineSteps[index], z) }
                    }
                }
            }
            guard tick() else { throw RuntimeError(.cancelled) }
        }
        for index in steps where lineSteps[index].step.output >= 0 {
            let step = lineSteps[index].step
            guard isGuardIntact(step.output, step.outputLayout) else {
                throw RuntimeError(.guardOverwritten, index: lineSteps[index].index)
            }
        }
    }

    /// Slice z of an op before the tail.
    private func runSlice(_ index: Int, _ z: Int, _ parallel: some WorkPool) {
        let step = lineSteps[index].step
        if hasBlockOps, step.op.kind == .globalPool {
            let extent = step.inputLayouts[0].extent
            clearPoolSums(step)
            addSliceSums(index, z, parallel)
            timed(lineSteps[index].index, 0, voxels: 1) {
                writeMeans(step, row: z % step.outputLayout.extent.depth, voxels: extent.height * extent.width)
            }
            return
        }
        if isPerSlice(step) {
            clearSums(step)
            addSliceSums(index, z, parallel)
            reduceSums(step)
        }
        share(.slice(index, z: z), rows: step.outputLayout.extent.height, parallel)
    }

    // MARK: Slices

    /// Slice `round` of the segment's source into its ring: from the image, or from the stored volume.
    private func loadRing(
        _ pass: LinePass, _ segment: LinesPlan.Segment, _ round: Int, _ source: some CodeSource
    ) throws(RuntimeError) {
        guard round < plan.layouts[segment.source].extent.depth,
            let region = plan.lines!.tiles[pass.tile].regions[segment.source],
            let layout = plan.lines!.layout(
                file, plan.layouts, segment: pass.segment, tensor: segment.source, tile: pass.tile)
        else { return }
        let base = unsafe arena + plan.offset(of: .ring(segment.source, segment: pass.segment))
        let slot = round % layout.extent.depth
        if segment.source == Int(file.record.inputTensor) {
            unsafe try loadSlice(
                source, z: round, y0: region.y.lowerBound, x0: region.x.lowerBound, slot: slot, layout, base)
        } else {
            let zeroPoint = file.tensor(segment.source).zeroPoint
            unsafe copyStored(segment.source, round) { row, block, stored, bytes in
                let target = unsafe base + layout.rowOffset(block: block, z: slot, y: row)
                unsafe target.copyMemory(from: stored, byteCount: bytes)
                unsafe layout.fillGapsAround(
                    row: slot * layout.extent.height + row, block: block, base: base, zeroPoint: zeroPoint)
            }
        }
    }

    private func storeSlice(_ line: LineStep, _ z: Int) {
        let layout = line.step.outputLayout
        let base = unsafe arena + line.step.output
        unsafe copyStored(line.output, z) { row, block, stored, bytes in
            unsafe stored.copyMemory(
                from: base + layout.rowOffset(block: block, z: z % layout.extent.depth, y: row), byteCount: bytes)
        }
    }

    /// Calls `body(row, block, first byte, bytes)` for every row of a stored slice.
    private func copyStored(_ tensor: Int, _ z: Int, _ body: (Int, Int, UnsafeMutableRawPointer, Int) -> Void) {
        let stored = RunPlan.storedSlice(plan.layouts[tensor])
        let pitch = plan.lines!.storedSliceBytes
        let slice = unsafe arena + (plan.offset(of: .volume) + z * pitch)
        for block in 0..<stored.blocks {
            for row in 0..<stored.extent.height {
                unsafe body(row, block, slice + stored.rowOffset(block: block, z: 0, y: row), stored.extent.width * 4)
            }
        }
    }

    /// Where input `i` of a row-by-row op has to start so that row r of the output's slot meets the right row.
    private func shifted(_ line: LineStep, _ i: Int, _ z: Int) -> UnsafeRawPointer {
        let layout = line.step.inputLayouts[i]
        // Where a voxel stands for a slice, a slice of the output meets one row.
        let height = file.spread(line.step.op, i) == .slice ? 1 : line.step.outputLayout.extent.height
        let rows =
            z % layout.extent.depth * layout.extent.height + line.shifts[i].y
            - z % line.step.outputLayout.extent.depth * height
        return unsafe UnsafeRawPointer(arena + line.step.inputs[i] + (rows * layout.rowPitch + line.shifts[i].x * 4))
    }

    func sliceRows(_ line: LineStep, _ z: Int, _ rows: Range<Int>) {
        let step = line.step
        let height = step.outputLayout.extent.height
        let slot = z % step.outputLayout.extent.depth
        let output = unsafe arena + step.output
        let inSlot = (slot * height + rows.lowerBound)..<(slot * height + rows.upperBound)
        switch step.op.kind {
        case .conv3d:
            let inVolume = (z * height + rows.lowerBound)..<(z * height + rows.upperBound)
            unsafe runRows(step, inVolume, 0, output: output, view: line.window) { _ in
                unsafe UnsafeRawPointer(arena + step.inputs[0])
            }
        case .maxPool, .depthToSpace, .resize:
            let inVolume = (z * height + rows.lowerBound)..<(z * height + rows.upperBound)
            unsafe runRows(step, inVolume, 0, output: output, planes: line.planes) { _ in
                unsafe UnsafeRawPointer(arena + step.inputs[0])
            }
        case .groupNorm: unsafe applyNorm(step, inSlot, input: shifted(line, 0, z), output: output)
        default: unsafe runRows(step, inSlot, 0, output: output) { unsafe shifted(line, $0, z) }
        }
    }

    private func isPerSlice(_ step: Step) -> Bool {
        guard hasBlockOps, step.op.kind == .groupNorm else { return false }
        return file.norm(step.op).isPerSlice
    }

    private func addSliceSums(_ index: Int, _ z: Int, _ parallel: some WorkPool) {
        share(.sliceSums(index, z: z), rows: lineSteps[index].step.inputLayouts[0].extent.height, parallel)
    }

    func sliceSums(_ line: LineStep, _ z: Int, _ rows: Range<Int>, _ thread: Int) {
        let layout = line.step.inputLayouts[0]
        let slot = z % layout.extent.depth * layout.extent.height
        let input = unsafe UnsafeRawPointer(arena + line.step.inputs[0] + slot * layout.rowPitch)
        if line.step.op.kind == .globalPool {
            unsafe addPoolSums(line.step, rows, thread, input: input)
        } else {
            unsafe addSums(line.step, rows, thread, input: input)
        }
    }

    /// The tail for slice z of a tile: scores row by row, labels, and out.
    private func labelSlice(
        _ index: Int, _ z: Int, _ pass: LinePass, _ sink: some LabelSink, _ parallel: some WorkPool
    ) throws(RuntimeError) {
        let box = plan.lines!.tiles[pass.tile].box
        share(.sliceLabels(index, z: z, box: box), rows: box.y.count, parallel)
        let labelled = plan.clipped(plan.layouts[plan.scoreTensor].extent)
        let origin = (
            (plan.volume.depth - labelled.depth) / 2, (plan.volume.height - labelled.height) / 2,
            (plan.volume.width - labelled.width) / 2
        )
        unsafe try give(
            sink, z: origin.0 + z, y: (origin.1 + box.y.lowerBound)..<(origin.1 + box.y.upperBound),
            x: (origin.2 + box.x.lowerBound)..<(origin.2 + box.x.upperBound), arena + plan.offset(of: .labelSlice))
    }

    func tileLabels(_ line: LineStep, _ z: Int, _ rows: Range<Int>, _ thread: Int, _ box: LinesPlan.Region) {
        let argmax = Argmax(classes: file.classCount)
        let labels = unsafe arena + plan.offset(of: .labelSlice)
        let pitch = box.x.count * argmax.labelBytes
        unsafe forEachTileRow(line, z, rows, thread, box) { row, scores, layout in
            timed(file.opCount - 1, thread, voxels: box.x.count) {
                unsafe argmax.run(isa: isa, scores: scores, layout: layout, labels: labels + row * pitch)
            }
            guard plan.probabilities else { return }
            unsafe softmax.run(
                scores: scores, layout: layout, columns: 0..<box.x.count, labels: labels + row * pitch,
                output: probabilitySlice + row * box.x.count, plane: box.area)
        }
    }

    private func forEachTileRow(
        _ line: LineStep, _ z: Int, _ rows: Range<Int>, _ thread: Int, _ box: LinesPlan.Region,
        _ body: (Int, UnsafeRawPointer, TensorLayout) -> Void
    ) {
        let step = line.step
        let input = step.inputLayouts[0]
        let base = unsafe UnsafeRawPointer(arena + step.inputs[0])
        guard plan.tail < file.opCount - 1 else {
            // Channels of the whole ring, columns of the tile.
            for row in rows {
                let offset =
                    input.rowOffset(z: z % input.extent.depth, y: row + line.shifts[0].y) + line.shifts[0].x * 4
                unsafe body(row, base + offset, input)
            }
            return
        }
        let full = RunPlan.scoreRow(file, plan.layouts)
        let layout = TensorLayout(
            channels: full.channels, extent: Extent(depth: 1, height: 1, width: box.x.count), element: full.element)
        let scores = unsafe arena + (plan.offset(of: .scoreRows) + thread * BufferPlanner.aligned(full.byteCount))
        let buffers = unsafe buffers(step, input: base, output: scores)
        for row in rows {
            let inVolume = z * box.y.count + row
            timed(plan.tail, thread, voxels: box.x.count) {
                unsafe step.conv!.run(
                    isa: isa, buffers: buffers, input: input, output: layout, rows: inVolume..<(inVolume + 1),
                    outputExtent: Extent(depth: line.depth, height: box.y.count, width: box.x.count), rowBuffer: true,
                    view: line.window)
            }
            unsafe body(row, UnsafeRawPointer(scores) + layout.rowOffset(z: 0, y: 0), layout)
        }
    }
}
