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
    /// Seconds of each phase: reading (with coding, unless that is done when the network asks), running, writing (also what of it is done while it runs).
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
        let ownThread = pool.threads > 1
        let writer = try LabelWriter(
            path: output.path, like: headers[0], values: model.file.labelValues, description: output.description,
            overwrite: output.overwrite, ownThread: ownThread)
        var probabilities: ProbabilityWriter?
        if let path = output.probabilities {
            probabilities = try ProbabilityWriter(
                path: path, like: headers[0], classes: model.file.classCount, description: output.description,
                overwrite: output.overwrite, labels: output.path, ownThread: ownThread)
        }
        var result = Segmentation(model: model, headers: headers, plan: plan, output: output.path, progress: progress)
        try result.run(writer, probabilities, isa, pool)
        return result
    }

    private mutating func run(
        _ writer: LabelWriter, _ probabilities: ProbabilityWriter?, _ isa: ISA, _ pool: ThreadPool
    ) throws {
        let labels = try LabelStore(
            plan.grid, labelBytes: plan.labelBytes, keepsLabels: !plan.writesDirectly,
            probabilities: plan.run.probabilities ? model.file.classCount : 0,
            folder: folder, path: output)
        let sink = LabelOutput(
            labels, writer, labelBytes: plan.labelBytes, isDirect: plan.writesDirectly, slices: headers[0].dims.z,
            classes: model.file.classCount)
        try infer(sink, isa, pool)
        let start = HostClock.nanoseconds()
        let before = sink.nanoseconds
        let progress = progress
        try sink.finish { _ = progress("writing", $0) }
        if let probabilities { try write(labels, probabilities) }
        took("writing", before + HostClock.nanoseconds() - start)
        classVoxels = sink.classVoxels
    }

    private mutating func took(_ phase: String, _ nanoseconds: UInt64) {
        seconds.append((phase, Double(nanoseconds) * 1e-9))
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

    /// Codes and arena are gone when it returns.
    private mutating func infer(_ sink: LabelOutput, _ isa: ISA, _ pool: ThreadPool) throws {
        let start = HostClock.nanoseconds()
        let ownThread = pool.threads > 1
        guard plan.codesWhenAsked else {
            let codes = try read(ownThread: ownThread)
            took("reading", HostClock.nanoseconds() - start)
            return try infer(codes, sink, isa, pool)
        }
        let images = try CodedImages(
            headers, grid: plan.grid, coding: InputCoding(model.file), ownThread: ownThread, warnings: &warnings
        ) { _ = progress("reading", Double($0) / Double(headers.count)) }
        took("reading", HostClock.nanoseconds() - start)
        try infer(images, sink, isa, pool)
    }

    private mutating func infer(_ codes: some CodeSource, _ sink: LabelOutput, _ isa: ISA, _ pool: ThreadPool) throws {
        let start = HostClock.nanoseconds()
        guard let arena = Arena(byteCount: plan.run.arenaBytes) else {
            throw BudgetError(file: headers[0].path, limit: plan.totalBytes, needs: [plan.need])
        }
        let session = try unsafe Session(file: model.file, plan: plan.run, arena: arena.bytes, isa: isa)
        let progress = progress
        do {
            unsafe try session.run(
                from: codes, to: sink, parallel: pool, progress: { progress("segmenting", Double($0) / Double($1)) })
        } catch {
            // The run only knows that its labels were not taken.
            throw sink.outputError ?? error
        }
        took("running", HostClock.nanoseconds() - start - sink.nanoseconds)
    }

    private mutating func read(ownThread: Bool) throws(VolumeError) -> CodeStore {
        let codes = try CodeStore(
            channels: headers.count, extent: plan.grid.extent, coding: InputCoding(model.file), folder: folder,
            path: output)
        for (channel, header) in headers.enumerated() {
            _ = progress("reading", Double(channel) / Double(headers.count))
            if plan.readsSlices {
                try codes.fill(
                    channel: channel, slices: header, grid: plan.grid, folder: folder ?? "", ownThread: ownThread,
                    warnings: &warnings)
            } else {
                try codes.fill(
                    channel: channel, from: header, grid: plan.grid, ownThread: ownThread, warnings: &warnings)
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
}
