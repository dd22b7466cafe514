/// `model.json`: the layer list of a MeshNet as brainchop publishes it, and our own keys under "mkedge".
public struct ModelConfig: Equatable, Sendable {
    /// One convolution of stride 1, whose padding keeps the size or eats the border. Channel counts may be placeholders (-1): the weights
    /// decide.
    public struct Layer: Equatable, Sendable {
        public var in_channels: Int
        public var out_channels: Int
        /// Odd, 1...15.
        public var kernel_size: Int
        /// dilation · (kernel_size - 1) / 2
        public var padding: Int
        /// 1
        public var stride: Int
        /// 1...64
        public var dilation: Int
    }

    /// How voxels become the network's input.
    public struct Normalization: Equatable, Sendable {
        /// quantile, minmax, zscore, zscore-nonzero or none.
        public var kind: String
        /// Of quantile: 0 <= low < high <= 1.
        public var low: Double?
        public var high: Double?
        /// Added to the divisor.
        public var epsilon: Double?
        public var clip: Double?

        public init(
            kind: String, low: Double? = nil, high: Double? = nil, epsilon: Double? = nil, clip: Double? = nil
        ) {
            self.kind = kind
            self.low = low
            self.high = high
            self.epsilon = epsilon
            self.clip = clip
        }
    }

    /// One class, in the order of the network's output channels.
    public struct Label: Equatable, Sendable {
        /// Value in the label image, 0...65535.
        public var value: Int
        public var name: String
        /// Three of 0...255.
        public var rgb: [Int]
    }

    /// Sliding windows for a network that must not see the whole volume at once.
    public struct Window: Equatable, Sendable {
        /// Three of 8...4096, along the network's first, second and third axis.
        public var patch: [Int]
        /// 0...0.9
        public var overlap: Double
        /// monai or nnunet.
        public var scheme: String
        /// gaussian or constant.
        public var weight: String
    }

    /// meshnet, kmamba3d, or onnx, whose files bring their own graph.
    public var architecture: String
    public var layers: [Layer]
    /// Of a KMamba-3D network; then there are no layers.
    public var kmamba: KMambaConfig?
    public var bnorm: Bool
    public var gelu: Bool
    public var elu: Bool
    public var name: String
    /// The network's axes in the checkpoint: "xyz" (first NIfTI axis first) or "zyx".
    public var axes: String
    /// Three of "RLAPSI": where the network's first, second and third axis point.
    public var orientation: String
    /// Millimetres along the oriented axes, 0 = as in the image.
    public var spacing: [Double]
    /// Size that the network expects along the oriented axes, 0 = any.
    public var dims: [Int]
    public var normalization: Normalization
    public var channelNames: [String]?
    public var labels: [Label]?
    public var window: Window?

    static let sizeLimit = 1 << 20

    /// Reads a configuration file.
    /// - Parameter fallbackName: `name` when the file gives none.
    /// - Throws: as `init(json:path:fallbackName:)`, and `unreadable`.
    public init(path: String, fallbackName: String) throws(ImportError) {
        let json = try SourceFile.read(path: path, limit: Self.sizeLimit)
        try self.init(json: json, path: path, fallbackName: fallbackName)
    }

    /// Reads and checks a configuration. Unknown keys are tolerated, wrong ones are refused by key and value.
    /// - Throws: `malformed`.
    public init(json: [UInt8], path: String, fallbackName: String) throws(ImportError) {
        guard json.count <= Self.sizeLimit else {
            throw ImportError(
                .malformed, path, "configuration of \(json.count) bytes (limit \(Self.sizeLimit))")
        }
        let root: JSONValue
        do {
            root = try JSONValue.parse(json[...])
        } catch {
            throw ImportError(.malformed, path, "not valid JSON at byte \(error.offset): \(error.reason)")
        }
        guard case .object = root else {
            throw ImportError(.malformed, path, "not a JSON object (is \(root.shown))")
        }
        let file = ConfigFields(value: root, prefix: "", path: path)
        let extras = try file.object("mkedge")
        architecture = try file.string("architecture") ?? "meshnet"
        switch architecture {
        case "kmamba3d":
            kmamba = try KMambaConfig(file)
            layers = []
        case "onnx": layers = []
        case "meshnet": layers = try file.required("layers", file.list("layers")).map(Self.layer)
        case let other:
            throw ImportError(.unsupported, path, "architecture=\(other) (supported: meshnet, kmamba3d, onnx)")
        }
        bnorm = try file.bool("bnorm") ?? false
        gelu = try file.bool("gelu") ?? false
        elu = try file.bool("elu") ?? false
        name = try extras?.string("name") ?? fallbackName
        axes = try extras?.string("axes") ?? "xyz"
        orientation = try extras?.string("orientation") ?? "LIA"
        spacing = try extras?.doubles("spacing_mm") ?? [1, 1, 1]
        dims = try extras?.ints("dims") ?? [0, 0, 0]
        normalization =
            try extras?.object("normalization").map(Self.normalization)
            ?? Normalization(kind: "quantile", low: 0.02, high: 0.98, epsilon: 0.001)
        channelNames = try extras?.strings("channels")
        labels = try extras?.list("labels")?.map(Self.label)
        window = try extras?.object("window").map(Self.window)
        try ConfigCheck(config: self, path: path).run()
    }

