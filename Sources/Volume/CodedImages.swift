import MKRuntime
import Ops

/// Codes that are made when the network asks for them, from images that stay in memory as they were read. Where a voxel takes no more
/// bytes than its code, and planes are asked for whole, that is less memory than to keep the codes, and as fast.
final class CodedImages: CodeSource {
    // Not a generic class: its methods would be called through a table, with the slow code for any type.
    private enum Inputs {
        case bytes([ModelInput<UInt8>])
        case words([ModelInput<Int16>])
    }

    private let inputs: Inputs
    private let width: Int

    /// - Parameter warnings: of reading and of images without contrast.
    /// - Throws: as `VoxelVolume.read`.
    init(
        _ headers: [NIfTIHeader], grid: ModelGrid, coding: InputCoding, ownThread: Bool, warnings: inout [String],
        progress: (Int) -> Void
    ) throws(VolumeError) {
        width = grid.extent.width
        func read<Code>(_ type: Code.Type) throws(VolumeError) -> [ModelInput<Code>] {
            var result: [ModelInput<Code>] = []
            for (channel, header) in headers.enumerated() {
                progress(channel)
                let volume = try VoxelVolume.read(header, ownThread: ownThread)
                warnings += volume.header.warnings.dropFirst(header.warnings.count)
                result.append(grid.input(volume, coding, warnings: &warnings))
            }
            return result
        }
        inputs = coding.codeBytes == 1 ? .bytes(try read(UInt8.self)) : .words(try read(Int16.self))
    }

    /// What is held for a channel once it is read.
    static func bytesNeeded(_ header: NIfTIHeader, _ grid: ModelGrid, codeBytes: Int) -> Int {
        VoxelVolume.bytesNeeded(header) - VoxelVolume.readBufferBytes
            + ModelInput<UInt8>.bytesNeeded(header, grid: grid.grid) * codeBytes
    }

    func read(channel: Int, z: Int, rows: Range<Int>, into target: UnsafeMutablePointer<UInt8>) -> Bool {
        let count = rows.count * width
        switch inputs {
        case .bytes(let inputs):
            var codes = unsafe MutableSpan(_unsafeStart: target, count: count)
            inputs[channel].gather(planes: z..<(z + 1), rows: rows, into: &codes)
        case .words(let inputs):
            let words = unsafe UnsafeMutableRawPointer(target).assumingMemoryBound(to: Int16.self)
            var codes = unsafe MutableSpan(_unsafeStart: words, count: count)
            inputs[channel].gather(planes: z..<(z + 1), rows: rows, into: &codes)
        }
        return true
    }
}
