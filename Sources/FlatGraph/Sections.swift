/// Layout of a `.mkq` file outside its records. docs/format.md has the same as byte tables.
public enum MKQ {
    /// A damaged transfer (7-bit channel, line-ending conversion, text tool) destroys one of these eight bytes.
    public static let magic: InlineArray<8, UInt8> = [0x89, 0x4D, 0x4B, 0x51, 0x0D, 0x0A, 0x1A, 0x0A]
    public static let versionMajor: UInt16 = 1
    public static let versionMinor: UInt16 = 0
    public static let headerBytes = 64
    public static let sectionEntryBytes = 32
    public static let alignment = 64
    /// A reader refuses more than this before looking further; far above any network of the family. Ops and tensors
    /// have the lower limit because checking their order takes quadratic time.
    public static let maximumRecords = 1_000_000
    public static let maximumGraphRecords = 4096
    public static let featureNameBytes = 16
    /// Features this build can run. A file that requires another is refused by its name.
    #if MKEDGE_CONV_ONLY
        public static let knownFeatures = convFeatures
    #else
        public static let knownFeatures =
            convFeatures + [
                "group-norm", "layer-norm", "add-i16", "depth-to-space", "depthwise-u8", "token-conv-u8",
                "token-conv-i16", "kan-basis", "scan", "gate", "narrow", "lookup-i16", "slice-order",
                "max-pool", "multiply-u8", "resize", "norm-slices", "lookup-i16-i16", "concat-i16",
                "depth-space-i16", "max-pool-3", "global-pool",
            ]
    #endif
    /// Those of a build for chains of convolutions alone (MKEDGE_CONV_ONLY).
    private static let convFeatures: [StaticString] = [
        "conv3d-u8", "conv3d-i16", "conv3d-relu-i16", "lookup-u8", "add-u8", "concat-u8", "argmax", "anisotropic",
        "input-i16",
    ]
}

/// Sections in file order; each occurs exactly once.
public enum Section: UInt32, CaseIterable, Sendable {
    case model = 1
    case tensors, ops, operands, scales, channels, weights, tables, strings, labels, provenance, channelNames
    case features

    /// Bytes per record; 1 for plain bytes.
    public var recordBytes: Int {
        switch self {
        case .model: ModelRecord.size
        case .tensors: TensorRecord.size
        case .ops: OpRecord.size
        case .operands, .scales: 4
        case .channels: 16
        case .weights, .tables, .strings: 1
        case .labels: LabelRecord.size
        case .provenance: 16
        case .channelNames: 8
        case .features: MKQ.featureNameBytes
        }
    }

    var place: ModelFileError.Place { ModelFileError.Place(rawValue: UInt8(rawValue))! }
}
