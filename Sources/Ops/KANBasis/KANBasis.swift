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
        table: UnsafePointer<UInt8>, input: UnsafeRawPointer, inputLayout: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        for row in rows {
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
}
