/// Concatenation along the channels of tensors, all u8 or all i16, that share one scale and zero point (the converter requantizes
/// the producers to a common scale, so nothing is rescaled here). A source may have one voxel for all of a slice or the volume.
///
/// Channels move between blocks when a source's count is not a multiple of a block's; then codes are moved one by one,
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
    /// - Parameter span: what a voxel of the source stands for in the output.
    public func run(
        source index: Int, input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, zeroPoint: UInt8, rows: Range<Int>, span: VoxelSpan = .voxel
    ) {
        let first = channels[..<index].reduce(0, +)
        let per = outputLayout.element.channelsPerBlock
        // Where a source starts a block, its full blocks move as they are.
        let whole = first % per == 0 ? channels[index] / per : 0
        let step = span == .voxel ? 4 : 0
        for row in rows {
            let own = span.row(row, height: outputLayout.extent.height)
            for block in 0..<whole {
                let from = unsafe input + inputLayout.rowOffset(block: block, z: 0, y: own)
                let to = unsafe output + outputLayout.rowOffset(block: first / per + block, z: 0, y: row)
                if span == .voxel {
                    unsafe to.copyMemory(from: from, byteCount: 4 * outputLayout.extent.width)
                } else {
                    unsafe to.initializeMemory(
                        as: UInt32.self, repeating: from.load(as: UInt32.self), count: outputLayout.extent.width)
                }
            }
            for channel in (per * whole)..<channels[index] {
                let from = unsafe input + Self.offset(channel, own, inputLayout)
                let to = unsafe output + Self.offset(first + channel, row, outputLayout)
                if per == 4 {
                    unsafe Self.move(from, to, outputLayout.extent.width, step: step, as: UInt8.self)
                } else {
                    unsafe Self.move(from, to, outputLayout.extent.width, step: step, as: Int16.self)
                }
            }
            guard index == channels.count - 1 else { continue }
            unsafe clearAbsent(row: row, output: output, layout: outputLayout)
            for block in 0..<outputLayout.blocks {
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    /// A row of one channel's codes, `step` bytes apart in the source: 0 for the same one again and again.
    private static func move<Code: BitwiseCopyable>(
        _ from: UnsafeRawPointer, _ to: UnsafeMutableRawPointer, _ width: Int, step: Int, as: Code.Type
    ) {
        for x in 0..<width {
            unsafe to.storeBytes(
                of: from.load(fromByteOffset: step * x, as: Code.self), toByteOffset: 4 * x, as: Code.self)
        }
    }

    /// Of a channel's code in the first word of a row.
    private static func offset(_ channel: Int, _ row: Int, _ layout: TensorLayout) -> Int {
        let per = layout.element.channelsPerBlock
        return layout.rowOffset(block: channel / per, z: 0, y: row) + channel % per * (4 / per)
    }

    private func clearAbsent(row: Int, output: UnsafeMutableRawPointer, layout: TensorLayout) {
        let size = 4 / layout.element.channelsPerBlock
        for channel in outChannels..<(layout.blocks * layout.element.channelsPerBlock) {
            let to = unsafe output + Self.offset(channel, row, layout)
            for x in 0..<layout.extent.width {
                unsafe (to + 4 * x).initializeMemory(as: UInt8.self, repeating: 0, count: size)
            }
        }
    }
}
