import FlatGraph
import Ops

extension Session {
    /// Runs a block of ops chunk by chunk: the backward scans from the last chunk to the first, then everything from the first
    /// to the last.
    func runBlock(_ block: PlannedBlock, _ parallel: some WorkPool) throws(RuntimeError) {
        guard hasBlockOps else { return }
        let (tokens, size) = (plan.layouts[block.block.input].extent.voxels, block.streaming.chunk)
        let count = block.block.chunks(tokens, size)
        for index in block.block.ops where steps[index].op.kind == .scan {
            unsafe file.scan(steps[index].op).reset(state(steps[index]))
        }
        for index in (0..<count).reversed() where !block.block.backward.isEmpty {
            let place = block.block.chunk(index, size, tokens: tokens)
            timedCopy { copyIn(block, place.held) }
            for op in block.block.ops where block.block.leadsBackward[op - block.block.ops.lowerBound] {
                if steps[op].op.kind == .scan { keepState(block, op, index) }
                runChunkOp(block, op, place, tokens, parallel)
                if steps[op].op.kind == .scan, block.streaming.keepsBackwardOutput {
                    timedCopy { keepOutput(block, op, place) }
                }
            }
        }
        for index in 0..<count {
            let place = block.block.chunk(index, size, tokens: tokens)
            timedCopy { copyIn(block, place.held) }
            for op in block.block.ops {
                let isBackward = block.block.backward.contains(op)
                if isBackward, block.streaming.keepsBackwardOutput {
                    timedCopy { fetchOutput(block, op, place) }
                    continue
                }
                if isBackward { restoreState(block, op, index) }
                runChunkOp(block, op, place, tokens, parallel)
            }
            timedCopy { copyOut(block, place) }
        }
    }

    private func state(_ step: Step) -> UnsafeMutablePointer<Int32> {
        unsafe (arena + step.scratch!).assumingMemoryBound(to: Int32.self)
    }

    private func runChunkOp(
        _ block: PlannedBlock, _ op: Int, _ place: (own: Range<Int>, held: Range<Int>), _ tokens: Int,
        _ parallel: some WorkPool
    ) {
        guard !plan.isLeftOut(op), !steps[op].follows else { return }
        let step = steps[op]
        switch step.op.kind {
        case .scan:
            let own = (place.own.lowerBound - place.held.lowerBound)..<(place.own.upperBound - place.held.lowerBound)
            return share(.chunkScan(op, tokens: own), rows: file.scan(step.op).groups, parallel)
        case .tokenConv where place.held.upperBound == tokens: clearAfter(step, place.held.count)
        default: break
        }
        runChain(op, rows: rows(place), parallel)
    }

    private func rows(_ place: (own: Range<Int>, held: Range<Int>)) -> Int {
        (place.held.count + TokenBlock.row - 1) / TokenBlock.row
    }

    /// Behind the last token of the sequence a convolution reads the code of real zero.
    private func clearAfter(_ step: Step, _ count: Int) {
        let layout = step.inputLayouts[0]
        let zeroPoint = file.tokenConv(step.op).inputZeroPoint
        for block in 0..<layout.blocks {
            let start = unsafe arena + (step.inputs[0] + layout.rowOffset(block: block, z: 0, y: 0) + 4 * count)
            unsafe start.initializeMemory(
                as: UInt8.self, repeating: zeroPoint, count: 4 * (layout.extent.voxels - count))
        }
    }

    /// The scan of the chunk's own tokens, at these positions of its buffers.
    func scanChunk(_ step: Step, _ own: Range<Int>, _ groups: Range<Int>, _ thread: Int) {
        guard hasBlockOps else { return }
        let scan = file.scan(step.op)
        let all = step.outputLayout.extent.voxels
        scanGroups(
            step, groups, thread, tokens: scan.isReversed ? (all - own.upperBound)..<(all - own.lowerBound) : own)
    }

    // MARK: Backward direction

    private func keepState(_ block: PlannedBlock, _ op: Int, _ chunk: Int) {
        guard let kept = block.kept(op), !block.streaming.keepsBackwardOutput else { return }
        let bytes = file.scan(steps[op].op).stateBytes
        unsafe (arena + kept + chunk * bytes).copyMemory(from: state(steps[op]), byteCount: bytes)
    }

