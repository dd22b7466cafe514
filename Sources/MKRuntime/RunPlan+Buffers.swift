import FlatGraph
import Ops

extension RunPlan {
    /// What the buffers of a plan follow from.
    struct Shapes {
        let file: ModelFile
        let mode: ExecutionMode
        let threads: Int
        let volume: Extent
        let extent: Extent
        let layouts: [TensorLayout]
        let tail: Int
        let strips: [WindowStrip]
        let lines: LinesPlan?
        let streaming: BlockStreaming?
        let blocks: [TokenBlock]
        let splines: [SplineLayer]
        let chains: [RowChain]
        let probabilities: Bool

        func buffers() -> [PlannedBuffer] {
            var result = lines.map(ringBuffers) ?? tensorBuffers()
            let last = result.reduce(0) { max($0, $1.last) }
            // Rows of input and labels are in use while the network's input and its scores are.
            result.append(
                PlannedBuffer(
                    use: .inputRows, bytes: inputRows * volume.width * file.codeBytes, first: 0,
                    last: lines == nil ? 0 : last)
            )
            let labels = labelArea * Argmax(classes: file.classCount).labelBytes
            result.append(
                PlannedBuffer(use: .labelSlice, bytes: labels, first: lines == nil ? tail : last, last: last))
            if probabilities {
                result.append(
                    PlannedBuffer(
                        use: .probabilitySlice, bytes: labelArea * file.classCount,
                        first: lines == nil ? tail : last, last: last))
            }
            if tail < file.opCount - 1 {
                let row = RunPlan.scoreRow(file, layouts).byteCount
                let step = lines == nil ? tail : last
                result.append(
                    PlannedBuffer(
                        use: .scoreRows, bytes: BufferPlanner.aligned(row) * threads, first: step, last: step))
            }
            // Tables stay as long as the session.
            result += splines.map {
                PlannedBuffer(use: .spline($0.conv), bytes: $0.tables.byteCount, first: 0, last: max(last, tail))
            }
            if mode == .windows {
                let rows = strips.map { $0.rows.count }.max() ?? 0
                // One more plane for the sums of the weights.
                let planes = file.classCount + (probabilities ? 1 : 0)
                let slab = planes * extent.depth * rows * volume.width * 4
                result.append(PlannedBuffer(use: .scoreSlab, bytes: slab, first: 0, last: last))
            }
            return result
        }

        /// The most rows of a plane that are read at a time.
        private var inputRows: Int {
            guard let lines else { return min(volume.height, extent.height) }
            let input = Int(file.record.inputTensor)
            return lines.tiles.map { $0.regions[input]?.y.count ?? 0 }.max() ?? 0
        }

        private var labelArea: Int {
            switch mode {
            case .whole, .tiles: extent.height * extent.width
            case .lines: lines!.tiles.map { $0.box.area }.max() ?? 0
            case .windows: (strips.map { $0.rows.count }.max() ?? 0) * volume.width
            }
        }

        // MARK: Slice by slice

        /// Steps are segments.
        private func ringBuffers(_ lines: LinesPlan) -> [PlannedBuffer] {
            var result: [PlannedBuffer] = []
            for (index, segment) in lines.segments.enumerated() {
                for tensor in 0..<file.tensorCount {
                    let bytes =
                        lines.tiles.indices.map {
                            lines.layout(file, layouts, segment: index, tensor: tensor, tile: $0)?.byteCount ?? 0
                        }.max() ?? 0
                    guard bytes > 0 else { continue }
                    result.append(
                        PlannedBuffer(
                            use: .ring(tensor, segment: index), bytes: bytes, first: index, last: index))
                }
                let ops = segment.stored == nil ? segment.ops.lowerBound..<file.opCount : segment.ops
                for op in ops {
                    let bytes = ringScratch(lines, index, file.op(op))
                    guard bytes > 0 else { continue }
                    result.append(PlannedBuffer(use: .scratch(op), bytes: bytes, first: index, last: index))
                }
            }
            if lines.segments.count > 1 {
                result.append(
                    PlannedBuffer(
                        use: .volume, bytes: lines.storedSliceBytes * volume.depth, first: 0,
                        last: lines.segments.count - 1))
            }
            return result
        }

        private func ringScratch(_ lines: LinesPlan, _ segment: Int, _ op: OpRecord) -> Int {
            lines.tiles.indices.map { tile in
                let input = file.operand(op, 0)
                guard let layout = lines.layout(file, layouts, segment: segment, tensor: input, tile: tile) else {
                    return 0
                }
                return RunPlan.scratchBytes(file, op, input: layout, threads: threads)
            }.max() ?? 0
        }

