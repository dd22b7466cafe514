import FoundationEssentials

/// `model.json`: the layer list of a MeshNet as brainchop publishes it, and our own keys under "mkedge".
public struct ModelConfig: Sendable {
    public struct Layer: Decodable, Sendable {
        public var in_channels: Int
        public var out_channels: Int
        public var kernel_size: Int
        public var padding: Int
        public var stride: Int
        public var dilation: Int
    }

    public struct Normalization: Decodable, Sendable, Equatable {
        /// quantile, minmax, zscore, zscore-nonzero or none.
        public var kind: String
        public var low: Double?
        public var high: Double?
        public var epsilon: Double?
        public var clip: Double?

        public init(kind: String, low: Double? = nil, high: Double? = nil, epsilon: Double? = nil, clip: Double? = nil) {
            self.kind = kind
            self.low = low
            self.high = high
            self.epsilon = epsilon
            self.clip = clip
        }
    }

    public struct Label: Decodable, Sendable {
        public var value: Int
        public var name: String
        public var rgb: [Int]
    }

    public struct Window: Decodable, Sendable {
        public var patch: [Int]
        public var overlap: Double
        /// monai or nnunet.
        public var scheme: String
        /// gaussian or constant.
        public var weight: String
    }

    /// What a run must know beside the layers. Every key has a default: that of the published MeshNets.
    public struct Extras: Decodable, Sendable {
        public var name: String?
        public var axes: String?
        public var orientation: String?
        public var spacing_mm: [Double]?
        public var dims: [Int]?
        public var normalization: Normalization?
        public var channels: [String]?
        public var labels: [Label]?
        public var window: Window?
    }

    public var layers: [Layer]
    public var bnorm: Bool
    public var gelu: Bool
    public var elu: Bool
    public var name: String
    /// Meaning of a kernel's three axes in the checkpoint: "xyz" (first NIfTI axis first) or "zyx".
    public var axes: String
    /// Three of "RLAPSI": where the network's first, second and third axis point.
    public var orientation: String
    /// Millimetres along the oriented axes, 0 = as in the image.
    public var spacing: [Double]
    public var dims: [Int]
    public var normalization: Normalization
    public var channelNames: [String]?
    public var labels: [Label]?
    public var window: Window?

    private struct File: Decodable {
        var layers: [Layer]
        var bnorm: Bool?
        var gelu: Bool?
        var elu: Bool?
        var mkedge: Extras?
    }

    /// Reads and checks a configuration. Unknown keys are tolerated, wrong ones are refused by key and value.
    public init(json: [UInt8], path: String, fallbackName: String) throws(ImportError) {
        let file = try Self.decode(json, path)
        let extras = file.mkedge
        layers = file.layers
        bnorm = file.bnorm ?? false
        gelu = file.gelu ?? false
        elu = file.elu ?? false
        name = extras?.name ?? fallbackName
        axes = extras?.axes ?? "xyz"
        orientation = extras?.orientation ?? "LIA"
        spacing = extras?.spacing_mm ?? [1, 1, 1]
        dims = extras?.dims ?? [0, 0, 0]
        normalization = extras?.normalization
            ?? Normalization(kind: "quantile", low: 0.02, high: 0.98, epsilon: 0.001)
        channelNames = extras?.channels
        labels = extras?.labels
        window = extras?.window
        try ConfigCheck(config: self, path: path).run()
    }

    private static func decode(_ json: [UInt8], _ path: String) throws(ImportError) -> File {
        guard json.count <= 1 << 20 else {
            throw ImportError(.malformed, path, "configuration of \(json.count) bytes (limit \(1 << 20))")
        }
        do {
            return try JSONDecoder().decode(File.self, from: Data(json))
        } catch let DecodingError.keyNotFound(key, context) {
            throw ImportError(.malformed, path, "\(Self.place(context.codingPath + [key])) is missing")
        } catch let DecodingError.typeMismatch(type, context) {
            throw ImportError(.malformed, path, "\(Self.place(context.codingPath)) is not of type \(type)")
        } catch let DecodingError.valueNotFound(type, context) {
            throw ImportError(.malformed, path, "\(Self.place(context.codingPath)) is null (must be \(type))")
        } catch let DecodingError.dataCorrupted(context) where !context.codingPath.isEmpty {
            throw ImportError(.malformed, path, "\(Self.place(context.codingPath)) has a bad value")
        } catch {
            throw ImportError(.malformed, path, "not valid JSON")
        }
    }

