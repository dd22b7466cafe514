import FlatGraph
import HostRuntime
import MKRuntime
import Ops

/// The memory of a whole `segment` run, known before a voxel is read.
public struct SegmentationPlan: Sendable {
    /// How the mode is chosen.
    public enum ModeChoice: String, Sendable, CaseIterable {
        case auto, whole, windows
    }

    /// One line of the memory table.
    public struct Item: Sendable {
        public var name: String
        public var bytes: Int
    }

    public let run: RunPlan
    public let grid: ModelGrid
    /// What is resident at the same time in each phase; the process needs the largest sum.
    public let phases: [(name: String, items: [Item])]

    public var totalBytes: Int { phases.map { $0.items.reduce(0) { $0 + $1.bytes } }.max() ?? 0 }

    /// Code, libraries, stacks and small allocations of the program itself; measured by `mkrun info --memory`
    /// (docs/memory.md), rounded up.
    public static let processBytes = 24 << 20

    init(run: RunPlan, grid: ModelGrid, phases: [(name: String, items: [Item])]) {
        self.run = run
        self.grid = grid
        self.phases = phases
    }

    /// The plan for one mode.
    public init(
        model: MappedModel, headers: [NIfTIHeader], mode: ExecutionMode, threads: Int
    ) throws {
        let file = model.file
        let grid = try ModelGrid(headers[0], file)
        let run = try RunPlan(file: file, volume: grid.extent, mode: mode, threads: threads)
        self.init(
            run: run, grid: grid, phases: Self.phases(model, headers, grid, run))
    }

    /// The first mode of the choice that fits into `limit`.
    /// - Throws: `BudgetError` naming what each mode needs.
    public static func choose(
        model: MappedModel, headers: [NIfTIHeader], mode: ModeChoice, threads: Int, limit: Int?
    ) throws -> SegmentationPlan {
        var plans: [SegmentationPlan] = []
        switch mode {
        case .whole: plans = [try SegmentationPlan(model: model, headers: headers, mode: .whole, threads: threads)]
        case .windows: plans = [try SegmentationPlan(model: model, headers: headers, mode: .windows, threads: threads)]
        case .auto:
            // Statistics and scans over the whole volume are not what such a network was trained with.
            let hasWindows = RunPlan.supportsWindows(model.file)
            if !(hasWindows && RunPlan.isGlobal(model.file)) {
                plans = [try SegmentationPlan(model: model, headers: headers, mode: .whole, threads: threads)]
            }
            if hasWindows {
                plans.append(try SegmentationPlan(model: model, headers: headers, mode: .windows, threads: threads))
            }
        }
        guard let limit else { return plans[0] }
        if let fits = plans.first(where: { $0.totalBytes <= limit }) { return fits }
        throw BudgetError(file: headers[0].path, limit: limit, needs: plans.map { ($0.run.mode, $0.totalBytes) })
    }

    private static func phases(
        _ model: MappedModel, _ headers: [NIfTIHeader], _ grid: ModelGrid, _ run: RunPlan
    ) -> [(name: String, items: [Item])] {
        let file = model.file
        let process = Item(name: "program", bytes: processBytes)
        let weights = Item(name: "model file", bytes: model.byteCount)
        let codes = Item(name: "input codes", bytes: run.volume.voxels * headers.count)
        let voxels = headers.map {
            VoxelVolume.bytesNeeded($0) + ModelInput.bytesNeeded($0, grid: grid.grid)
        }.max()!
        let labels = Item(
            name: "labels", bytes: run.volume.voxels * Argmax(classes: file.classCount).labelBytes)
        let writer =
            LabelWriter.bytesNeeded(headers[0], values: file.labelValues)
            + headers[0].dims.x * headers[0].dims.y * 2
        return [
            ("reading", [process, weights, Item(name: "voxels", bytes: voxels), codes]),
            ("running", [process, weights, codes, Item(name: "arena", bytes: run.arenaBytes), labels]),
            ("writing", [process, weights, labels, Item(name: "output slices", bytes: writer)]),
        ]
    }
}

/// A run that cannot fit: what it needs and what it was given.
public struct BudgetError: Error, CustomStringConvertible {
    public let file: String
    public let limit: Int
    public let needs: [(mode: ExecutionMode, bytes: Int)]

    public var description: String {
        let list = needs.map { "\($0.mode == .whole ? "whole" : "windows") needs \(($0.bytes + 1_048_575) >> 20) MiB" }
        return "\(file): memory limit of \(limit >> 20) MiB cannot be met: \(list.joined(separator: ", "))"
    }
}

extension ModelFile {
    /// Value in the label volume by class index.
    public var labelValues: [UInt16] { (0..<classCount).map { label($0).value } }
}