        // MARK: Layer by layer

        private func tensorBuffers() -> [PlannedBuffer] {
            let inPlace = RunPlan.inPlaceTargets(file, layouts, chains)
            let lives = lifetimes(inPlace)
            var result: [PlannedBuffer] = []
            for tensor in 0..<file.tensorCount where inPlace[tensor] == nil {
                guard file.tensor(tensor).storage != .labels, let life = lives[tensor] else { continue }
                if let layout = rowLayout(tensor) {
                    let bytes = BufferPlanner.aligned(layout.byteCount)
                    result.append(
                        PlannedBuffer(
                            use: .rows(tensor), bytes: layout.heldRows < layout.extent.rows ? bytes * threads : bytes,
                            first: life.lowerBound, last: life.upperBound))
                    continue
                }
                if let streaming, let block = blocks.first(where: { $0.isInner(tensor, file) }) {
                    // Ops of a block run in their order in every chunk, so that lives within the block hold.
                    result.append(
                        PlannedBuffer(
                            use: .chunk(tensor, block: block.ops.lowerBound),
                            bytes: block.layout(layouts[tensor], streaming).byteCount,
                            first: life.lowerBound, last: life.upperBound))
                    continue
                }
                let whole = wholeLife(tensor, life)
                result.append(
                    PlannedBuffer(
                        use: .tensor(tensor), bytes: layouts[tensor].byteCount, first: whole.lowerBound,
                        last: whole.upperBound))
            }
            result += blocks.flatMap(blockBuffers)
            for index in 0..<file.opCount {
                let op = file.op(index)
                let block = TokenBlock.of(index, blocks)
                let input = TokenBlock.layout(layouts[file.operand(op, 0)], op: index, blocks, streaming)
                let bytes = RunPlan.scratchBytes(file, op, input: input, threads: threads)
                guard bytes > 0 else { continue }
                // The states of a streamed scan live as long as its block; sums are taken while the op before writes.
                let first = index > 0 && RunPlan.takesSums(file, index - 1, blocks) ? index - 1 : index
                let steps =
                    block.map { $0.ops.lowerBound...($0.ops.upperBound - 1) }
                    ?? min(span(first).lowerBound, tail)...min(span(index).upperBound, tail)
                result.append(
                    PlannedBuffer(use: .scratch(index), bytes: bytes, first: steps.lowerBound, last: steps.upperBound))
            }
            return result
        }

        /// A block reads its input and writes its output during all of its ops.
        private func wholeLife(_ tensor: Int, _ life: ClosedRange<Int>) -> ClosedRange<Int> {
            var (first, last) = (life.lowerBound, life.upperBound)
            for block in blocks {
                if block.output == tensor { first = min(first, block.ops.lowerBound) }
                if block.input == tensor { last = max(last, block.ops.upperBound - 1) }
            }
            return first...last
        }

        private func blockBuffers(_ block: TokenBlock) -> [PlannedBuffer] {
            let (first, last) = (block.ops.lowerBound, block.ops.upperBound - 1)
            let streaming = streaming!
            var result = [block.input, block.output].map { tensor in
                let bytes = block.layout(layouts[tensor], streaming).byteCount
                return PlannedBuffer(
                    use: .chunk(tensor, block: first), bytes: bytes,
                    first: tensor == block.input ? first : span(last).lowerBound, last: last)
            }
            for op in block.backward {
                let full = layouts[Int(file.op(op).output)]
                let states =
                    block.chunks(full.extent.voxels, streaming.chunk) * file.scan(file.op(op)).stateBytes
                result.append(
                    PlannedBuffer(
                        use: .backward(op), bytes: streaming.keepsBackwardOutput ? full.byteCount : states,
                        first: first, last: last))
            }
            return result
        }

        /// Ops that run at the same time as op `index`, rows of one after rows of the other.
        private func span(_ index: Int) -> ClosedRange<Int> {
            RowChain.of(index, chains).map { $0.ops.lowerBound...($0.ops.upperBound - 1) } ?? index...index
        }

        /// Of a tensor between two ops of a chain.
        private func rowLayout(_ tensor: Int) -> TensorLayout? {
            for chain in chains {
                if let layout = chain.layout(tensor, file) { return layout }
            }
            return nil
        }

