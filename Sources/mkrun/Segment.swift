import ArgumentParser
import CommandSupport
import FlatGraph
import HostRuntime
import MKRuntime
import Ops
import Volume

struct Segment: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Segments a volume: labels come out on the input's own grid.",
        discussion: """
            One image: mkrun segment model.mkq T1.nii.gz -o labels.nii.gz
            Several channels, by the names in the model, in any order: \
            mkrun segment model.mkq -i t1=a.nii.gz -i flair=b.nii.gz -o labels.nii.gz
            They must have the same shape, voxel size and affine (each voxel within 1e-3 mm).

            --memory bounds the resident set of the whole process. A run that does not fit is refused before a voxel is \
            read, with what it needs; --dry-run prints the plan. Less memory costs time: layers run slice by slice, in \
            tiles, and volumes wait in nameless files beside the output. The labels stay the same.
            """)

    @Argument(help: "Model file (.mkq).") var model: String
    @Argument(help: "Input images: a NIfTI file, or NAME=FILE for each channel of the model.") var images: [String] = []
    @Option(name: [.short, .long], help: "The same as an option, once per channel.") var input: [String] = []
    @Option(name: [.short, .long], help: "Label volume to write (.nii or .nii.gz).") var output: String?
    @Option(help: "Limit for the whole process, e.g. 256MiB.") var memory: ByteSize?
    @Option(help: "Threads that compute (1...64).") var threads = 1
    @Option(
        help: """
            auto (the fastest that fits), whole, lines (slice by slice), tiles, or windows (the model's scheme, for networks \
            that look at all they are given).
            """) var mode = PlanSearch.ModeChoice.auto
    @Option(
        help: """
            Cut instead of those that are tried: ROWSxCOLUMNS for lines, DEPTHxROWSxCOLUMNS for tiles, ROWS for windows.
            """) var tile: TileSize?
    @Option(help: "memory or disk: where codes and labels wait (default: memory, or disk when that does not fit).")
    var storage: SegmentationPlan.Storage?
    @Option(
        help: """
            Write the classes' probabilities as a 4D image, too (uint8, slope 1/255, classes in the model's order along the fourth \
            axis; a voxel's add up to exactly 1).
            """) var probabilities: String?
    @Flag(help: "Replace an existing output.") var overwrite = false
    @Option(help: "Write a report of the run (or, with --dry-run, the plan) as JSON.") var json: String?
    @Option(help: "Write voxels and volume of every label as CSV.") var stats: String?
    @Option(help: "Tables per edge for KAN layers, the same labels: auto (where faster and memory allows), on or off.")
    var kanTables = KANTables.auto
    @Flag(help: "Print all modes and the plan with its exact bytes; read no voxel.") var dryRun = false
    @Option(help: "With --dry-run, write the map of the arena over time as an SVG picture.") var svg: String?
    @Option(help: "Which volume of a 4D file (from 0).") var volume: Int?
    @Option(help: "Axis codes such as RAS, for images that do not tell their orientation.") var assumeOrientation:
        String?
    @Flag(help: "No progress on stderr.") var quiet = false

    func validate() throws {
        guard (1...64).contains(threads) else { throw ValidationError("--threads \(threads) (must be 1...64)") }
        guard !images.isEmpty || !input.isEmpty else {
            throw ValidationError("Missing expected argument '<images> ...' or '--input <input>'")
        }
        guard dryRun || output != nil else { throw ValidationError("Missing expected argument '--output <output>'") }
    }

    func run() throws {
        let start = Clock.seconds
        let isa = try ISA.selected()
        let mapped = try MappedModel(path: model)
        let headers = try channelHeaders(mapped.file)
        Terminal.warn(headers.flatMap(\.warnings))
        Terminal.warn(try GridCheck.check(headers, affineMatters: true))
        let search = PlanSearch(
            model: mapped, headers: headers, threads: threads, storage: storage,
            probabilities: probabilities != nil, fusion: kanTables.use)
        let trial = dryRun ? SpeedTrial(mapped, isa: isa, pool: ThreadPool(threads: threads)) : nil
        let estimate: ((SegmentationPlan) -> Double)? = trial.map { trial in { trial.seconds($0) } }
        if dryRun { print(PlanText.modes(search, estimate: estimate) + "\n") }
        let plan: SegmentationPlan
        do {
            plan = try search.choose(
                mode, limit: memory?.bytes, tile: tile?.extent)
        } catch let error as BudgetError {
            throw CommandError(.overBudget, error.description)
        }
        if dryRun {
            let text = PlanText(plan, mapped, limit: memory?.bytes, estimate: estimate)
            print(text.text)
            if let svg { try WholeFile.write(Array(text.svg.utf8), to: svg, overwrite: overwrite) }
            if let json { try WholeFile.write(Array((text.json.text() + "\n").utf8), to: json, overwrite: overwrite) }
            return
        }
        let progress = Progress(quiet: quiet)
        let output = output!
        let result = try Segmentation.run(
            model: mapped, headers: headers, plan: plan, isa: isa, pool: ThreadPool(threads: threads),
            output: Segmentation.Output(
                path: output, overwrite: overwrite,
                description: "\(Version.text) \(mapped.file.string(mapped.file.record.name))",
                probabilities: probabilities),
            progress: { stage, fraction in
                progress.update(stage, fraction)
                return true
            })
        progress.finish()
        Terminal.warn(result.warnings.filter { !headers.flatMap(\.warnings).contains($0) })
        let report = RunReport(
            model: mapped, headers: headers, plan: plan, result: result, output: output, isa: isa, limit: memory?.bytes,
            seconds: Clock.seconds - start)
        if let stats { try WholeFile.write(Array(report.csv.utf8), to: stats, overwrite: overwrite) }
        if let json { try WholeFile.write(Array((report.json.text() + "\n").utf8), to: json, overwrite: overwrite) }
        print(report.summary)
    }

    /// Headers in the order of the model's channels.
    private func channelHeaders(_ file: ModelFile) throws -> [NIfTIHeader] {
        let names = (0..<file.count(.channelNames)).map { file.string(file.channelName($0)) }
        let paths = try ChannelInputs(names: names).paths(options: input, arguments: images)
        let options = NIfTIOptions(volumeIndex: volume, assumeOrientation: assumeOrientation)
        return try paths.map { try NIfTIHeader.read(path: $0, options: options) }
    }
}
