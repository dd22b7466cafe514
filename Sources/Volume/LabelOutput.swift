import HostRuntime
import MKRuntime

/// Takes the network's labels and writes the image's slices: as the planes come, where slices follow planes, else from the
/// store when all have come. Counts the voxels of every class on the way.
final class LabelOutput: LabelSink {
    private let store: LabelStore
    private let writer: LabelWriter
    private let labelBytes: Int
    private let isDirect: Bool
    private let slices: Int
    private var slicesWritten = 0
    private var failure: VolumeError?
    /// Voxels per class index of the slices written.
    private(set) var classVoxels: [Int]
    /// Spent in writing so far.
    private(set) var nanoseconds: UInt64 = 0

    /// - Parameter isDirect: every plane comes whole and in order, and the store keeps no labels.
    init(_ store: LabelStore, _ writer: LabelWriter, labelBytes: Int, isDirect: Bool, slices: Int, classes: Int) {
        self.store = store
        self.writer = writer
        self.labelBytes = labelBytes
        self.isDirect = isDirect
        self.slices = slices
        classVoxels = [Int](repeating: 0, count: classes)
    }

    func take(_ slice: LabelSlice) -> Bool {
        guard isDirect else { return store.take(slice) }
        do throws(VolumeError) {
            // Not a generic class: its methods would be called through a table, with the slow code for any type of label.
            if labelBytes == 1 {
                try write(showing: unsafe Span(_bytes: slice.labels.bytes) as Span<UInt8>, z: slice.z)
            } else {
                try write(showing: unsafe Span(_bytes: slice.labels.bytes) as Span<UInt16>, z: slice.z)
            }
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
        if labelBytes == 1 { try finish(UInt8.self, progress) } else { try finish(UInt16.self, progress) }
        let start = HostClock.nanoseconds()
        try writer.finish()
        nanoseconds += HostClock.nanoseconds() - start
    }

    private func finish<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type, _ progress: (Double) -> Void
    ) throws(VolumeError) {
        if isDirect { return try write(showing: nil as Span<T>?, z: .max) }
        let start = HostClock.nanoseconds()
        try store.forEachSlice(type) { (k, slice) throws(VolumeError) in
            slice.count(into: &classVoxels)
            try writer.append(slice)
            progress(Double(k + 1) / Double(slices))
        }
        nanoseconds += HostClock.nanoseconds() - start
    }

    private func write<T: FixedWidthInteger & BitwiseCopyable>(showing plane: Span<T>?, z: Int) throws(VolumeError) {
        let start = HostClock.nanoseconds()
        slicesWritten = try store.forEachSlice(from: slicesWritten, showing: plane, z: z) {
            (_, slice) throws(VolumeError) in
            slice.count(into: &classVoxels)
            try writer.append(slice)
        }
        nanoseconds += HostClock.nanoseconds() - start
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
