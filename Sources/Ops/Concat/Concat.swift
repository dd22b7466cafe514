/// Concatenation along the channels of u8 tensors that share one scale and zero point (the converter requantizes
/// the producers to a common scale, so nothing is rescaled here).
///
/// Channels move between blocks when a source's count is not a multiple of four; then bytes are moved one by one,
/// otherwise whole rows are copied. Absent channels of the last block are 0.
public struct Concat: Equatable, Sendable {
    /// Channel counts of the sources, in order.
    public var channels: [Int]

    public init(channels: [Int]) {
        self.channels = channels
    }

    public var outChannels: Int { channels.reduce(0, +) }

    /// Copies source `index` into its channels of the output for rows `rows` (row = z · height + y), as wide as the output: where parts
    /// of slices are held, a source may hold more. The last source
    /// also clears absent channels and fills the gaps.
    public func run(
        source index: Int, input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, zeroPoint: UInt8, rows: Range<Int>
    ) {
        let first = channels[..<index].reduce(0, +)
        // Where a source starts a block, its full blocks move as they are.
        let whole = first % 4 == 0 ? channels[index] / 4 : 0
        for row in rows {
            for block in 0..<whole {
                let from = unsafe input + inputLayout.rowOffset(block: block, z: 0, y: row)
                let to = unsafe output + outputLayout.rowOffset(block: first / 4 + block, z: 0, y: row)
                unsafe to.copyMemory(from: from, byteCount: 4 * outputLayout.extent.width)
            }
            for channel in (4 * whole)..<channels[index] {
                let target = first + channel
                let from = unsafe (input + inputLayout.rowOffset(block: channel / 4, z: 0, y: row) + channel % 4)
                    .assumingMemoryBound(to: UInt8.self)
                let to = unsafe (output + outputLayout.rowOffset(block: target / 4, z: 0, y: row) + target % 4)
                    .assumingMemoryBound(to: UInt8.self)
                for x in 0..<outputLayout.extent.width {
                    unsafe to[x * 4] = from[x * 4]
                }
            }
            guard index == channels.count - 1 else { continue }
            unsafe clearAbsent(row: row, output: output, layout: outputLayout)
            for block in 0..<outputLayout.blocks {
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    private func clearAbsent(row: Int, output: UnsafeMutableRawPointer, layout: TensorLayout) {
        for channel in outChannels..<(layout.blocks * 4) {
            let to = unsafe (output + layout.rowOffset(block: channel / 4, z: 0, y: row) + channel % 4)
                .assumingMemoryBound(to: UInt8.self)
            for x in 0..<layout.extent.width {
                unsafe to[x * 4] = 0
            }
        }
    }
}