    private static func place(_ keys: [any CodingKey]) -> String {
        var text = ""
        for key in keys {
            if let index = key.intValue {
                text += "[\(index)]"
            } else {
                text += (text.isEmpty ? "" : ".") + key.stringValue
            }
        }
        return text
    }
}

/// Values that JSON types alone do not rule out.
private struct ConfigCheck {
    let config: ModelConfig
    let path: String

    func run() throws(ImportError) {
        try check((1...1000).contains(config.layers.count), "layers", "\(config.layers.count) layers", "1...1000")
        for (index, layer) in config.layers.enumerated() {
            let at = "layers[\(index)]"
            try check(
                (1...15).contains(layer.kernel_size) && layer.kernel_size % 2 == 1, "\(at).kernel_size",
                "\(layer.kernel_size)", "odd, 1...15")
            try check((1...64).contains(layer.dilation), "\(at).dilation", "\(layer.dilation)", "1...64")
            try check(layer.stride == 1, "\(at).stride", "\(layer.stride)", "1")
            let widest = layer.dilation * (layer.kernel_size - 1)
            try check(
                (0...widest).contains(layer.padding), "\(at).padding", "\(layer.padding)", "0...\(widest)")
        }
        try check(!(config.gelu && config.elu), "gelu", "true together with elu", "one of them")
        try check(["xyz", "zyx"].contains(config.axes), "mkedge.axes", config.axes, "xyz or zyx")
        try check(isOrientation(config.orientation), "mkedge.orientation", config.orientation, "one of each of RL, AP, SI")
        try check(
            config.spacing.count == 3 && config.spacing.allSatisfy { $0 == 0 || (0.01...100).contains($0) },
            "mkedge.spacing_mm", "\(config.spacing)", "three of 0 or 0.01...100")
        try check(
            config.dims.count == 3 && config.dims.allSatisfy { (0...4096).contains($0) }, "mkedge.dims",
            "\(config.dims)", "three of 0...4096")
        try checkNormalization(config.normalization)
        try checkLabels()
        try checkWindow()
    }

    private func check(_ ok: Bool, _ key: String, _ value: String, _ allowed: String) throws(ImportError) {
        guard ok else { throw ImportError(.malformed, path, "\(key)=\(value) (must be \(allowed))") }
    }

    private func isOrientation(_ text: String) -> Bool {
        let axes = text.map { "RL".contains($0) ? 0 : "AP".contains($0) ? 1 : "SI".contains($0) ? 2 : 9 }
        return axes.sorted() == [0, 1, 2]
    }

    private func checkNormalization(_ rule: ModelConfig.Normalization) throws(ImportError) {
        let kinds = ["quantile", "minmax", "zscore", "zscore-nonzero", "none"]
        try check(kinds.contains(rule.kind), "mkedge.normalization.kind", rule.kind, kinds.joined(separator: ", "))
        guard rule.kind == "quantile" else { return }
        let (low, high) = (rule.low ?? -1, rule.high ?? -1)
        try check(
            low >= 0 && low < high && high <= 1, "mkedge.normalization", "low \(low), high \(high)",
            "0 <= low < high <= 1")
        let epsilon = rule.epsilon ?? 0
        try check(epsilon >= 0 && epsilon.isFinite, "mkedge.normalization.epsilon", "\(epsilon)", "0 or more")
    }

    private func checkLabels() throws(ImportError) {
        guard let labels = config.labels else { return }
        for (index, label) in labels.enumerated() {
            let at = "mkedge.labels[\(index)]"
            try check((0...65_535).contains(label.value), "\(at).value", "\(label.value)", "0...65535")
            try check(
                label.rgb.count == 3 && label.rgb.allSatisfy { (0...255).contains($0) }, "\(at).rgb", "\(label.rgb)",
                "three of 0...255")
        }
    }

    private func checkWindow() throws(ImportError) {
        guard let window = config.window else { return }
        try check(
            window.patch.count == 3 && window.patch.allSatisfy { (8...4096).contains($0) }, "mkedge.window.patch",
            "\(window.patch)", "three of 8...4096")
        try check((0...0.9).contains(window.overlap), "mkedge.window.overlap", "\(window.overlap)", "0...0.9")
        try check(["monai", "nnunet"].contains(window.scheme), "mkedge.window.scheme", window.scheme, "monai or nnunet")
        try check(
            ["gaussian", "constant"].contains(window.weight), "mkedge.window.weight", window.weight,
            "gaussian or constant")
    }
}