    private func restoreState(_ block: PlannedBlock, _ op: Int, _ chunk: Int) {
        guard let kept = block.kept(op) else { return }
        let bytes = file.scan(steps[op].op).stateBytes
        unsafe UnsafeMutableRawPointer(state(steps[op])).copyMemory(
            from: arena + kept + chunk * bytes, byteCount: bytes)
    }

    private func keepOutput(_ block: PlannedBlock, _ op: Int, _ place: (own: Range<Int>, held: Range<Int>)) {
        guard let kept = block.kept(op) else { return }
        let (step, full) = (steps[op], plan.layouts[Int(steps[op].op.output)])
        forEachRun(full, place.own) { block, offset, token, bytes in
            let from = step.outputLayout.rowOffset(block: block, z: 0, y: 0) + 4 * (token - place.held.lowerBound)
            unsafe (arena + kept + offset).copyMemory(from: arena + step.output + from, byteCount: bytes)
        }
    }

    private func fetchOutput(_ block: PlannedBlock, _ op: Int, _ place: (own: Range<Int>, held: Range<Int>)) {
        guard let kept = block.kept(op) else { return }
        let (step, full) = (steps[op], plan.layouts[Int(steps[op].op.output)])
        forEachRun(full, place.own) { block, offset, token, bytes in
            let to = step.outputLayout.rowOffset(block: block, z: 0, y: 0) + 4 * (token - place.held.lowerBound)
            unsafe (arena + step.output + to).copyMemory(from: arena + kept + offset, byteCount: bytes)
        }
    }

    // MARK: In and out

    private func copyIn(_ block: PlannedBlock, _ held: Range<Int>) {
        let full = plan.layouts[block.block.input]
        let chunk = block.block.layout(full, block.streaming)
        forEachRun(full, held) { index, offset, token, bytes in
            let to = chunk.rowOffset(block: index, z: 0, y: 0) + 4 * (token - held.lowerBound)
            unsafe (arena + block.inputCopy + to).copyMemory(from: arena + block.input + offset, byteCount: bytes)
        }
    }

    private func copyOut(_ block: PlannedBlock, _ place: (own: Range<Int>, held: Range<Int>)) {
        let full = plan.layouts[block.block.output]
        let chunk = block.block.layout(full, block.streaming)
        let zeroPoint = file.tensor(block.block.output).zeroPoint
        forEachRun(full, place.own) { index, offset, token, bytes in
            let from = chunk.rowOffset(block: index, z: 0, y: 0) + 4 * (token - place.held.lowerBound)
            unsafe (arena + block.output + offset).copyMemory(from: arena + block.outputChunk + from, byteCount: bytes)
            unsafe full.fillGapsAround(
                row: token / full.extent.width, block: index, base: arena + block.output, zeroPoint: zeroPoint)
        }
    }

    /// Consecutive tokens of a whole tensor as pieces of rows: (block, byte offset, first token, bytes).
    private func forEachRun(_ layout: TensorLayout, _ tokens: Range<Int>, _ body: (Int, Int, Int, Int) -> Void) {
        let width = layout.padX == 0 ? layout.extent.voxels : layout.extent.width
        for block in 0..<layout.blocks {
            var token = tokens.lowerBound
            while token < tokens.upperBound {
                let x = token % width
                let count = min(width - x, tokens.upperBound - token)
                let offset =
                    layout.rowOffset(block: block, z: 0, y: token / layout.extent.width)
                    + 4 * (token % layout.extent.width)
                body(block, offset, token, 4 * count)
                token += count
            }
        }
    }
}

/// A block with the places of its buffers in the arena.
struct PlannedBlock: Sendable {
    let block: TokenBlock
    let streaming: BlockStreaming
    let input: Int
    let inputCopy: Int
    let output: Int
    let outputChunk: Int
    /// By backward scan: whole output (plan M) or states (plan R).
    private let keptOffsets: [Int]

    init(_ block: TokenBlock, _ streaming: BlockStreaming, _ plan: RunPlan) {
        self.block = block
        self.streaming = streaming
        input = plan.offset(of: .tensor(block.input))
        inputCopy = plan.offset(of: .chunk(block.input, block: block.ops.lowerBound))
        output = plan.offset(of: .tensor(block.output))
        outputChunk = plan.offset(of: .chunk(block.output, block: block.ops.lowerBound))
        keptOffsets = block.backward.map { plan.offset(of: .backward($0)) }
    }

    func kept(_ op: Int) -> Int? {
        for index in block.backward.indices where block.backward[index] == op { return keptOffsets[index] }
        return nil
    }
}
