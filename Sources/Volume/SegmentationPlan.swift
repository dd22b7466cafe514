import FlatGraph
import HostRuntime
import MKRuntime
import Ops

/// The memory of a whole `segment` run, known before a voxel is read.
public struct SegmentationPlan: Sendable {
    /// Where input codes and labels of the whole volume are kept.
    public enum Storage: String, Sendable, CaseIterable {
        case memory
        /// In nameless files beside the output.
        case disk
    }

    /// One line of the memory table.
    public struct Item: Sendable {
        public var name: String
        public var bytes: Int
    }

    public let run: RunPlan
    public let grid: ModelGrid
    public let storage: Storage
    /// Images are read slice by slice, never whole.
    public let readsSlices: Bool
    /// Images stay in memory as they are and are coded when the network asks; there is no volume of codes.
    public let codesWhenAsked: Bool
    /// Labels are written as they come and wait nowhere.
    public let writesDirectly: Bool
    /// Of a class index, 1 or 2.
    public let labelBytes: Int
    /// What is resident at the same time in each phase; the process needs the largest sum.
    public let phases: [(name: String, items: [Item])]

    public var totalBytes: Int { phases.map { $0.items.reduce(0) { $0 + $1.bytes } }.max() ?? 0 }
    /// Bytes kept on disk while it runs.
    public let diskBytes: Int

    /// Code, libraries, stacks and small allocations of the program itself; `mkrun info` measures it (docs/memory.md).
    public static let processBytes = 18 << 20

    public init(
        model: MappedModel, headers: [NIfTIHeader], mode: ExecutionMode, threads: Int, tile: Extent? = nil,
        storage: Storage = .memory, streaming: BlockStreaming? = nil, probabilities: Bool = false,
        fusion: Fusion = .rows
    ) throws {
        let file = model.file
        grid = try ModelGrid(headers[0], file)
        run = try RunPlan(
            file: file, volume: grid.extent, mode: mode, threads: threads, tile: tile,
            streaming: streaming, probabilities: probabilities, fusion: fusion)
        self.storage = storage
        readsSlices = storage == .disk && !grid.grid.interpolates
        // Each plane is asked for whole and in the order in which it lies in the file.
        codesWhenAsked =
            storage == .memory && !grid.grid.interpolates && grid.axisMap.storedAxis[2] == 2 && run.tileCount == 1
            && run.mode != .windows
            && headers.allSatisfy { $0.datatype.storedByteCount <= file.codeBytes }
        writesDirectly = run.givesWholePlanes && LabelReturn(axisMap: grid.axisMap, grid: grid.grid).followsPlanes
        labelBytes = Argmax(classes: file.classCount).labelBytes
        let sizes = Sizes(
            model: model, headers: headers, grid: grid, run: run, isOnDisk: storage == .disk,
            readsSlices: readsSlices, codesWhenAsked: codesWhenAsked, writesDirectly: writesDirectly,
            labelBytes: labelBytes)
        phases = sizes.phases()
        diskBytes = sizes.diskBytes
    }

    /// How the plan is told apart from others in messages and tables.
    public var summary: String {
        var parts = [run.mode.name]
        switch run.mode {
        case .whole: break
        case .lines where run.tileCount == 1: break
        case .lines: parts.append("of \(run.tile.height) x \(run.tile.width)")
        case .tiles: parts.append("of \(run.tile.depth) x \(run.tile.height) x \(run.tile.width)")
        case .windows where run.tileCount > 1: parts.append("in \(run.tileCount) strips")
        case .windows: break
        }
        if let streaming = run.streaming {
            parts.append("with blocks in chunks of \(streaming.chunk)\(streaming.keepsBackwardOutput ? "" : ", twice")")
        }
        if run.tableLayerCount > 0 { parts.append("with tables of \(run.tableLayerCount) KAN layers") }
        if storage == .disk { parts.append("on disk") }
        return parts.joined(separator: " ")
    }

    var need: (name: String, bytes: Int) { (summary, totalBytes) }
}

/// The parts of `SegmentationPlan.phases`.
private struct Sizes {
    typealias Item = SegmentationPlan.Item

