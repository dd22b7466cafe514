import ArgumentParser
import CommandSupport
import FlatGraph
import HostRuntime
import MKRuntime
import Ops
import Volume

struct Plan: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Says what memory and time a model needs on a volume, before there is one.",
        discussion: """
            Example: mkquant plan model.mkq --volume 240x240x155 --memory 64MiB --svg plan.svg

            The first table has, for each execution mode, the fastest plan and the smallest one, for the whole process. \
            Then comes the plan that --memory (or no limit) leads to, with every buffer. Times are estimates from a short \
            run on this machine. For an image at hand, mkrun segment --dry-run gives the same.
            """)

    @Argument(help: "Model file (.mkq).") var model: String
    @Option(help: "Voxels of the image along its stored axes, e.g. 256x256x256.") var volume: VolumeSize
    @Option(help: "Axis codes of the image.") var orientation = "RAS"
    @Option(help: "Voxel size of the image in mm along its stored axes, e.g. 1x1x1.") var spacing = Spacing()
    @Option(help: "Limit for the whole process, e.g. 64MiB.") var memory: ByteSize?
    @Option(help: "Threads that compute (1...64).") var threads = 1
    @Option(help: "auto, whole, lines, tiles or windows.") var mode = PlanSearch.ModeChoice.auto
    @Option(help: "Cut instead of those that are tried, as for mkrun segment.") var tile: TileSize?
    @Option(help: "Tables per edge for KAN layers, the same labels: auto (where faster and memory allows), on or off.")
    var kanTables = KANTables.auto
    @Option(help: "Write the map of the arena over time as an SVG picture.") var svg: String?
    @Flag(help: "Replace an existing picture.") var overwrite = false
    @Flag(help: "No estimates of time (no trial run).") var noTime = false
    @Flag(help: "Print the chosen plan as JSON.") var json = false

    func validate() throws {
        guard (1...64).contains(threads) else { throw ValidationError("--threads \(threads) (must be 1...64)") }
    }

    func run() throws {
        let mapped = try MappedModel(path: model)
        let header = NIfTIHeader.imagined(dims: volume.size, spacing: spacing.value, axisCodes: orientation)
        let channels = max(1, mapped.file.count(.channelNames))
        let search = PlanSearch(
            model: mapped, headers: [NIfTIHeader](repeating: header, count: channels), threads: threads,
            fusion: kanTables.use)
        var estimate: ((SegmentationPlan) -> Double)?
        if !noTime, let trial = SpeedTrial(mapped, isa: try ISA.selected(), pool: ThreadPool(threads: threads)) {
            estimate = { trial.seconds($0) }
        }
        if !json { print(PlanText.modes(search, estimate: estimate) + "\n") }
        let plan: SegmentationPlan
        do {
            plan = try search.choose(mode, limit: memory?.bytes, tile: tile?.extent)
        } catch let error as BudgetError {
            throw CommandError(.overBudget, error.description)
        }
        let text = PlanText(plan, mapped, limit: memory?.bytes, estimate: estimate)
        print(json ? text.json.text() : text.text)
        if let svg { try WholeFile.write(Array(text.svg.utf8), to: svg, overwrite: overwrite) }
    }
}

/// Three positive sizes in mm such as 1x1x1.2.
struct Spacing: ExpressibleByArgument {
    var value = SIMD3(1.0, 1, 1)

    init() {}

    init?(argument: String) {
        let sizes = argument.split(separator: "x", omittingEmptySubsequences: false).map { Double($0) ?? 0 }
        guard sizes.count == 3, sizes.allSatisfy({ $0 > 0 && $0.isFinite }) else { return nil }
        value = SIMD3(sizes[0], sizes[1], sizes[2])
    }

    var defaultValueDescription: String { "1x1x1" }
}
