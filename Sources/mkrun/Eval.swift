import ArgumentParser
import CommandSupport
import Volume

struct Eval: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compares two label volumes: Dice per label, voxel agreement.",
        discussion: "A label that occurs in neither volume has no row, so the rule for empty regions does not arise.")

    @Argument(help: "Reference labels.") var reference: String
    @Argument(help: "Labels to judge.") var prediction: String
    @Flag(help: "Take every non-zero voxel of both as label 1 (a mask, or a skull-stripped image).") var binary = false
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let volumes = try [reference, prediction].map { try VoxelVolume.read(path: $0) }
        var warnings = volumes.flatMap(\.header.warnings)
        warnings += try GridCheck.check(volumes.map(\.header))
        Terminal.warn(warnings)
        let labels = try volumes.map { volume in
            binary ? volume.nonzeroMask() : try volume.labels()
        }
        let agreement = Agreement(reference: labels[0], prediction: labels[1], emptyRule: .skip)
        print(json ? jsonText(agreement) : table(agreement))
    }

    private func table(_ agreement: Agreement) -> String {
        var rows = [["label", "reference", "prediction", "both", "Dice"]]
        for label in agreement.labels {
            rows.append([
                "\(label.label)", "\(label.referenceVoxels)", "\(label.predictionVoxels)", "\(label.intersection)",
                label.dice.map { Format.fixed($0, 4) } ?? "-",
            ])
        }
        let mean = agreement.meanForegroundDice.map { Format.fixed($0, 4) } ?? "-"
        return Format.table(rows)
            + "\nmean foreground Dice \(mean) over \(agreement.foregroundCount) labels, "
            + "voxel agreement \(Format.fixed(agreement.voxelAgreement, 6))"
    }

    private func jsonText(_ agreement: Agreement) -> String {
        JSON.object([
            ("mean_foreground_dice", agreement.meanForegroundDice.map { .number($0) } ?? .null),
            ("foreground_labels", .integer(agreement.foregroundCount)),
            ("voxel_agreement", .number(agreement.voxelAgreement)),
            (
                "labels",
                .array(
                    agreement.labels.map { label in
                        .object([
                            ("label", .integer(Int(label.label))),
                            ("reference_voxels", .integer(label.referenceVoxels)),
                            ("prediction_voxels", .integer(label.predictionVoxels)),
                            ("dice", label.dice.map { .number($0) } ?? .null),
                        ])
                    })
            ),
        ]).text()
    }
}