        /// Whether a tensor is done with before the next rows of its chain begin. Only where one thread runs the chain: of several each is at
        /// an op of its own.
        private func isShortLived(_ tensor: Int) -> Bool { threads == 1 && rowLayout(tensor) != nil }

        /// For every tensor, the steps during which its buffer holds data, for itself or for those that reuse it; nil
        /// when it never does. One pass over the ops, because every plan that is tried asks.
        private func lifetimes(_ inPlace: [Int?]) -> [ClosedRange<Int>?] {
            var first = [Int](repeating: Int.max, count: file.tensorCount)
            var last = [Int](repeating: -1, count: file.tensorCount)
            first[Int(file.record.inputTensor)] = 0
            for index in 0..<file.opCount {
                let op = file.op(index)
                for i in 0..<Int(op.operandCount) {
                    var input = file.operand(op, i)
                    for layer in splines where layer.conv == index { input = layer.input }
                    let owner = inPlace[input] ?? input
                    let end = isShortLived(owner) ? index : span(index).upperBound
                    last[owner] = max(last[owner], min(end, tail))
                }
                // The score tensor of a fused head exists row by row only.
                let isFused = index >= tail && tail < file.opCount - 1
                let isLeftOut = splines.contains { $0.basis == index }
                guard index < max(tail, 1) + 1, !isFused, !isLeftOut else { continue }
                let owner = inPlace[Int(op.output)] ?? Int(op.output)
                first[owner] = min(first[owner], isShortLived(owner) ? index : span(index).lowerBound)
                last[owner] = max(last[owner], index)
            }
            return first.indices.map { first[$0] <= last[$0] ? first[$0]...last[$0] : nil }
        }
    }

    /// Whether the op's rows are added to the sums of a normalization as they are written, while they are in the cache: that of the
    /// next op, which reads them. (In `lines` that happens slice by slice anyway.)
    static func takesSums(_ file: ModelFile, _ index: Int, _ blocks: [TokenBlock]) -> Bool {
        guard index + 1 < file.opCount, file.op(index).kind != .scan, file.op(index + 1).kind == .groupNorm else {
            return false
        }
        for block in blocks where block.ops.contains(index) || block.ops.contains(index + 1) { return false }
        // Of a normalization slice by slice there are as many sums as slices, but room for one.
        return file.operand(file.op(index + 1), 0) == Int(file.op(index).output)
            && !file.norm(file.op(index + 1)).isPerSlice
    }

    static func scratchBytes(_ file: ModelFile, _ op: OpRecord, input: TensorLayout, threads: Int) -> Int {
        switch op.kind {
        case .conv3d: file.conv3D(op).scratchBytes(input: input)
        case .scan: file.scan(op).scratchBytes(threads: threads)
        case .groupNorm: NormScratch(channels: file.norm(op).channels, threads: threads).byteCount
        case .globalPool: threads * file.globalPool(op).channels * MemoryLayout<Int64>.stride
        default: 0
        }
    }

    /// A slice as it is stored: without padding.
    static func storedSlice(_ layout: TensorLayout) -> TensorLayout {
        TensorLayout(
            channels: layout.channels,
            extent: Extent(depth: 1, height: layout.extent.height, width: layout.extent.width),
            element: layout.element)
    }

    /// By output tensor of a look-up or a normalization: the tensor whose buffer it reuses, where that is not read again.
    static func inPlaceTargets(_ file: ModelFile, _ layouts: [TensorLayout], _ chains: [RowChain]) -> [Int?] {
        var result = [Int?](repeating: nil, count: file.tensorCount)
        // A block of tokens, which starts wherever it can, wants a buffer of its own to read.
        let hasScan = (0..<file.opCount).contains { file.op($0).kind == .scan }
        for index in 0..<file.opCount {
            let op = file.op(index)
            guard op.kind == .lookup || op.kind == .groupNorm && !hasScan else { continue }
            // In a chain what is read or what is written is no tensor, or the rows after these are still to be read.
            guard RowChain.of(index, chains) == nil else { continue }
            let input = file.operand(op, 0)
            guard layouts[input] == layouts[Int(op.output)], lastUse(of: input, file) == index else { continue }
            result[Int(op.output)] = result[input] ?? input
        }
        return result
    }

    static func lastUse(of tensor: Int, _ file: ModelFile) -> Int {
        var last = -1
        for index in 0..<file.opCount {
            let op = file.op(index)
            for i in 0..<Int(op.operandCount) where file.operand(op, i) == tensor { last = index }
        }
        return last
    }
}
