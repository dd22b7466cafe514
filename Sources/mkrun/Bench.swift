import ArgumentParser
import CommandSupport
import FlatGraph
import HostRuntime
import MKRuntime
import Ops
import Volume

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Times a network on made-up codes, as a whole or op by op, against what this core can do.",
        discussion: """
            Example: mkrun bench model.mkq --volume 256x256x256 --per-op

            The network runs in the plan that segment would choose; reading, coding and writing are not timed. One round \
            warms up, then each of --rounds counts; rows are of the fastest.

            --per-op measures the limits of this core in the same run: register-only loops of the product, requantization \
            and scan-update steps of the instruction set, and copies through buffers of many sizes. "of limit" is the time \
            at the limit that binds (i: instructions, b: bandwidth of the cache level that the op's tensors fit into) over \
            the time taken. A row marked < takes more than 2 % of the run and is below 0.6 of its limit. With several \
            threads, rows are the mean of their times; waiting for one another is in the last row.
            """)

    @Argument(help: "Model file (.mkq).") var model: String
    @Option(help: "Voxels of the volume along the model's axes (default: the model's own grid, or 128x128x128).")
    var volume: VolumeSize?
    @Option(help: "Limit for the whole process, as for segment.") var memory: ByteSize?
    @Option(help: "Threads that compute (1...64).") var threads = 1
    @Option(help: "auto, whole, lines, tiles or windows.") var mode = PlanSearch.ModeChoice.auto
    @Option(help: "Cut instead of those that are tried, as for segment.") var tile: TileSize?
    @Option(help: "Tables per edge for KAN layers, the same labels: auto (where faster and memory allows), on or off.")
    var kanTables = KANTables.auto
    @Option(help: "Rounds that count (1...1000).") var rounds = 5
    @Flag(help: "A row for every op.") var perOp = false
    @Flag(help: "Print JSON instead of the table.") var json = false
    @Flag(help: "No progress on stderr.") var quiet = false

    func validate() throws {
        guard (1...64).contains(threads) else { throw ValidationError("--threads \(threads) (must be 1...64)") }
        guard (1...1000).contains(rounds) else { throw ValidationError("--rounds \(rounds) (must be 1...1000)") }
    }

    func run() throws {
        let isa = try ISA.selected()
        let mapped = try MappedModel(path: model)
        let record = mapped.file.record
        let codes = String(
            decoding: [record.orientation.0, record.orientation.1, record.orientation.2], as: UTF8.self)
        let size = volume?.size ?? GridSize(128, 128, 128)
        let spacing = [record.spacing.0, record.spacing.1, record.spacing.2].map { $0 == 0 ? 1 : Double($0) / 1000 }
        let header = NIfTIHeader.imagined(
            dims: size, spacing: SIMD3(spacing[0], spacing[1], spacing[2]), axisCodes: codes)
        let channels = max(1, mapped.file.count(.channelNames))
        let search = PlanSearch(
            model: mapped, headers: [NIfTIHeader](repeating: header, count: channels), threads: threads,
            fusion: kanTables.use)
        let plan: SegmentationPlan
        do {
            plan = try search.choose(mode, limit: memory?.bytes, tile: tile?.extent)
        } catch let error as BudgetError {
            throw CommandError(.overBudget, error.description)
        }
        let progress = Progress(quiet: quiet)
        let benchmark = try Benchmark.run(
            mapped, plan: plan, isa: isa, pool: ThreadPool(threads: threads), rounds: rounds, perOp: perOp
        ) { progress.update("timing", Double($0) / Double($1)) }
        progress.finish()
        let report = BenchReport(model: mapped, plan: plan, isa: isa, benchmark: benchmark)
        print(json ? report.json.text() : report.text)
    }
}
