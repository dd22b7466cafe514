import ArgumentParser
import CommandSupport
import Volume

struct Eval: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Judges labels against a reference: Dice, HD95 and volume per label and region.",
        discussion: """
            Example: mkrun eval truth.nii.gz labels.nii.gz --regions brats --empty brats2023 --json scores.json

            HD95 (mm): the 95th percentile of the distances from the surface voxels of one mask to those of the other, \
            the larger of the two directions, as MONAI computes it. Volume difference: prediction minus reference. \
            Background (label 0) is not scored. Means leave out entries without a value and say how many they are of.

            --regions brats: WT=1,2,3 TC=1,3 ET=3. --regions brats2020: WT=1,2,4 TC=1,4 ET=4.

            --empty: Dice and HD95 when both are empty | only the reference is | only the prediction is. brats2023 are \
            its whole-volume scores, not the lesion-wise ones.
              brats2020  1, 0 mm | 0, 373.13 mm | 0, 373.13 mm
              brats2023  1, 0 mm | 0, 374 mm | 0, 374 mm
              nnunet     none, none | 0, none | 0, none
              monai      none, none | none, none | 0, none
            """)

    @Argument(help: "Reference labels.") var reference: String
    @Argument(help: "Labels to judge.") var prediction: String
    @Flag(help: "Take every non-zero voxel of both as label 1 (a mask, or a skull-stripped image).") var binary = false
    @Option(help: "Labels to report, e.g. 1,2,3, also those in neither volume; all that occur without it.")
    var labels: LabelList?
    @Option(help: "Regions of a challenge: brats or brats2020.") var regions: Region.Preset?
    @Option(help: "A region of your own, NAME=1,3; may be repeated.") var region: [Region] = []
    @Option(help: "What an empty region scores: brats2020, brats2023, nnunet or monai.") var empty = EmptyRule.nnunet
    @Option(help: "Write the scores as JSON; - prints them instead of the table.") var json: String?
    @Flag(help: "Replace an existing output.") var overwrite = false

    private var allRegions: [Region] { (regions?.regions ?? []) + region }

    func validate() throws {
        var names: Set<String> = []
        for region in allRegions where !names.insert(region.name).inserted {
            throw ValidationError("--region \(region.name) is given twice")
        }
    }

    func run() throws {
        let headers = try [reference, prediction].map { try NIfTIHeader.read(path: $0) }
        Terminal.warn(headers.flatMap(\.warnings))
        Terminal.warn(try GridCheck.check(headers))
        // One after the other, so that only one volume is in memory in its stored type.
        let maps = try headers.map { header in
            let volume = try VoxelVolume.read(header)
            Terminal.warn(volume.header.warnings.filter { !header.warnings.contains($0) })
            return binary ? volume.nonzeroMask() : try volume.labels()
        }
        let evaluation = Evaluation(
            reference: maps[0], prediction: maps[1], size: headers[0].dims, spacing: headers[0].spacing,
            voxelML: headers[0].voxelVolumeMM3 / 1000, labels: labels?.values, regions: allRegions, emptyRule: empty)
        let report = EvalReport(reference: reference, prediction: prediction, evaluation: evaluation)
        guard let json else { return print(report.table) }
        let text = report.json.text()
        guard json != "-" else { return print(text) }
        try WholeFile.write(
            Array((text + "\n").utf8), to: json, overwrite: overwrite, inputs: [reference, prediction])
        print(report.table)
    }
}

/// Labels in 1...65535 with commas between.
struct LabelList: ExpressibleByArgument {
    let values: [UInt16]

    init?(argument: String) {
        guard let region = Region(text: "labels=\(argument)") else { return nil }
        values = region.labels
    }
}

extension Region: ExpressibleByArgument {
    public init?(argument: String) { self.init(text: argument) }
}

extension Region.Preset: ExpressibleByArgument {}
extension EmptyRule: ExpressibleByArgument {}
