import FlatGraph
import MKRuntime
import Ops

/// Class indices on the model's grid on their way to the output: `[depth][height][width]`, one or two bytes each, in memory or
/// in a file. Voxels that never arrive are background.
final class LabelStore: LabelSink {
    private let store: ByteStore
    private let extent: Extent
    private let bytes: Int
    private let back: LabelReturn

    init(_ grid: ModelGrid, labelBytes: Int, folder: String?, path: String) throws(VolumeError) {
        extent = grid.extent
        bytes = labelBytes
        back = LabelReturn(axisMap: grid.axisMap, grid: grid.grid)
        store = try ByteStore(count: extent.voxels * labelBytes, folder: folder, path: path)
    }

    func take(_ slice: LabelSlice) -> Bool {
        let first = ((slice.z * extent.height + slice.y.lowerBound) * extent.width + slice.x.lowerBound) * bytes
        if slice.x.count == extent.width { return unsafe store.put(slice.labels, at: first) }
        let width = slice.x.count * bytes
        for row in 0..<slice.y.count {
            let labels = unsafe UnsafeRawBufferPointer(rebasing: slice.labels[(row * width)..<((row + 1) * width)])
            guard unsafe store.put(labels, at: first + row * extent.width * bytes) else { return false }
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

    /// Calls `body` with every slice of the stored grid, from the first: dims.x * dims.y class indices.
    func forEachSlice<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type, _ body: (Int, Span<T>) throws(VolumeError) -> Void
    ) throws(VolumeError) {
        precondition(MemoryLayout<T>.size == bytes, "labels of another width")
        let size = back.storedSize
        let area = size.x * size.y
        var plane = [T](repeating: 0, count: extent.height * extent.width)
        let isAligned = back.planeAxis == 2
        let step = isAligned ? 1 : Self.group
        var group = [T](repeating: 0, count: min(step, size.z) * area)
        for first in stride(from: 0, to: size.z, by: step) {
            let slices = first..<min(first + step, size.z)
            for index in group.indices { group[index] = 0 }
            for z in 0..<extent.depth where !isAligned || back.plane(first) == z {
                try store.read(into: &plane, at: z * plane.count * bytes)
                var target = group.mutableSpan
                var part = target._mutatingExtracting(0..<(slices.count * area))
                back.place(plane.span, model: z, slices: slices, into: &part)
            }
            for k in slices {
                try body(k, group.span.extracting(((k - first) * area)..<((k - first + 1) * area)))
            }
        }
    }
}
