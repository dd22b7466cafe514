import CommandSupport
import Volume

/// Scores as a table for people and as JSON for programs.
struct EvalReport {
    let reference: String
    let prediction: String
    let evaluation: Evaluation

    var table: String {
        var rows = [["label", "reference ml", "prediction ml", "difference ml", "difference %", "Dice", "HD95 mm"]]
        rows += evaluation.labels.map { row($0, $0.region.name) }
        rows += evaluation.regions.map { row($0, "\($0.region.name)=\(list($0.region))") }
        var lines = [Format.table(rows), mean("labels", evaluation.labels)]
        if !evaluation.regions.isEmpty { lines.append(mean("regions", evaluation.regions)) }
        lines.append(
            "voxel agreement \(Format.fixed(evaluation.voxelAgreement, 6)), empty regions as in "
                + "\(evaluation.emptyRule.rawValue)")
        return lines.joined(separator: "\n")
    }

    /// What has no value is null.
    var json: JSON {
        .object([
            ("reference", .string(reference)), ("prediction", .string(prediction)),
            ("empty_rule", .string(evaluation.emptyRule.rawValue)),
            ("voxel_agreement", .number(evaluation.voxelAgreement)),
            ("mean_labels", mean(evaluation.labels)), ("mean_regions", mean(evaluation.regions)),
            ("labels", .array(evaluation.labels.map { fields($0, ("label", .integer(Int($0.region.labels[0])))) })),
            ("regions", .array(evaluation.regions.map { fields($0, ("name", .string($0.region.name))) })),
        ])
    }

    private func row(_ score: RegionScore, _ name: String) -> [String] {
        [
            name, Format.fixed(score.referenceML, 3), Format.fixed(score.predictionML, 3),
            Format.fixed(score.differenceML, 3), text(score.differencePercent, 2), text(score.dice, 4),
            text(score.hd95, 3),
        ]
    }

    private func text(_ value: Double?, _ digits: Int) -> String { value.map { Format.fixed($0, digits) } ?? "-" }

    private func list(_ region: Region) -> String { region.labels.map { "\($0)" }.joined(separator: ",") }

    private func mean(_ what: String, _ scores: [RegionScore]) -> String {
        let dice = Evaluation.Mean(scores.map(\.dice))
        let distance = Evaluation.Mean(scores.map(\.hd95))
        return "mean of \(what): Dice \(text(dice.value, 4)) over \(dice.count), "
            + "HD95 \(text(distance.value, 3)) mm over \(distance.count)"
    }

    private func mean(_ scores: [RegionScore]) -> JSON {
        let dice = Evaluation.Mean(scores.map(\.dice))
        let distance = Evaluation.Mean(scores.map(\.hd95))
        return .object([
            ("dice", number(dice.value)), ("dice_count", .integer(dice.count)),
            ("hd95_mm", number(distance.value)), ("hd95_count", .integer(distance.count)),
        ])
    }

    private func fields(_ score: RegionScore, _ key: (String, JSON)) -> JSON {
        .object([
            key, ("labels", .array(score.region.labels.map { .integer(Int($0)) })),
            ("empty", .string(emptiness(score))),
            ("reference_voxels", .integer(score.referenceVoxels)),
            ("prediction_voxels", .integer(score.predictionVoxels)), ("both_voxels", .integer(score.intersection)),
            ("dice", number(score.dice)), ("hd95_mm", number(score.hd95)),
            ("reference_ml", .number(score.referenceML)), ("prediction_ml", .number(score.predictionML)),
            ("difference_ml", .number(score.differenceML)), ("difference_percent", number(score.differencePercent)),
        ])
    }

    private func emptiness(_ score: RegionScore) -> String {
        switch (score.referenceVoxels == 0, score.predictionVoxels == 0) {
        case (false, false): "none"
        case (true, false): "reference"
        case (false, true): "prediction"
        case (true, true): "both"
        }
    }

    private func number(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
}
