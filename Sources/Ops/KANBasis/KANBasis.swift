import COps

/// Expands each channel into `outputs` bytes by a table: the cubic B-splines of a Kolmogorov-Arnold layer and SiLU, whose
/// weighted sum is the pointwise convolution that follows. Output channel `c · outputs + k` is `table[code · outputs + k]`.
///
/// The input's scale is a sixteenth of a spline cell and its zero point 128, so that every code is a fixed point of the
/// splines (docs/arithmetic.md). u8 in and out.
public struct KANBasis: Equatable, Sendable {
    public var channels: Int
    /// Bytes per input channel: cells + 4.
    public var outputs: Int

    public init(channels: Int, outputs: Int) {
        self.channels = channels
        self.outputs = outputs
    }

    public var tableBytes: Int { 256 * outputs }

    /// Rows `rows` (row = z · height + y). The output has no gaps: only pointwise convolutions read it.
    public func run(
        isa: ISA, table: UnsafePointer<UInt8>, input: UnsafeRawPointer, inputLayout: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        guard isa != .portable else {
            for row in rows { unsafe portableRow(table, input, inputLayout, output, outputLayout, row) }
            return
        }
        unsafe withKernel(table) { kernel in
            // Block by block: rows of all output blocks at a time would be a store to another page each.
            for block in 0..<inputLayout.blocks {
                unsafe kernel.channels = Int32(min(4, channels - 4 * block))
                for row in rows {
                    let from = unsafe input + inputLayout.rowOffset(block: block, z: 0, y: row)
                    let to = unsafe output + outputLayout.rowOffset(block: block * outputs, z: 0, y: row)
                    unsafe kernelRow(isa, &kernel, from, to, outputLayout)
                }
            }
        }
    }

    private func kernelRow(
        _ isa: ISA, _ kernel: inout mk_basis, _ from: UnsafeRawPointer, _ to: UnsafeMutableRawPointer,
        _ layout: TensorLayout
    ) {
        let width = Int32(truncatingIfNeeded: layout.extent.width)
        switch isa.vectors {
        #if arch(x86_64)
            case .avx2: unsafe mk_basis_avx2(&kernel, from, to, layout.blockStride, width)
            case .avx512vnni: unsafe mk_basis_avx512vnni(&kernel, from, to, layout.blockStride, width)
        #elseif arch(arm64)
            case .neon: unsafe mk_basis_neon(&kernel, from, to, layout.blockStride, width)
        #endif
        default: preconditionFailure("no kernel for this instruction set")
        }
    }

    /// The kernels copy an entry with one instruction, whatever its length: each gets 16 bytes.
    private func withKernel(_ table: UnsafePointer<UInt8>, _ body: (inout mk_basis) -> Void) {
        var entries = InlineArray<4096, UInt8>(repeating: 0)
        for code in 0..<256 {
            for k in 0..<outputs { entries[16 * code + k] = unsafe table[code * outputs + k] }
        }
        var span = entries.mutableSpan
        unsafe span.withUnsafeMutableBufferPointer { entries in
            var kernel = unsafe mk_basis(
                table: entries.baseAddress!, channels: 4, outputs: Int32(outputs))
            unsafe body(&kernel)
        }
    }

    private func portableRow(
        _ table: UnsafePointer<UInt8>, _ input: UnsafeRawPointer, _ inputLayout: TensorLayout,
        _ output: UnsafeMutableRawPointer, _ outputLayout: TensorLayout, _ row: Int
    ) {
        for x in 0..<outputLayout.extent.width {
            for c in 0..<channels {
                let from = inputLayout.rowOffset(block: c / 4, z: 0, y: row) + 4 * x + c % 4
                let code = unsafe Int(input.load(fromByteOffset: from, as: UInt8.self))
                for k in 0..<outputs {
                    let to = c * outputs + k
                    let offset = outputLayout.rowOffset(block: to / 4, z: 0, y: row) + 4 * x + to % 4
                    unsafe output.storeBytes(of: table[code * outputs + k], toByteOffset: offset, as: UInt8.self)
                }
            }
            for to in (channels * outputs)..<(outputLayout.blocks * 4) {
                let offset = outputLayout.rowOffset(block: to / 4, z: 0, y: row) + 4 * x + to % 4
                unsafe output.storeBytes(of: 0, toByteOffset: offset, as: UInt8.self)
            }
        }
    }
}
