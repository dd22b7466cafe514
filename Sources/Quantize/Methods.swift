/// What a conversion does beyond choosing ranges and rounding to the nearest.
public struct Methods: OptionSet, Hashable, Sendable {
    public let rawValue: Int

    public init(rawValue: Int) { self.rawValue = rawValue }

    /// A range for each channel of a value where the layers around it absorb it: cross-layer equalization (Nagel et al. 2019) and
    /// the migration of scales from activations to weights (SmoothQuant, Xiao et al. 2022), without changing a weight.
    public static let equalization = Methods(rawValue: 1)
    /// Weights may be cut off where that lowers the mean squared error.
    public static let weightClipping = Methods(rawValue: 2)
    /// Moves the bias so that each channel has the mean that it has in float (Nagel et al. 2019, section 4.2, in its empirical
    /// form).
    public static let biasCorrection = Methods(rawValue: 4)
    /// Fits the weights, before they are rounded, to what the layer really reads: the output of integer layers.
    public static let weightCorrection = Methods(rawValue: 8)
    /// Rounds weights so that their errors cancel (`WeightRounding`).
    public static let adaptiveRounding = Methods(rawValue: 16)

    public static let all: [(method: Methods, name: String)] = [
        (.equalization, "equalization"), (.weightClipping, "weight clipping"), (.biasCorrection, "bias correction"),
        (.weightCorrection, "weight correction"), (.adaptiveRounding, "adaptive rounding"),
    ]

    public static let everything: Methods = all.reduce(into: []) { $0.insert($1.method) }
    /// Those that look at layers of the integer network one by one.
    static let tuning: Methods = [.biasCorrection, .weightCorrection, .adaptiveRounding]

    public var names: [String] { Self.all.filter { contains($0.method) }.map(\.name) }
}
