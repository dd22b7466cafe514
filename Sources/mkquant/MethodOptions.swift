import ArgumentParser
import Quantize

/// How ranges, weights and biases are chosen; the defaults are what did best on the networks of docs/quantization.md.
struct MethodOptions: ParsableArguments {
    @Option(
        help: """
            How the range of a layer follows from what calibration saw: mse (least squared error of rounding and clipping), \
            minmax (extremes), average (moving average of the extremes of the volumes or windows), entropy (least divergence \
            of the distribution), or percentile:P (share of values kept, e.g. percentile:0.9999).
            """)
    var ranges = RangeRule.mse
    @Flag(
        inversion: .prefixedNo,
        help: """
            A range per channel wherever the next layer's weights, or a normalization's gain, can absorb it (cross-layer \
            equalization and SmoothQuant in one): helps where channels differ in size.
            """)
    var equalization = true
    @Flag(
        inversion: .prefixedNo,
        help: "Cut off a filter's largest weights where finer steps for the others lower the squared error.")
    var weightClipping = true
    @Flag(
        inversion: .prefixedNo,
        help: "Move each bias so that the channel's mean stays what it is in float: rounding shifts it a little.")
    var biasCorrection = true
    @Flag(
        inversion: .prefixedNo,
        help: """
            Refit each filter, by least squares, to what the integer layers before it really deliver: noise that cannot be \
            avoided is then let through less.
            """)
    var weightCorrection = true
    @Flag(
        inversion: .prefixedNo,
        help: """
            Round the weights of a filter together, so that their errors cancel in its output (as GPTQ and AdaRound do), \
            instead of each to the nearest.
            """)
    var adaptiveRounding = true

    var methods: Methods {
        var result: Methods = []
        if equalization { result.insert(.equalization) }
        if weightClipping { result.insert(.weightClipping) }
        if biasCorrection { result.insert(.biasCorrection) }
        if weightCorrection { result.insert(.weightCorrection) }
        if adaptiveRounding { result.insert(.adaptiveRounding) }
        return result
    }
}

extension RangeRule: ExpressibleByArgument {
    public init?(argument: String) {
        switch argument {
        case "mse": self = .mse
        case "minmax": self = .minMax
        case "average": self = .average
        case "entropy": self = .entropy
        default:
            guard argument.hasPrefix("percentile:"), let share = Double(argument.dropFirst(11)), share > 0.5, share <= 1
            else { return nil }
            self = .percentile(share)
        }
    }

    public var defaultValueDescription: String { name }
}
