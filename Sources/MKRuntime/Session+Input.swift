import FlatGraph
import Ops

extension Session {
    /// Writes the input tensor: codes of the box at `origin` (z, y, x) of the volume, the code of real zero outside the
    /// volume and in the gaps between rows.
    func loadInput(
        _ codes: UnsafeBufferPointer<UInt8>, origin: (Int, Int, Int), _ parallel: some WorkPool
    ) {
        let tensor = Int(file.record.inputTensor)
        let layout = plan.layouts[tensor]
        let zeroPoint = file.tensor(tensor).zeroPoint
        let base = unsafe arena + plan.offset(of: .tensor(tensor))
        writeGuard(plan.offset(of: .tensor(tensor)), layout)
        splitRows(layout.extent.rows, parallel) { rows, _ in
            for row in rows {
                let z = origin.0 + row / layout.extent.height
                let y = origin.1 + row % layout.extent.height
                for block in 0..<layout.blocks {
                    let target = unsafe base + layout.rowOffset(block: block, z: 0, y: row)
                    unsafe target.initializeMemory(as: UInt8.self, repeating: zeroPoint, count: layout.extent.width * 4)
                    unsafe copyRow(codes, z, y, origin.2, block, layout, target.assumingMemoryBound(to: UInt8.self))
                    unsafe layout.fillGapsAround(row: row, block: block, base: base, zeroPoint: zeroPoint)
                }
            }
        }
    }

    private func copyRow(
        _ codes: UnsafeBufferPointer<UInt8>, _ z: Int, _ y: Int, _ x0: Int, _ block: Int, _ layout: TensorLayout,
        _ target: UnsafeMutablePointer<UInt8>
    ) {
        let volume = plan.volume
        guard z >= 0, z < volume.depth, y >= 0, y < volume.height else { return }
        let from = max(0, -x0)
        let to = min(layout.extent.width, volume.width - x0)
        guard from < to else { return }
        for lane in 0..<4 where block * 4 + lane < layout.channels {
            let channel = block * 4 + lane
            let source =
                unsafe codes.baseAddress! + ((channel * volume.depth + z) * volume.height + y) * volume.width + x0
            for x in from..<to { unsafe target[x * 4 + lane] = source[x] }
        }
    }

    /// The row lives in the arena for the length of its op only, so it is written just before.
    func fillPaddingRow(_ step: Step) {
        guard let offset = step.scratch, let conv = step.conv else { return }
        let bytes = conv.scratchBytes(input: step.inputLayouts[0])
        unsafe (arena + offset).initializeMemory(as: UInt8.self, repeating: conv.inputZeroPoint, count: bytes)
    }

    // MARK: Guards

    static var guardWord: UInt64 { 0x4D4B_4544_4745_A55A }

    /// The slack after a tensor is never written by a kernel: a pattern there shows one that did.
    func writeGuard(_ offset: Int, _ layout: TensorLayout) {
        let end = unsafe arena + offset + layout.byteCount - TensorLayout.slack
        for i in 0..<(TensorLayout.slack / 8) {
            unsafe end.storeBytes(of: Self.guardWord, toByteOffset: i * 8, as: UInt64.self)
        }
    }

    /// Checks the guards of all tensors that are live at step `index`.
    func checkGuards(after index: Int) throws(RuntimeError) {
        for buffer in plan.buffers where buffer.first <= index && index <= buffer.last {
            guard case .tensor(let tensor) = buffer.use else { continue }
            let end = unsafe arena + buffer.offset + plan.layouts[tensor].byteCount - TensorLayout.slack
            for i in 0..<(TensorLayout.slack / 8) {
                guard unsafe end.load(fromByteOffset: i * 8, as: UInt64.self) == Self.guardWord else {
                    throw RuntimeError(.guardOverwritten, index: index)
                }
            }
        }
    }
}
