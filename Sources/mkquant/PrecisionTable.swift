import CommandSupport
import Quantize

/// What 8 bits cost each layer, and what 16 bits buy and need, step by step.
struct PrecisionTable {
    let search: PrecisionSearch.Result

    init(_ search: PrecisionSearch.Result) { self.search = search }

    static let costColumns = ["alone in 8 bits", "agreement", "mean foreground Dice"]

    var costs: [[String]] {
        search.sensitivities.map { [$0.layer, Format.fixed($0.agreement, 6), Format.fixed($0.dice, 4)] }
    }

    static let stepColumns = [
        "", "16 bits added", "agreement", "mean foreground Dice", "work in 16 bits", "memory", "at the least", "time",
        "plan",
    ]

    /// The step that is taken has an arrow.
    var steps: [[String]] {
        search.steps.enumerated().map { index, step in
            [
                index == search.chosen ? "→" : "", Self.names(step.layers) ?? "-",
                step.fidelity.map { Format.fixed($0.agreement, 6) } ?? "does not fit",
                step.fidelity.map { Format.fixed($0.dice, 4) } ?? "-", Format.fixed(100 * step.wideShare, 0) + " %",
                step.need.bytes.map(Format.mebibytes) ?? "-", Format.mebibytes(step.need.leastBytes),
                step.need.time.map { Format.fixed($0, 2) } ?? "-", step.need.plan,
            ]
        }
    }

    /// The first of them, dearest first; nil for none.
    static func names(_ layers: [String]) -> String? {
        guard !layers.isEmpty else { return nil }
        let shown = layers.prefix(3).joined(separator: ", ")
        return layers.count > 3 ? "\(shown) and \(layers.count - 3) more" : shown
    }

    var text: String {
        Format.table([Self.costColumns] + costs) + "\n\n" + Format.table([Self.stepColumns] + steps)
            + "\ntime: estimate, 1 for the fastest plan with 8 bits throughout"
    }

    var json: JSON {
        .object([
            ("max_dice_drop", search.target.maxDiceDrop.map { .number($0) } ?? .null),
            ("memory_limit_bytes", search.target.memory.map { .integer($0) } ?? .null),
            ("chosen_step", .integer(search.chosen)),
            (
                "sensitivities",
                .array(
                    search.sensitivities.map {
                        .object([
                            ("layer", .string($0.layer)), ("agreement", .number($0.agreement)),
                            ("mean_foreground_dice", .number($0.dice)),
                        ])
                    })
            ),
            (
                "steps",
                .array(
                    search.steps.map { step in
                        .object([
                            ("layers", .array(step.layers.map { .string($0) })),
                            ("agreement", step.fidelity.map { .number($0.agreement) } ?? .null),
                            ("mean_foreground_dice", step.fidelity.map { .number($0.dice) } ?? .null),
                            ("wide_share", .number(step.wideShare)),
                            ("planned_bytes", step.need.bytes.map { .integer($0) } ?? .null),
                            ("least_bytes", .integer(step.need.leastBytes)),
                            ("relative_time", step.need.time.map { .number($0) } ?? .null),
                            ("plan", .string(step.need.plan)),
                        ])
                    })
            ),
        ])
    }
}