    private static func layer(_ fields: ConfigFields) throws(ImportError) -> Layer {
        Layer(
            in_channels: try fields.int("in_channels") ?? -1,
            out_channels: try fields.int("out_channels") ?? -1,
            kernel_size: try fields.required("kernel_size", fields.int("kernel_size")),
            padding: try fields.required("padding", fields.int("padding")),
            stride: try fields.required("stride", fields.int("stride")),
            dilation: try fields.required("dilation", fields.int("dilation")))
    }

    private static func normalization(_ fields: ConfigFields) throws(ImportError) -> Normalization {
        let kind = try fields.required("kind", fields.string("kind"))
        let isQuantile = kind == "quantile"
        return Normalization(
            kind: kind, low: try fields.double("low") ?? (isQuantile ? 0.02 : nil),
            high: try fields.double("high") ?? (isQuantile ? 0.98 : nil),
            epsilon: try fields.double("epsilon") ?? (isQuantile ? 0.001 : nil),
            clip: try fields.double("clip"))
    }

    private static func label(_ fields: ConfigFields) throws(ImportError) -> Label {
        Label(
            value: try fields.required("value", fields.int("value")),
            name: try fields.required("name", fields.string("name")),
            rgb: try fields.ints("rgb") ?? [0, 0, 0])
    }

    private static func window(_ fields: ConfigFields) throws(ImportError) -> Window {
        Window(
            patch: try fields.required("patch", fields.ints("patch")),
            overlap: try fields.double("overlap") ?? 0.5,
            scheme: try fields.string("scheme") ?? "monai", weight: try fields.string("weight") ?? "gaussian")
    }
}

extension ModelConfig {
    /// The same network with its axes named in memory order (third axis first) when the first axis of the network is the
    /// first NIfTI axis: what has to turn is the volume, because the order of tokens cannot.
    func inMemoryOrder() -> ModelConfig {
        guard axes == "xyz" else { return self }
        var result = self
        result.orientation = String(orientation.reversed())
        result.spacing = spacing.reversed()
        result.dims = dims.reversed()
        result.window?.patch.reverse()
        return result
    }
}

/// The network of a checkpoint and the configuration that goes with its graph.
public enum NetworkImporter {
    /// - Throws: as the importers of the architectures.
    public static func network(
        checkpoint: Checkpoint, config: ModelConfig
    ) throws(ImportError) -> (graph: FloatGraph, config: ModelConfig) {
        guard (checkpoint.onnx != nil) == (config.architecture == "onnx") else {
            throw ImportError(
                .malformed, checkpoint.path,
                "is \(checkpoint.container.rawValue) but the configuration says architecture=\(config.architecture)")
        }
        if let onnx = checkpoint.onnx {
            let graph = try ONNXImporter.graph(model: onnx)
            if let labels = config.labels, labels.count != graph.classCount {
                throw ImportError(
                    .malformed, checkpoint.path,
                    "the network has \(graph.classCount) classes but the configuration names \(labels.count) labels")
            }
            return (graph, config.inMemoryOrder())
        }
        guard let kmamba = config.kmamba else {
            return (try MeshNetImporter.graph(checkpoint: checkpoint, config: config), config)
        }
        return (try KMambaImporter.graph(checkpoint: checkpoint, config: kmamba), config.inMemoryOrder())
    }
}
