import ArgumentParser
import CommandSupport
import FlatGraph
import GraphIR
import HostRuntime
import Quantize
import Volume

struct Convert: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Converts a checkpoint to an integer model file.",
        discussion: """
            Example: mkquant convert model.pth --config model.json --calibrate a.nii.gz b.nii.gz -o model.mkq

            Calibration runs the float network on the volumes (the central cube of each, --crop; or --windows drawn where there \
            is a signal) to find the range of every layer; then weights become int8 per output channel and activations 8-bit, \
            layer by layer, each tuned to what the ones before it have become. At the end a table says what each layer lost \
            (SQNR: signal to quantization noise of its output, against the float network, on the first window).

            Labels too far from float? --try-methods and --try-ranges show what each choice brings; --max-dice-drop 0.005 finds \
            the layers that need 16 bits, --memory 64MiB the most that fit.
            """)

    @OptionGroup var source: NetworkSource
    @Option(parsing: .upToNextOption, help: "NIfTI volumes to calibrate on.") var calibrate: [String]
    @Option(name: [.short, .long], help: "Model file to write (.mkq).") var output: String
    @Option(help: "Edge of the cube of a volume that calibration uses (voxels); 0 takes the whole volume.")
    var crop = 128
    @Option(
        help: """
            Cubes per volume (1...64), around voxels drawn where there is a signal, instead of the central one. Networks that \
            were trained on windows get windows of that size, 8 per volume if nothing is said.
            """)
    var windows: Int?
    @OptionGroup(title: "Methods") var methods: MethodOptions
    @Flag(help: "Try every rule for the ranges and keep the one whose labels agree best with float; prints all.")
    var tryRanges = false
    @Flag(help: "Print what each method brings: none, each alone, all, and all but each.") var tryMethods = false
    @Option(
        help: """
            Layers whose output keeps 16 bits for the convolutions that read it: all, none, or names with commas \
            (input: the network's, so that the image is coded in 16 bits; an unknown name is refused with a list of those there \
            are). Closer to float, twice the memory and half the speed there.
            """)
    var int16 = WideLayers.none
    @Option(
        help: """
            Find the layers that need 16 bits: as few as keep the mean foreground Dice between integer and float labels of \
            the first calibration window within this of 1 (e.g. 0.005). Prints what each layer costs.
            """)
    var maxDiceDrop: Double?
    @Option(
        help: """
            Find the layers that can have 16 bits: those that help most while mkrun segment --memory with this limit still \
            works on --volume (e.g. 64MiB). With --max-dice-drop both must hold, or nothing is written.
            """)
    var memory: ByteSize?
    @Option(
        help:
            "Voxels of the volume for which memory is planned, e.g. 256x256x256; otherwise the first calibration volume's."
    )
    var volume: VolumeSize?
    @Option(
        help: """
            Write a page with plots and pictures (.html), and the same facts beside it (.json): ranges, noise by layer, what was \
            tried, confusion of labels, worst slices, memory.
            """)
    var report: String?
    @Option(help: "Threads that compute (1...64).") var threads = 2
    @Option(help: "Fail with status 10 if float and integer labels agree on less than this share of voxels.")
    var check: Double?
    @Flag(help: "Replace existing outputs.") var overwrite = false
    @Flag(help: "Print the result as JSON.") var json = false
    @Flag(help: "No progress on stderr.") var quiet = false

    func validate() throws {
        guard !calibrate.isEmpty else { throw ValidationError("--calibrate needs at least one volume") }
        guard crop == 0 || (16...512).contains(crop) else {
            throw ValidationError("--crop \(crop) (must be 0 or 16...512)")
        }
        if let windows, !(1...64).contains(windows) {
            throw ValidationError("--windows \(windows) (must be 1...64)")
        }
        guard (1...64).contains(threads) else { throw ValidationError("--threads \(threads) (must be 1...64)") }
        if let maxDiceDrop, !(0...1).contains(maxDiceDrop) || int16 != .none {
            throw ValidationError("--max-dice-drop \(maxDiceDrop) (must be 0...1, and without --int16)")
        }
        guard memory == nil || int16 == .none else { throw ValidationError("--memory (must be without --int16)") }
        if let check, !(0...1).contains(check) { throw ValidationError("--check \(check) (must be 0...1)") }
    }

    /// Where the facts of the report go.
    private var reportNumbers: String? {
        report.map { ($0.hasSuffix(".html") ? String($0.dropLast(5)) : $0) + ".json" }
    }

    func run() throws {
        let inputs = [source.checkpoint, source.config] + calibrate
        // Known before minutes of work.
        for path in [output, report, reportNumbers].compactMap({ $0 }) {
            try WholeFile.check(path, overwrite: overwrite, inputs: inputs)
        }
        let loaded = try source.load()
        let progress = Progress(quiet: quiet)
        var options = Converter.Options()
        (options.rule, options.methods, options.threads) = (methods.ranges, methods.methods, threads)
        options.wide = int16
        var converter = Converter(graph: loaded.graph, options: options) { stage, fraction in
            progress.update(stage.text, fraction)
        }
        let channels = loaded.graph.inputChannels
        guard calibrate.count % channels == 0 else {
            throw CommandError(.usage, "--calibrate: \(calibrate.count) files for a network of \(channels) channels")
        }
        let set = CalibrationSet(source: loaded, crop: crop, windows: windows)
        var samples: [FloatTensor] = []
        var warnings: [String] = []
        let cases = calibrate.count / channels
        for index in 0..<cases {
            let paths = Array(calibrate[(index * channels)..<((index + 1) * channels)])
            let tensors = try set.tensors(paths, warnings: &warnings)
            for tensor in tensors { converter.calibrate(tensor, volume: index + 1, of: cases) }
            // Some of every volume, as far as they go.
            let share = max(1, set.samples / cases)
            samples += CalibrationSet.spread(tensors, min(share, set.samples - samples.count))
        }
        Terminal.warn(warnings)
        let result = try convert(loaded, converter, samples, progress)
        progress.finish()
        try write(result, inputs: inputs)
    }

    private func convert(
        _ loaded: NetworkSource.Loaded, _ calibrated: Converter, _ samples: [FloatTensor], _ progress: Progress
    ) throws -> ConversionResult {
        var converter = calibrated
        let headers = try plannedHeaders(loaded)
        var trials: [(title: String, trials: [Trial])] = []
        var search: PrecisionSearch.Result?
        let model: LoweredModel
        do {
            let reference = try converter.reference(
                samples, inputCoding: .input(loaded.config.normalization), metadata: try metadata(loaded, []))
            var experiments = Experiments(
                loaded: loaded, converter: converter, reference: reference, progress: progress, headers: headers)
            if tryRanges {
                let ranges = try experiments.ranges()
                trials.append(("ranges", ranges.map(\.trial)))
                converter.options.rule = ranges[0].rule
                experiments.converter = converter
            }
            if tryMethods { trials.append(("methods", try experiments.methods())) }
            if maxDiceDrop != nil || memory != nil {
                search = try experiments.precision(
                    .init(maxDiceDrop: maxDiceDrop, memory: memory?.bytes), name: source.checkpoint)
            }
            let facts = provenance(loaded, converter.options, search?.wide ?? int16)
            model = try converter.convert(
                inputCoding: .input(loaded.config.normalization), metadata: try metadata(loaded, facts),
                reference: reference, wide: search?.wide)
        } catch let error as QuantizeError {
            throw CommandError(.badModel, "\(source.checkpoint): \(error)")
        }
        return ConversionResult(
            path: output, config: loaded.config, converter: converter, model: model,
            comparison: try converter.compare(model, samples[0]), trials: trials, search: search, input: samples[0],
            headers: headers)
    }

    private func metadata(
        _ loaded: NetworkSource.Loaded, _ provenance: [(String, String)]
    ) throws(QuantizeError) -> ModelBuilder {
        try Metadata.builder(
            config: loaded.config, classes: loaded.graph.classCount, inputChannels: loaded.graph.inputChannels,
            provenance: provenance)
    }

    /// The volume for which memory is planned, once per input channel.
    private func plannedHeaders(_ loaded: NetworkSource.Loaded) throws -> [NIfTIHeader] {
        let channels = loaded.graph.inputChannels
        guard let volume else {
            return try (0..<channels).map { try NIfTIHeader.read(path: calibrate[$0]) }
        }
        let spacing = loaded.config.spacing.map { $0 > 0 ? $0 : 1 }
        let header = NIfTIHeader.imagined(
            dims: volume.size, spacing: SIMD3(spacing[0], spacing[1], spacing[2]),
            axisCodes: loaded.config.orientation)
        return [NIfTIHeader](repeating: header, count: channels)
    }

    private func write(_ result: ConversionResult, inputs: [String]) throws {
        if let check, result.comparison.agreement < check {
            throw CommandError(
                .fidelity,
                "\(source.checkpoint): float and integer labels agree on "
                    + "\(Format.fixed(result.comparison.agreement, 6)) of the voxels (must be \(check) or more); nothing written"
            )
        }
        try WholeFile.write(result.model.bytes, to: output, overwrite: overwrite, inputs: inputs)
        print(json ? result.json.text() : result.text)
        guard let report, let reportNumbers else { return }
        try WholeFile.write(Array(Report(result).html().utf8), to: report, overwrite: overwrite, inputs: inputs)
        try WholeFile.write(Array(result.json.text().utf8), to: reportNumbers, overwrite: overwrite, inputs: inputs)
    }

    /// No dates and no machine names: the same input gives the same bytes.
    private func provenance(
        _ loaded: NetworkSource.Loaded, _ options: Converter.Options, _ wide: WideLayers
    ) -> [(String, String)] {
        [
            ("tool", Version.text), ("checkpoint", Self.lastPart(source.checkpoint)),
            ("checkpoint sha256", loaded.checkpoint.sha256), ("container", loaded.checkpoint.container.rawValue),
            ("calibration", calibrate.map(Self.lastPart).joined(separator: ", ")),
            ("calibration crop", "\(crop)" + (windows.map { ", \($0) windows" } ?? "")),
            ("ranges", options.rule.name),
            ("methods", options.methods.isEmpty ? "none" : options.methods.names.joined(separator: ", ")),
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

extension Converter.Stage {
    var text: String {
        switch self {
        case .calibrating(let volume, let total): "calibrating on volume \(volume) of \(total)"
        case .reference: "float reference"
        case .tuning: "tuning layers"
        case .comparing: "comparing with float"
        }
    }
}
