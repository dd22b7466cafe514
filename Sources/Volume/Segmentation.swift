import FlatGraph
import HostRuntime
import MKRuntime
import Ops

/// A finished segmentation in memory: class indices on the model's grid, and the way back to the image's.
public struct Segmentation {
    /// One or two bytes per voxel, `[depth][height][width]` of the model's grid.
    private let labels: Arena
    private let labelBytes: Int
    private let plan: SegmentationPlan
    private let header: NIfTIHeader
    private let file: ModelFile
    /// Voxels per class index on the image's grid, filled by `write`.
    public private(set) var classVoxels: [Int] = []
    public private(set) var warnings: [String]

    /// Reads the images, runs the network.
    ///
    /// - Parameters:
    ///   - headers: one per input channel, in the model's order, checked to lie on one grid.
    ///   - progress: stage and fraction; false cancels.
    public static func run(
        model: MappedModel, headers: [NIfTIHeader], plan: SegmentationPlan, isa: ISA, pool: ThreadPool,
        progress: @escaping (String, Double) -> Bool
    ) throws -> Segmentation {
        var warnings: [String] = []
        let codes = try read(model, headers, plan, progress, &warnings)
        let labelBytes = Argmax(classes: model.file.classCount).labelBytes
        let voxels = plan.run.volume.voxels
        guard let labels = Arena(byteCount: voxels * labelBytes), let arena = Arena(byteCount: plan.run.arenaBytes)
        else {
            throw BudgetError(file: headers[0].path, limit: 0, needs: [(plan.run.mode, plan.totalBytes)])
        }
        let session = try unsafe Session(file: model.file, plan: plan.run, arena: arena.bytes, isa: isa)
        try unsafe session.run(
            codes: UnsafeRawBufferPointer(codes.bytes).bindMemory(to: UInt8.self),
            labels: labels.bytes, parallel: pool,
            progress: { progress("segmenting", Double($0) / Double($1)) })
        return Segmentation(
            labels: labels, labelBytes: labelBytes, plan: plan, header: headers[0], file: model.file, warnings: warnings
        )
    }

    private static func read(
        _ model: MappedModel, _ headers: [NIfTIHeader], _ plan: SegmentationPlan,
        _ progress: (String, Double) -> Bool, _ warnings: inout [String]
    ) throws -> Arena {
        let voxels = plan.run.volume.voxels
        guard let codes = Arena(byteCount: voxels * headers.count) else {
            throw BudgetError(file: headers[0].path, limit: 0, needs: [(plan.run.mode, plan.totalBytes)])
        }
        for (channel, header) in headers.enumerated() {
            _ = progress("reading", Double(channel) / Double(headers.count))
            let volume = try VoxelVolume.read(header)
            warnings += volume.header.warnings
            var input = plan.grid.input(volume, model.file, warnings: &warnings)
            let part = unsafe UnsafeMutableBufferPointer(
                rebasing: codes.bytes.bindMemory(to: UInt8.self)[(channel * voxels)..<((channel + 1) * voxels)])
            var span = unsafe part.mutableSpan
            input.write(planes: 0..<plan.run.volume.depth, into: &span)
        }
        return codes
    }

    private init(
        labels: Arena, labelBytes: Int, plan: SegmentationPlan, header: NIfTIHeader, file: ModelFile, warnings: [String]
    ) {
        self.labels = labels
        self.labelBytes = labelBytes
        self.plan = plan
        self.header = header
        self.file = file
        self.warnings = warnings
    }

    /// Writes the label volume on the image's grid and counts the voxels of each class.
    public mutating func write(
        to path: String, overwrite: Bool, description: String, progress: (String, Double) -> Bool
    ) throws {
        let writer = try LabelWriter(
            path: path, like: header, values: file.labelValues, description: description, overwrite: overwrite)
        classVoxels = [Int](repeating: 0, count: file.classCount)
        if labelBytes == 1 {
            try write(UInt8.self, writer, progress)
        } else {
            try write(UInt16.self, writer, progress)
        }
        try writer.finish()
    }

    private mutating func write<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type, _ writer: LabelWriter, _ progress: (String, Double) -> Bool
    ) throws {
        let back = LabelReturn(axisMap: plan.grid.axisMap, grid: plan.grid.grid)
        let size = back.storedSize
        var slice = [T](repeating: 0, count: size.x * size.y)
        let labels = unsafe UnsafeRawBufferPointer(labels.bytes).bindMemory(to: T.self)
        let voxels = plan.run.volume.voxels
        for z in 0..<size.z {
            var target = slice.mutableSpan
            let all = unsafe labels.span
            back.slice(z, from: all.extracting(0..<voxels), into: &target)
            count(slice)
            try writer.append(slice.span)
            _ = progress("writing", Double(z + 1) / Double(size.z))
        }
    }

    private mutating func count<T: FixedWidthInteger>(_ slice: [T]) {
        var found = [Int](repeating: 0, count: classVoxels.count)
        for label in slice { found[Int(label)] += 1 }
        for index in found.indices { classVoxels[index] += found[index] }
    }
}
