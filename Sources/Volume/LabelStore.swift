import FlatGraph
import MKRuntime
import Ops

/// Class indices on the model's grid on their way to the output: `[depth][height][width]`, one or two bytes each, in memory or
/// in a file. Voxels that never arrive are background. Probabilities of the classes are planes of their own, one byte each; where none
/// arrive the first class has all.
final class LabelStore: LabelSink {
    private let store: ByteStore
    private let extent: Extent
    private let bytes: Int
    private let back: LabelReturn
    private let probabilities: ByteStore?
    private let classes: Int

    /// - Parameter probabilities: of how many classes; 0 for none.
    init(
        _ grid: ModelGrid, labelBytes: Int, probabilities classes: Int = 0, folder: String?, path: String
    ) throws(VolumeError) {
        self.classes = classes
        let voxels = grid.extent.voxels
        probabilities = classes > 0 ? try ByteStore(count: voxels * classes, folder: folder, path: path) : nil
        if let probabilities {
            let plane = [UInt8](repeating: 255, count: grid.extent.height * grid.extent.width)
            for z in 0..<grid.extent.depth { try probabilities.write(plane, at: z * plane.count) }
        }
        extent = grid.extent
        bytes = labelBytes
        back = LabelReturn(axisMap: grid.axisMap, grid: grid.grid)
        store = try ByteStore(count: extent.voxels * labelBytes, folder: folder, path: path)
    }

    func take(_ slice: LabelSlice) -> Bool {
        unsafe put(slice, slice.labels, bytes: bytes, into: store, at: 0)
    }

    func takeProbabilities(_ slice: LabelSlice) -> Bool {
        guard let probabilities else { return true }
        let part = slice.y.count * slice.x.count
        for c in 0..<classes {
            let values = unsafe UnsafeRawBufferPointer(rebasing: slice.labels[(c * part)..<((c + 1) * part)])
            guard unsafe put(slice, values, bytes: 1, into: probabilities, at: c * extent.voxels) else { return false }
        }
        return true
    }

    private func put(
        _ slice: LabelSlice, _ values: UnsafeRawBufferPointer, bytes: Int, into store: ByteStore, at start: Int
    ) -> Bool {
        let voxel = (slice.z * extent.height + slice.y.lowerBound) * extent.width + slice.x.lowerBound
        let first = start + voxel * bytes
        if slice.x.count == extent.width { return unsafe store.put(values, at: first) }
        let width = slice.x.count * bytes
        for row in 0..<slice.y.count {
            let part = unsafe UnsafeRawBufferPointer(rebasing: values[(row * width)..<((row + 1) * width)])
            guard unsafe store.put(part, at: first + row * extent.width * bytes) else { return false }
        }
        return true
    }

    // MARK: Way back

    /// Stored slices that are put together at a time when they lie across the model's planes.
    private static let group = 16

    /// The most bytes that `forEachSlice` holds.
    static func returnBytes(_ header: NIfTIHeader, _ grid: ModelGrid, labelBytes: Int) -> Int {
        let slice = header.dims.x * header.dims.y
        let plane = grid.extent.height * grid.extent.width
        let slices = grid.axisMap.storedAxis[2] == 2 ? 1 : min(group, header.dims.z)
        return (slice * slices + plane) * labelBytes
    }

    /// Stored slices that can be put together once the first `planes` planes of the model have arrived: those before this one.
    func slicesReady(planes: Int) -> Int {
        guard planes < extent.depth else { return back.storedSize.z }
        // Slices across the planes, or in the opposite order, need all of them.
        guard back.planeAxis == 2 else { return 0 }
        return (0..<back.storedSize.z).first { back.plane($0) >= planes } ?? back.storedSize.z
    }

    /// Calls `body` with slices of the stored grid, in their order: dims.x * dims.y class indices.
    func forEachSlice<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type, slices: Range<Int>? = nil, _ body: (Int, Span<T>) throws(VolumeError) -> Void
    ) throws(VolumeError) {
        precondition(MemoryLayout<T>.size == bytes, "labels of another width")
        try forEachSlice(slices ?? 0..<back.storedSize.z, of: store, at: 0, outside: T.zero, body)
    }

    /// The same for the probabilities of one class.
    func forEachProbabilitySlice(
        _ c: Int, _ body: (Int, Span<UInt8>) throws(VolumeError) -> Void
    ) throws(VolumeError) {
        guard let probabilities else { return }
        try forEachSlice(
            0..<back.storedSize.z, of: probabilities, at: c * extent.voxels, outside: c == 0 ? 255 : 0, body)
    }

    private func forEachSlice<T: FixedWidthInteger & BitwiseCopyable>(
        _ all: Range<Int>, of store: ByteStore, at start: Int, outside: T,
        _ body: (Int, Span<T>) throws(VolumeError) -> Void
    ) throws(VolumeError) {
        let area = back.storedSize.x * back.storedSize.y
        let planeCount = extent.height * extent.width
        var plane = [T](repeating: 0, count: store.isInMemory ? 0 : planeCount)
        let isAligned = back.planeAxis == 2
        let step = isAligned ? 1 : Self.group
        var group = [T](repeating: 0, count: back.keepsPlanes ? 0 : min(step, all.count) * area)
        for first in stride(from: all.lowerBound, to: all.upperBound, by: step) {
            let slices = first..<min(first + step, all.upperBound)
            if back.keepsPlanes {
                try withPlane(back.plane(first), of: store, at: start, &plane) { (plane) throws(VolumeError) in
                    try body(first, plane)
                }
                continue
            }
            unsafe group.withUnsafeMutableBufferPointer { unsafe $0.update(repeating: outside) }
            for z in 0..<extent.depth where !isAligned || back.plane(first) == z {
                try withPlane(z, of: store, at: start, &plane) { (plane) throws(VolumeError) in
                    var target = group.mutableSpan
                    var part = target._mutatingExtracting(0..<(slices.count * area))
                    back.place(plane, model: z, slices: slices, into: &part)
                }
            }
            for k in slices {
                try body(k, group.span.extracting(((k - first) * area)..<((k - first + 1) * area)))
            }
        }
    }

    /// Calls `body` with plane `z` as it lies in memory, or through `buffer`.
    private func withPlane<T: FixedWidthInteger & BitwiseCopyable>(
        _ z: Int, of store: ByteStore, at start: Int, _ buffer: inout [T],
        _ body: (Span<T>) throws(VolumeError) -> Void
    ) throws(VolumeError) {
        let count = extent.height * extent.width
        let first = start + z * count * MemoryLayout<T>.size
        guard let bytes = unsafe store.bytes else {
            try store.read(into: &buffer, at: first)
            return try body(buffer.span)
        }
        let plane = unsafe UnsafeRawBufferPointer(rebasing: bytes[first..<(first + count * MemoryLayout<T>.size)])
        try body(unsafe Span(_unsafeElements: plane.bindMemory(to: T.self)))
    }
}