    let model: MappedModel
    let headers: [NIfTIHeader]
    let grid: ModelGrid
    let run: RunPlan
    let isOnDisk: Bool
    let readsSlices: Bool
    let codesWhenAsked: Bool
    let writesDirectly: Bool
    let labelBytes: Int

    private var codeBytes: Int { run.volume.voxels * headers.count * model.file.codeBytes }
    private var labelVolume: Int { writesDirectly ? 0 : run.volume.voxels * labelBytes }
    private var probabilityVolume: Int { run.probabilities ? run.volume.voxels * model.file.classCount : 0 }

    var diskBytes: Int {
        guard isOnDisk else { return 0 }
        // Codes in stored order exist beside those of the model's planes for one channel.
        let kept = readsSlices && grid.axisMap.storedAxis[2] != 2 ? headers.map(\.dims.count).max() ?? 0 : 0
        return codeBytes + max(kept * model.file.codeBytes, labelVolume + probabilityVolume)
    }

    func phases() -> [(name: String, items: [Item])] {
        let writers = run.probabilities ? 2 : 1
        let always = [
            Item(name: "program", bytes: SegmentationPlan.processBytes),
            Item(name: "model file", bytes: model.byteCount),
            Item(
                name: "output slices",
                bytes: writers
                    * LabelWriter.bytesNeeded(headers[0], values: model.file.labelValues, ownThread: run.threads > 1)),
        ]
        let codes = isOnDisk ? [] : [input]
        var labels = isOnDisk || writesDirectly ? [] : [Item(name: "labels", bytes: labelVolume)]
        if run.probabilities, !isOnDisk { labels.append(Item(name: "probabilities", bytes: probabilityVolume)) }
        let slices = [
            Item(name: "label slices", bytes: LabelStore.returnBytes(headers[0], grid, labelBytes: labelBytes))
        ]
        let running = labels + (writesDirectly ? slices : [])
        return [
            ("reading", always + codes + [reading]),
            ("running", always + codes + [Item(name: "arena", bytes: run.arenaBytes)] + running),
            ("writing", always + labels + slices),
        ]
    }

    /// What the network reads, while it runs.
    private var input: Item {
        guard codesWhenAsked else { return Item(name: "input codes", bytes: codeBytes) }
        let images = headers.map { CodedImages.bytesNeeded($0, grid, codeBytes: model.file.codeBytes) }
        return Item(name: "images", bytes: images.reduce(0, +))
    }

    /// Besides, while images are read: of the channel that needs most, because one is read at a time.
    private var reading: Item {
        let width = model.file.codeBytes
        let channels = headers.map { header in
            let statistics = VoxelStream.statisticsBytes(header, grid.normalization)
            if codesWhenAsked { return VoxelVolume.readBufferBytes + statistics }
            if readsSlices {
                return max(
                    statistics + VoxelStream.bytesNeeded(header), CodeStore.sliceBytes(header, grid, codeBytes: width))
            }
            let plane = isOnDisk ? grid.extent.height * grid.extent.width * width : 0
            let table =
                width == 1
                ? ModelInput<UInt8>.bytesNeeded(header, grid: grid.grid)
                : ModelInput<Int16>.bytesNeeded(header, grid: grid.grid)
            return VoxelVolume.bytesNeeded(header) + max(statistics, table + plane)
        }
        let name = codesWhenAsked ? "statistics" : readsSlices ? "voxels of a slice" : "voxels"
        return Item(name: name, bytes: channels.max() ?? 0)
    }
}

/// A run that cannot fit: what it needs and what it was given.
public struct BudgetError: Error, CustomStringConvertible {
    public let file: String
    public let limit: Int
    public let needs: [(name: String, bytes: Int)]

    public var description: String {
        let list = needs.map { "\($0.name) needs \(($0.bytes + 1_048_575) >> 20) MiB" }
        let least = needs.min { $0.bytes < $1.bytes }
        let way =
            least.map { "; the smallest that works is --memory \(($0.bytes + 1_048_575) >> 20)MiB (\($0.name))" } ?? ""
        return "\(file): memory limit of \(limit >> 20) MiB cannot be met: \(list.joined(separator: ", "))\(way)"
    }
}

extension ModelFile {
    /// Value in the label volume by class index.
    public var labelValues: [UInt16] { (0..<classCount).map { label($0).value } }
}
