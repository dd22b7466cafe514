import FlatGraph
import MKRuntime
import Ops

/// Class indices on the model's grid on their way to the output: `[depth][height][width]`, one or two bytes each, in memory or
/// in a file, or nowhere where they are written as they come. Voxels that never arrive are background. Probabilities of the classes are planes of their own, one byte each; where none
/// arrive the first class has all.
final class LabelStore: LabelSink {
    private let store: ByteStore?
    private let extent: Extent
    private let bytes: Int
    private let back: LabelReturn
    private let probabilities: ByteStore?
    private let classes: Int

    /// - Parameters:
    ///   - keepsLabels: false where `forEachSlice(showing:)` gets every plane.
    ///   - probabilities: of how many classes; 0 for none.
    init(
        _ grid: ModelGrid, labelBytes: Int, keepsLabels: Bool = true, probabilities classes: Int = 0, folder: String?,
        path: String
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
        store = keepsLabels ? try ByteStore(count: extent.voxels * labelBytes, folder: folder, path: path) : nil
    }

    func take(_ slice: LabelSlice) -> Bool {
        guard let store else { return true }
        return unsafe put(slice, slice.labels, bytes: bytes, into: store, at: 0)
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

    /// Calls `body` with every slice of the stored grid, from the first: dims.x * dims.y class indices.
    func forEachSlice<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type, _ body: (Int, Span<T>) throws(VolumeError) -> Void
    ) throws(VolumeError) {
        precondition(MemoryLayout<T>.size == bytes, "labels of another width")
        try forEachSlice(of: store!, at: 0, outside: T.zero, body)
    }

    /// Calls `body` with the slices from `first` that show plane `z` of the model or lie outside before such, which are background. For
    /// images whose slices follow the planes.
    /// - Parameter plane: its labels; nil after the last plane, for what lies outside behind it.
    /// - Returns: the slice after the last.
    func forEachSlice<T: FixedWidthInteger & BitwiseCopyable>(
        from first: Int, showing plane: Span<T>?, z: Int, _ body: (Int, Span<T>) throws(VolumeError) -> Void
    ) throws(VolumeError) -> Int {
        precondition(MemoryLayout<T>.size == bytes, "labels of another width")
        if let plane, back.keepsPlanes {
            try body(first, plane)
            return first + 1
        }
        var k = first
        var slice = [T](repeating: 0, count: back.storedSize.x * back.storedSize.y)
        while k < back.storedSize.z, back.plane(k) <= z {
            unsafe slice.withUnsafeMutableBufferPointer { unsafe $0.update(repeating: 0) }
            if let plane, back.plane(k) == z {
                var target = slice.mutableSpan
                back.place(plane, model: z, slices: k..<(k + 1), into: &target)
            }
            try body(k, slice.span)
            k += 1
        }
        return k
    }

    /// The same for the probabilities of one class.
    func forEachProbabilitySlice(
        _ c: Int, _ body: (Int, Span<UInt8>) throws(VolumeError) -> Void
    ) throws(VolumeError) {
        guard let probabilities else { return }
        try forEachSlice(of: probabilities, at: c * extent.voxels, outside: c == 0 ? 255 : 0, body)
    }

    private func forEachSlice<T: FixedWidthInteger & BitwiseCopyable>(
        of store: ByteStore, at start: Int, outside: T, _ body: (Int, Span<T>) throws(VolumeError) -> Void
    ) throws(VolumeError) {
        let size = back.storedSize
        let area = size.x * size.y
        var plane = [T](repeating: 0, count: extent.height * extent.width)
        let isAligned = back.planeAxis == 2
        let step = isAligned ? 1 : Self.group
        var group = [T](repeating: 0, count: min(step, size.z) * area)
        for first in stride(from: 0, to: size.z, by: step) {
            let slices = first..<min(first + step, size.z)
            unsafe group.withUnsafeMutableBufferPointer { unsafe $0.update(repeating: outside) }
            for z in 0..<extent.depth where !isAligned || back.plane(first) == z {
                try store.read(into: &plane, at: start + z * plane.count * MemoryLayout<T>.size)
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
