import ArgumentParser
import CommandSupport
import FlatGraph
import GraphIR
import HostRuntime
import MKRuntime
import Quantize
import Volume

struct Convert: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Converts a checkpoint to an integer model file.",
        discussion: """
            Example: mkquant convert model.pth --config model.json --calibrate a.nii.gz b.nii.gz -o model.mkq

            Calibration runs the float network on the volumes (of each its central cube, --crop; or patches of the model's \
            window size, where the network has statistics or scans that span its input) to find the range of every layer; then weights become int8 per output channel and activations 8-bit. At the end a table says what each \
            layer lost (SQNR: signal to quantization noise of its output, against the float network, on the first volume).
            """)

    @OptionGroup var source: NetworkSource
    @Option(parsing: .upToNextOption, help: "NIfTI volumes to calibrate on.") var calibrate: [String]
    @Option(name: [.short, .long], help: "Model file to write (.mkq).") var output: String
    @Option(
        help: "Range of a layer: mse, minmax, entropy, or percentile:P (share of values kept, e.g. percentile:0.9999).")
    var ranges = RangeRule.mse
    @Flag(help: "Try every rule for the ranges and keep the one whose labels agree best with float; prints all.")
    var tryRanges = false
    @Option(help: "Edge of the central cube of a volume that calibration uses (voxels); 0 takes the whole volume.")
    var crop = 128
    @Flag(inversion: .prefixedNo, help: "Measure and undo the shift that rounding gives to each channel's mean.")
    var biasCorrection = true
    @Option(
        help: """
            Layers whose output keeps 16 bits for the convolutions that read it: all, none, or names with commas. \
            Closer to float, twice the memory and half the speed there.
            """)
    var int16 = WideLayers.none
    @Option(
        help: """
            Find the layers that need 16 bits: as few as keep the mean foreground Dice between integer and float labels of \
            the first calibration volume within this of 1 (e.g. 0.005). Prints what each layer costs.
            """)
    var maxDiceDrop: Double?
    @Option(help: "Write a report with plots (.html), and the same numbers beside it (.json).") var report: String?
    @Option(help: "Threads that compute (1...64).") var threads = 2
    @Option(help: "Fail with status 10 if float and integer labels agree on less than this share of voxels.")
    var check: Double?
    @Flag(help: "Replace an existing output.") var overwrite = false
    @Flag(help: "Print the result as JSON.") var json = false
    @Flag(help: "No progress on stderr.") var quiet = false

    func validate() throws {
        guard !calibrate.isEmpty else { throw ValidationError("--calibrate needs at least one volume") }
        guard crop == 0 || (16...512).contains(crop) else {
            throw ValidationError("--crop \(crop) (must be 0 or 16...512)")
        }
        guard (1...64).contains(threads) else { throw ValidationError("--threads \(threads) (must be 1...64)") }
        if let maxDiceDrop, !(0...1).contains(maxDiceDrop) || int16 != .none {
            throw ValidationError("--max-dice-drop \(maxDiceDrop) (must be 0...1, and without --int16)")
        }
        if let check, !(0...1).contains(check) { throw ValidationError("--check \(check) (must be 0...1)") }
    }

    func run() throws {
        let loaded = try source.load()
        let progress = Progress(quiet: quiet)
        var options = Converter.Options()
        (options.rule, options.correctsBias, options.threads) = (ranges, biasCorrection, threads)
        options.wide = int16
        var converter = Converter(graph: loaded.graph, options: options) { stage, fraction in
            progress.update(stage.text, fraction)
        }
        let channels = loaded.graph.inputChannels
        guard calibrate.count % channels == 0 else {
            throw CommandError(.usage, "--calibrate: \(calibrate.count) files for a network of \(channels) channels")
        }
        var first: [FloatTensor] = []
        let cases = calibrate.count / channels
        for index in 0..<cases {
            let paths = Array(calibrate[(index * channels)..<((index + 1) * channels)])
            let input = try NetworkInput(paths: paths, config: loaded.config, crop: loaded.usesPatches ? 0 : crop)
            Terminal.warn(input.warnings)
            let patches = Patches(input.tensor, graph: loaded.graph, config: loaded.config).tensors
            for patch in patches { converter.calibrate(patch, volume: index + 1, of: cases) }
            if index == 0 { first = Array(patches.prefix(Self.samples)) }
        }
        try finish(loaded, converter, first, progress)
    }

    /// Patches of the first volume on which the bias is corrected.
    private static let samples = 4

    private func finish(
        _ loaded: NetworkSource.Loaded, _ calibrated: Converter, _ samples: [FloatTensor], _ progress: Progress
    ) throws {
        var converter = calibrated
        let model: LoweredModel
        var search: PrecisionSearch.Result?
        var trials: [RangeTrial] = []
        do {
            var experiments = Experiments(loaded: loaded, converter: converter, samples: samples, progress: progress)
            if tryRanges {
                trials = try experiments.ranges()
                converter.options.rule = trials[0].rule
                experiments.converter = converter
            }
            if let maxDiceDrop { search = try experiments.precision(maxDiceDrop: maxDiceDrop, name: source.checkpoint) }
            let metadata = try Metadata.builder(
                config: loaded.config, classes: loaded.graph.classCount, inputChannels: loaded.graph.inputChannels,
                provenance: provenance(loaded, converter.options.rule, search?.wide ?? int16))
            model = try converter.convert(
                inputCoding: .input(loaded.config.normalization), metadata: metadata, samples: samples,
                wide: search?.wide)
        } catch {
            throw CommandError(.badModel, "\(source.checkpoint): \(error)")
        }
        let comparison = try converter.compare(model, samples[0])
        progress.finish()
        if let check, comparison.agreement < check {
            throw CommandError(
                .fidelity,
                "\(source.checkpoint): float and integer labels agree on "
                    + "\(Format.fixed(comparison.agreement, 6)) of the voxels (must be \(check) or more); nothing written"
            )
        }
        try WholeFile.write(
            model.bytes, to: output, overwrite: overwrite, inputs: [source.checkpoint, source.config] + calibrate)
        let table = LayerTable(graph: converter.graph, model: model, comparison: comparison)
        if !json, !trials.isEmpty { print(RangeTrial.table(trials) + "\n") }
        if !json, let search { print(PrecisionTable(search).text + "\n") }
        print(json ? table.json(output).text() : table.text(output))
        if !json { printPlan() }
        if let report {
            let page = Report(
                path: output, config: loaded.config, converter: converter, table: table, comparison: comparison,
                search: search, input: samples[0])
            try WholeFile.write(Array(page.html().utf8), to: report, overwrite: overwrite, inputs: calibrate)
            let numbers = report.hasSuffix(".html") ? String(report.dropLast(5)) + ".json" : report + ".json"
            try WholeFile.write(
                Array(table.json(output).text().utf8), to: numbers, overwrite: overwrite, inputs: calibrate)
        }
    }

    /// What the model needs on the volume it is made for, or on 256³ voxels.
    private func printPlan() {
        guard let mapped = try? MappedModel(path: output) else { return }
        let record = mapped.file.record
        let sizes = [Int(record.dims.0), Int(record.dims.1), Int(record.dims.2)].map { $0 > 0 ? $0 : 256 }
        let codes = [record.orientation.0, record.orientation.1, record.orientation.2]
        let spacing = [record.spacing.0, record.spacing.1, record.spacing.2].map { $0 > 0 ? Double($0) / 1000 : 1 }
        let header = NIfTIHeader.imagined(
            dims: GridSize(sizes[0], sizes[1], sizes[2]), spacing: SIMD3(spacing[0], spacing[1], spacing[2]),
            axisCodes: String(decoding: codes, as: UTF8.self))
        let headers = [NIfTIHeader](repeating: header, count: max(1, mapped.file.count(.channelNames)))
        let plans = PlanSearch(model: mapped, headers: headers, threads: 1).table()
        guard let fastest = plans.map(\.fastest).min(by: { $0.cost < $1.cost }),
            let smallest = plans.map(\.smallest).min(by: { $0.totalBytes < $1.totalBytes })
        else { return }
        print(
            """
            on \(sizes.map(String.init).joined(separator: " x ")) voxels: \(Format.mebibytes(fastest.totalBytes)) \
            (\(fastest.summary)), at the least \(Format.mebibytes(smallest.totalBytes)) (\(smallest.summary)); \
            mkquant plan tells more
            """)
    }

    /// No dates and no machine names: the same input gives the same bytes.
    private func provenance(_ loaded: NetworkSource.Loaded, _ ranges: RangeRule, _ wide: WideLayers) -> [(
        String, String
    )] {
        [
            ("tool", Version.text), ("checkpoint", Self.lastPart(source.checkpoint)),
            ("checkpoint sha256", loaded.checkpoint.sha256), ("container", loaded.checkpoint.container.rawValue),
            ("calibration", calibrate.map(Self.lastPart).joined(separator: ", ")),
            ("calibration crop", "\(crop)"), ("ranges", ranges.name),
            ("bias correction", biasCorrection ? "yes" : "no"),
        ] + (wide == .none ? [] : [("16-bit layers", wide.text)])
    }

    private static func lastPart(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }
}

extension WideLayers: ExpressibleByArgument {
    public init?(argument: String) {
        switch argument {
        case "all": self = .all
        case "none": self = .none
        default:
            let names = argument.split(separator: ",").map(String.init)
            guard !names.isEmpty else { return nil }
            self = .layers(Set(names))
        }
    }

    var text: String {
        switch self {
        case .none: "none"
        case .all: "all"
        case .layers(let names): names.sorted().joined(separator: ", ")
        }
    }
}

extension RangeRule: ExpressibleByArgument {
    public init?(argument: String) {
        switch argument {
        case "mse": self = .mse
        case "minmax": self = .minMax
        case "entropy": self = .entropy
        default:
            guard argument.hasPrefix("percentile:"), let share = Double(argument.dropFirst(11)), share > 0.5, share <= 1
            else { return nil }
            self = .percentile(share)
        }
    }

    public var defaultValueDescription: String { name }
}

extension Converter.Stage {
    var text: String {
        switch self {
        case .calibrating(let volume, let total): "calibrating on volume \(volume) of \(total)"
        case .correctingBias: "correcting bias"
        case .comparing: "comparing with float"
        }
    }
}
