import HostRuntime
import MKRuntime

/// Takes the network's labels and writes the image's slices as soon as all they show has arrived: where the image lies like
/// the model's planes, while the network runs. Counts the voxels of every class on the way.
final class LabelOutput: LabelSink {
    private let store: LabelStore
    private let writer: LabelWriter
    private let labelBytes: Int
    /// Width and height of the model's planes.
    private let plane: (Int, Int)
    /// Planes that arrived whole and in order, from the first.
    private var planes = 0
    private var slicesWritten = 0
    private var failure: VolumeError?
    /// Voxels per class index of the slices written.
    private(set) var classVoxels: [Int]
    /// Spent in writing so far.
    private(set) var nanoseconds: UInt64 = 0

    init(_ store: LabelStore, _ writer: LabelWriter, grid: ModelGrid, labelBytes: Int, classes: Int) {
        self.store = store
        self.labelBytes = labelBytes
        self.writer = writer
        plane = (grid.extent.width, grid.extent.height)
        classVoxels = [Int](repeating: 0, count: classes)
    }

    func take(_ slice: LabelSlice) -> Bool {
        guard store.take(slice) else { return false }
        guard slice.z == planes, (slice.x.count, slice.y.count) == plane else { return true }
        planes += 1
        do throws(VolumeError) {
            try write(before: store.slicesReady(planes: planes)) { _ in }
        } catch {
            failure = error
            return false
        }
        return true
    }

    func takeProbabilities(_ slice: LabelSlice) -> Bool { store.takeProbabilities(slice) }

    /// Why `take` could not go on, if that was the output.
    var outputError: VolumeError? { failure }

    /// Writes the slices that are left and completes the file.
    /// - Parameter progress: called with the share of slices written.
    func finish(progress: (Double) -> Void) throws(VolumeError) {
        let slices = store.slicesReady(planes: .max)
        try write(before: slices) { progress(Double($0 + 1) / Double(slices)) }
        let start = HostClock.nanoseconds()
        try writer.finish()
        nanoseconds += HostClock.nanoseconds() - start
    }

    private func write(before end: Int, _ written: (Int) -> Void) throws(VolumeError) {
        guard end > slicesWritten else { return }
        let start = HostClock.nanoseconds()
        // Not a generic class: its methods would be called through a table, with the slow code for any type of label.
        if labelBytes == 1 {
            try write(UInt8.self, slicesWritten..<end, written)
        } else {
            try write(UInt16.self, slicesWritten..<end, written)
        }
        slicesWritten = end
        nanoseconds += HostClock.nanoseconds() - start
    }

    private func write<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type, _ slices: Range<Int>, _ written: (Int) -> Void
    ) throws(VolumeError) {
        var found = classVoxels
        try store.forEachSlice(type, slices: slices) { (k, slice) throws(VolumeError) in
            slice.count(into: &found)
            try writer.append(slice)
            written(k)
        }
        classVoxels = found
    }
}

extension Span where Element: FixedWidthInteger & BitwiseCopyable {
    /// Adds to `found[l]` how often label `l` is here. Counts by runs: one count after the other on the same number would wait for it.
    fileprivate func count(into found: inout [Int]) {
        let inWord = 8 / MemoryLayout<Element>.size
        let ones = UInt64.max / UInt64(Element.max)
        unsafe withUnsafeBufferPointer { labels in
            var start = 0
            while start < labels.count {
                let label = unsafe labels[start]
                var end = start + 1
                // Eight bytes of the same label at a time.
                while end + inWord <= labels.count,
                    unsafe UnsafeRawPointer(labels.baseAddress! + end).loadUnaligned(as: UInt64.self)
                        == UInt64(label) &* ones
                { end += inWord }
                while end < labels.count, unsafe labels[end] == label { end += 1 }
                found[Int(label)] += end - start
                start = end
            }
        }
    }
}
