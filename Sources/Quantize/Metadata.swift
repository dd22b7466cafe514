import FlatGraph
import Glibc
import GraphIR

/// Everything of a model file but the graph, from the configuration.
public enum Metadata {
    /// - Parameter provenance: pairs of key and value, in the order to keep.
    public static func builder(
        config: ModelConfig, classes: Int, inputChannels: Int, provenance: [(String, String)]
    ) throws(QuantizeError) -> ModelBuilder {
        var builder = ModelBuilder()
        builder.record.name = builder.string(config.name)
        describeInput(config, &builder)
        try describeWindow(config, &builder)
        let names = config.channelNames ?? (0..<inputChannels).map { inputChannels == 1 ? "image" : "channel\($0)" }
        guard names.count == inputChannels else {
            throw QuantizeError(
                layer: "input",
                message: "the network has \(inputChannels) channels but the configuration names \(names.count)")
        }
        for name in names { builder.addChannelName(name) }
        for index in 0..<classes {
            if let label = config.labels?[index] {
                builder.addLabel(
                    label.name, value: UInt16(label.value),
                    rgb: (UInt8(label.rgb[0]), UInt8(label.rgb[1]), UInt8(label.rgb[2])))
            } else {
                builder.addLabel(index == 0 ? "background" : "label \(index)", value: UInt16(index), rgb: colour(index))
            }
        }
        for (key, value) in provenance { builder.addProvenance(key, value) }
        return builder
    }

    private static func describeInput(_ config: ModelConfig, _ builder: inout ModelBuilder) {
        let rule = config.normalization
        builder.record.normalization =
            switch rule.kind {
            case "quantile": .quantile
            case "minmax": .minMax
            case "zscore": .zScore
            case "zscore-nonzero": .zScoreNonzero
            default: .none
            }
        builder.record.low = rule.low ?? 0
        builder.record.high = rule.high ?? 1
        builder.record.epsilon = rule.epsilon ?? 0
        builder.record.clip = rule.clip ?? 0
        let letters = Array(config.orientation.utf8)
        builder.record.orientation = (letters[0], letters[1], letters[2])
        let micrometres = config.spacing.map { UInt32(($0 * 1000).rounded()) }
        builder.record.spacing = (micrometres[0], micrometres[1], micrometres[2])
        let dims = config.dims.map { UInt32($0) }
        builder.record.dims = (dims[0], dims[1], dims[2])
    }

    private static func describeWindow(
        _ config: ModelConfig, _ builder: inout ModelBuilder
    ) throws(QuantizeError) {
        guard let window = config.window else { return }
        builder.record.windowScheme = window.scheme == "nnunet" ? .nnunet : .monai
        builder.record.windowWeight = window.weight == "gaussian" ? .gaussian : .constant
        builder.record.overlapPerMille = UInt16((window.overlap * 1000).rounded())
        let patch = window.patch.map { UInt32($0) }
        builder.record.patch = (patch[0], patch[1], patch[2])
        builder.setWindowTables(
            window.patch.map { weights($0, gaussian: window.weight == "gaussian", scheme: window.scheme) })
    }

    /// Eight-bit weights along one axis: a Gaussian of sigma = patch / 8, peak 255, never under 1. MONAI centres it on
    /// (P - 1) / 2, nnU-Net on voxel P / 2. Constant weights are 100: the runtime's product of three, shifted by 12, is
    /// then small enough for 27 windows on a voxel.
    static func weights(_ patch: Int, gaussian: Bool, scheme: String) -> [UInt8] {
        guard gaussian else { return [UInt8](repeating: 100, count: patch) }
        let centre = scheme == "nnunet" ? Double(patch / 2) : Double(patch - 1) / 2
        let sigma = Double(patch) / 8
        let values = (0..<patch).map { exp(-(Double($0) - centre) * (Double($0) - centre) / (2 * sigma * sigma)) }
        let peak = values.max()!
        return values.map { UInt8(max(1, ($0 / peak * 255).rounded())) }
    }

    /// Colours for labels that the configuration does not name: hues a golden angle apart, so neighbours differ.
    public static func colour(_ index: Int) -> (UInt8, UInt8, UInt8) {
        guard index > 0 else { return (0, 0, 0) }
        let hue = (Double(index) * 137.508).truncatingRemainder(dividingBy: 360) / 60
        let rest = 1 - abs(hue.truncatingRemainder(dividingBy: 2) - 1)
        let (r, g, b): (Double, Double, Double) =
            switch Int(hue) {
            case 0: (1, rest, 0)
            case 1: (rest, 1, 0)
            case 2: (0, 1, rest)
            case 3: (0, rest, 1)
            case 4: (rest, 0, 1)
            default: (1, 0, rest)
            }
        func byte(_ x: Double) -> UInt8 { UInt8((60 + 190 * x).rounded()) }
        return (byte(r), byte(g), byte(b))
    }
}

extension ValueCoding {
    /// The coding of an input whose range the normalization fixes; nil where only calibration knows it.
    public static func input(_ rule: ModelConfig.Normalization) -> ValueCoding? {
        switch rule.kind {
        case "quantile", "minmax": return ValueCoding(scales: [1.0 / 255], zeroPoint: 0, low: 0, high: 1)
        case "zscore", "zscore-nonzero":
            guard let clip = rule.clip, clip > 0 else { return nil }
            let scale = Float(clip) / 127
            return ValueCoding(scales: [scale], zeroPoint: 128, low: -128 * scale, high: 127 * scale)
        default: return nil
        }
    }
}
