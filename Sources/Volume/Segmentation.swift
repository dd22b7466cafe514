import FlatGraph
import HostRuntime
import MKRuntime
import Ops

/// One run: reads the images, runs the network, writes the labels.
public struct Segmentation {
    private let model: MappedModel
    private let headers: [NIfTIHeader]
    private let plan: SegmentationPlan
    private let output: String
    private let progress: (String, Double) -> Bool
    /// Voxels per class index on the image's grid.
    public private(set) var classVoxels: [Int]
    public private(set) var warnings: [String] = []
    /// Seconds of each phase, in their order: reading (with coding), running, writing.
    public private(set) var seconds: [(phase: String, seconds: Double)] = []

    /// What comes out and where.
    public struct Output {
        public var path: String
        public var overwrite: Bool
        /// At most 79 bytes, for the header.
        public var description: String
        /// Class probabilities as a 4D image; the plan must have them.
        public var probabilities: String?

        public init(path: String, overwrite: Bool, description: String, probabilities: String? = nil) {
            self.path = path
            self.overwrite = overwrite
            self.description = description
            self.probabilities = probabilities
        }
    }

    /// - Parameters:
    ///   - headers: one per input channel, in the model's order, checked to lie on one grid.
    ///   - progress: stage and fraction; false cancels.
    /// - Throws: `VolumeError` for images and output (the output is opened before a voxel is read), `RuntimeError`,
    ///   `BudgetError` when the system has not the planned memory.
    public static func run(
        model: MappedModel, headers: [NIfTIHeader], plan: SegmentationPlan, isa: ISA, pool: ThreadPool,
        output: Output, progress: @escaping (String, Double) -> Bool
    ) throws -> Segmentation {
        let writer = try LabelWriter(
            path: output.path, like: headers[0], values: model.file.labelValues, description: output.description,
            overwrite: output.overwrite)
        var probabilities: ProbabilityWriter?
        if let path = output.probabilities {
            probabilities = try ProbabilityWriter(
                path: path, like: headers[0], classes: model.file.classCount, description: output.description,
                overwrite: output.overwrite, labels: output.path)
        }
        var result = Segmentation(model: model, headers: headers, plan: plan, output: output.path, progress: progress)
        let labels = try result.infer(isa, pool)
        let start = HostClock.nanoseconds()
        if plan.labelBytes == 1 {
            try result.write(labels, UInt8.self, writer)
        } else {
            try result.write(labels, UInt16.self, writer)
        }
        if let probabilities { try result.write(labels, probabilities) }
        try writer.finish()
        result.took("writing", since: start)
        return result
    }

    private mutating func took(_ phase: String, since start: UInt64) {
        seconds.append((phase, Double(HostClock.nanoseconds() - start) * 1e-9))
    }

    private init(
        model: MappedModel, headers: [NIfTIHeader], plan: SegmentationPlan, output: String,
        progress: @escaping (String, Double) -> Bool
    ) {
        self.model = model
        self.headers = headers
        self.plan = plan
        self.output = output
        self.progress = progress
        classVoxels = [Int](repeating: 0, count: model.file.classCount)
    }

    /// Folder of the output, where what does not fit into memory is kept.
    private var folder: String? {
        guard plan.storage == .disk else { return nil }
        return output.lastIndex(of: "/").map { String(output[...$0]) } ?? ""
    }

    private mutating func infer(_ isa: ISA, _ pool: ThreadPool) throws -> LabelStore {
        var start = HostClock.nanoseconds()
        let codes = try read()
        took("reading", since: start)
        start = HostClock.nanoseconds()
        guard let arena = Arena(byteCount: plan.run.arenaBytes) else {
            throw BudgetError(file: headers[0].path, limit: plan.totalBytes, needs: [plan.need])
        }
        let labels = try LabelStore(
            plan.grid, labelBytes: plan.labelBytes, probabilities: plan.run.probabilities ? model.file.classCount : 0,
            folder: folder, path: output)
        let session = try unsafe Session(file: model.file, plan: plan.run, arena: arena.bytes, isa: isa)
        let progress = progress
        unsafe try session.run(
            from: codes, to: labels, parallel: pool, progress: { progress("segmenting", Double($0) / Double($1)) })
        took("running", since: start)
        return labels
    }

    private mutating func read() throws(VolumeError) -> CodeStore {
        let codes = try CodeStore(
            channels: headers.count, extent: plan.grid.extent, coding: InputCoding(model.file), folder: folder,
            path: output)
        for (channel, header) in headers.enumerated() {
            _ = progress("reading", Double(channel) / Double(headers.count))
            if plan.readsSlices {
                try codes.fill(
                    channel: channel, slices: header, grid: plan.grid, folder: folder ?? "", warnings: &warnings)
            } else {
                try codes.fill(channel: channel, from: header, grid: plan.grid, warnings: &warnings)
            }
        }
        return codes
    }

    private func write(_ labels: LabelStore, _ writer: ProbabilityWriter) throws(VolumeError) {
        for c in 0..<model.file.classCount {
            try labels.forEachProbabilitySlice(c) { (_, slice) throws(VolumeError) in try writer.append(slice) }
            _ = progress("writing probabilities", Double(c + 1) / Double(model.file.classCount))
        }
        try writer.finish()
    }

    private mutating func write<T: FixedWidthInteger & BitwiseCopyable>(
        _ labels: LabelStore, _ type: T.Type, _ writer: LabelWriter
    ) throws(VolumeError) {
        let slices = headers[0].dims.z
        var found = classVoxels
        try labels.forEachSlice(type) { (k, slice) throws(VolumeError) in
            Self.count(slice, into: &found)
            try writer.append(slice)
            _ = progress("writing", Double(k + 1) / Double(slices))
        }
        classVoxels = found
    }

    /// Counts labels by runs: one count after the other on the same number would wait for it.
    private static func count<T: FixedWidthInteger & BitwiseCopyable>(_ labels: Span<T>, into found: inout [Int]) {
        let inWord = 8 / MemoryLayout<T>.size
        let ones = UInt64.max / UInt64(T.max)
        unsafe labels.withUnsafeBufferPointer { labels in
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
