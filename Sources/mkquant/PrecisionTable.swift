import CommandSupport
import Quantize

/// What 8 bits cost each layer, and what 16 bits buy, step by step.
struct PrecisionTable {
    let search: PrecisionSearch.Result

    init(_ search: PrecisionSearch.Result) { self.search = search }

    var text: String {
        var costs = [["alone in 8 bits", "agreement", "mean foreground Dice"]]
        for layer in search.sensitivities {
            costs.append([layer.layer, Format.fixed(layer.agreement, 6), Format.fixed(layer.dice, 4)])
        }
        var steps = [["layers in 16 bits", "added", "agreement", "mean foreground Dice", "work in 16 bits"]]
        for (count, step) in search.steps.enumerated() {
            steps.append([
                "\(count)", step.layer ?? "-", Format.fixed(step.agreement, 6), Format.fixed(step.dice, 4),
                Format.fixed(100 * step.wideShare, 0) + " %",
            ])
        }
        return Format.table(costs) + "\n\n" + Format.table(steps)
    }
}
