import FlatGraph
import Ops

/// Where input codes come from. The runtime asks for rows of one plane at a time, in any order, and more than once where a
/// mode computes parts twice.
public protocol CodeSource {
    /// Writes rows.count · width codes (width of the volume): one byte each, or two, in native order, where the network's input
    /// tensor has 16 bits (`ModelFile.codeBytes`); `target` is then aligned to them.
    /// - Returns: false when they cannot be had; the run then ends with `transferFailed`.
    func read(channel: Int, z: Int, rows: Range<Int>, into target: UnsafeMutablePointer<UInt8>) -> Bool
}

/// A rectangle of finished labels of one slice of the volume.
@safe public struct LabelSlice {
    public let z: Int
    public let y: Range<Int>
    public let x: Range<Int>
    /// Class indices `[y][x]`, one byte each up to 256 classes, else two (native order).
    public let labels: UnsafeRawBufferPointer

    public init(z: Int, y: Range<Int>, x: Range<Int>, labels: UnsafeRawBufferPointer) {
        self.z = z
        self.y = y
        self.x = x
        unsafe self.labels = labels
    }
}

/// Who takes the labels. Each voxel comes once; those that never come (the border that a network without padding does
/// not label) are background.
public protocol LabelSink {
    /// - Returns: false when they cannot be kept; the run then ends with `transferFailed`.
    func take(_ slice: LabelSlice) -> Bool
    /// Probabilities of the same voxels, where the plan has them: one byte each, `[class][y][x]`, 255 in all.
    func takeProbabilities(_ slice: LabelSlice) -> Bool
}

extension LabelSink {
    public func takeProbabilities(_ slice: LabelSlice) -> Bool { true }
}

/// Codes of a whole volume in memory: `[channel][depth][height][width]`.
@safe public struct CodeVolume: CodeSource {
    private let codes: UnsafePointer<UInt8>
    private let extent: Extent
    private let codeBytes: Int

    /// - Parameters:
    ///   - codes: the bytes of the codes, kept alive by the caller.
    ///   - codeBytes: of a code, 1 or 2 (`ModelFile.codeBytes`).
    public init(_ codes: UnsafeBufferPointer<UInt8>, extent: Extent, channels: Int, codeBytes: Int = 1) {
        precondition(
            codes.count == extent.voxels * channels * codeBytes && !codes.isEmpty, "codes do not match the volume")
        unsafe self.codes = codes.baseAddress!
        self.extent = extent
        self.codeBytes = codeBytes
    }

    public func read(channel: Int, z: Int, rows: Range<Int>, into target: UnsafeMutablePointer<UInt8>) -> Bool {
        let row = (channel * extent.depth + z) * extent.height + rows.lowerBound
        let pitch = extent.width * codeBytes
        unsafe target.update(from: codes + row * pitch, count: rows.count * pitch)
        return true
    }
}

/// Labels of a whole volume in memory: `[depth][height][width]`, cleared by `init`.
@safe public struct LabelVolume: LabelSink {
    private let labels: UnsafeMutableRawPointer
    private let extent: Extent
    private let bytes: Int

    /// - Parameters:
    ///   - labels: kept alive by the caller.
    ///   - bytes: of a label, 1 or 2.
    public init(_ labels: UnsafeMutableRawBufferPointer, extent: Extent, bytes: Int) {
        unsafe precondition(labels.count == extent.voxels * bytes && !labels.isEmpty, "labels do not match the volume")
        unsafe self.labels = labels.baseAddress!
        self.extent = extent
        self.bytes = bytes
        unsafe labels.initializeMemory(as: UInt8.self, repeating: 0)
    }

    public func take(_ slice: LabelSlice) -> Bool {
        let width = slice.x.count * bytes
        for (index, y) in slice.y.enumerated() {
            let start = ((slice.z * extent.height + y) * extent.width + slice.x.lowerBound) * bytes
            unsafe (labels + start).copyMemory(from: slice.labels.baseAddress! + index * width, byteCount: width)
        }
        return true
    }
}
