import FlatGraph
import Ops

extension Session {
    /// Writes the input tensor: codes of the box at `origin` (z, y, x) of the volume, the code of real zero outside the
    /// volume and in the gaps between rows.
    func loadInput(_ source: some CodeSource, origin: (Int, Int, Int)) throws(RuntimeError) {
        let tensor = Int(file.record.inputTensor)
        let layout = plan.layouts[tensor]
        let base = unsafe arena + plan.offset(of: .tensor(tensor))
        writeGuard(plan.offset(of: .tensor(tensor)), layout)
        try timedCopy { () throws(RuntimeError) in
            for z in 0..<layout.extent.depth {
                unsafe try loadSlice(source, z: origin.0 + z, y0: origin.1, x0: origin.2, slot: z, layout, base)
            }
        }
    }

    /// Writes slot `slot` of an input tensor or ring: rows y0... and columns x0... of plane z. What lies outside the volume gets
    /// the code of real zero.
    func loadSlice(
        _ source: some CodeSource, z: Int, y0: Int, x0: Int, slot: Int, _ layout: TensorLayout,
        _ base: UnsafeMutableRawPointer
    ) throws(RuntimeError) {
        // A loop for each width of the codes.
        if layout.element == .u8 {
            unsafe try loadSlice(UInt8.self, source, z: z, y0: y0, x0: x0, slot: slot, layout, base)
        } else {
            unsafe try loadSlice(UInt16.self, source, z: z, y0: y0, x0: x0, slot: slot, layout, base)
        }
    }

    /// - Parameter type: the bits of a code.
    @inline(__always)
    private func loadSlice<Code: FixedWidthInteger & UnsignedInteger>(
        _ type: Code.Type, _ source: some CodeSource, z: Int, y0: Int, x0: Int, slot: Int, _ layout: TensorLayout,
        _ base: UnsafeMutableRawPointer
    ) throws(RuntimeError) {
        let volume = plan.volume
        let zeroPoint = file.tensor(Int(file.record.inputTensor)).zeroPoint
        let (height, width) = (layout.extent.height, layout.extent.width)
        let inside = (0..<volume.depth).contains(z)
        let rows = inside ? max(0, y0)..<max(max(0, y0), min(volume.height, y0 + height)) : 0..<0
        let columns = max(0, -x0)..<max(max(0, -x0), min(width, volume.width - x0))
        let isCovered = rows.count == height && columns.count == width
        let bytes = unsafe (arena + plan.offset(of: .inputRows)).assumingMemoryBound(to: UInt8.self)
        let buffer = unsafe (arena + plan.offset(of: .inputRows)).assumingMemoryBound(to: Code.self)
        let perBlock = 32 / Code.bitWidth
        for block in 0..<layout.blocks {
            let lanes = min(perBlock, layout.channels - block * perBlock)
            for y in 0..<height where !isCovered {
                let target = unsafe base + layout.rowOffset(block: block, z: slot, y: y)
                unsafe target.initializeMemory(as: UInt8.self, repeating: zeroPoint, count: width * 4)
            }
            for lane in 0..<lanes where !rows.isEmpty {
                guard unsafe source.read(channel: block * perBlock + lane, z: z, rows: rows, into: bytes) else {
                    throw RuntimeError(.transferFailed)
                }
                // Whole words, which the compiler makes vectors of. The bytes of absent channels have no meaning.
                let shift = UInt32(Code.bitWidth * lane)
                for y in rows {
                    let row = unsafe buffer + ((y - rows.lowerBound) * volume.width + x0)
                    let words = unsafe (base + layout.rowOffset(block: block, z: slot, y: y - y0))
                        .assumingMemoryBound(to: UInt32.self)
                    if lane == 0 {
                        for x in columns { unsafe words[x] = UInt32(truncatingIfNeeded: row[x]) }
                    } else {
                        for x in columns { unsafe words[x] |= UInt32(truncatingIfNeeded: row[x]) &<< shift }
                    }
                }
            }
            for y in 0..<height {
                unsafe layout.fillGapsAround(row: slot * height + y, block: block, base: base, zeroPoint: zeroPoint)
            }
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

    func isGuardIntact(_ offset: Int, _ layout: TensorLayout) -> Bool {
        let end = unsafe arena + offset + layout.byteCount - TensorLayout.slack
        for i in 0..<(TensorLayout.slack / 8) {
            guard unsafe end.load(fromByteOffset: i * 8, as: UInt64.self) == Self.guardWord else { return false }
        }
        return true
    }

    /// Checks the guards of all tensors that are live at step `index`.
    func checkGuards(after index: Int) throws(RuntimeError) {
        for buffer in plan.buffers where buffer.first <= index && index <= buffer.last {
            guard case .tensor(let tensor) = buffer.use else { continue }
            guard isGuardIntact(buffer.offset, plan.layouts[tensor]) else {
                throw RuntimeError(.guardOverwritten, index: index)
            }
        }
    }
}
