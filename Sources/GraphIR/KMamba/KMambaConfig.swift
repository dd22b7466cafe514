/// Shape of a KMamba-3D network, as its `model.json` gives it ("architecture": "kmamba3d").
public struct KMambaConfig: Equatable, Sendable {
    public var inChannels: Int
    public var classes: Int
    /// Channels and blocks of the four stages.
    public var dims: [Int]
    public var depths: [Int]
    /// 1 where a stage's feed-forward part is a Kolmogorov-Arnold block.
    public var kanStages: [Int]
    public var dState: Int
    public var dConv: Int
    public var expand: Int
    /// Rank of the step projection in each stage.
    public var dtRank: [Int]
    public var kanGrid: Int
    public var stemKernel: Int
    public var fullWidth: Int
    /// In which orders a block scans its tokens, forward first.
    public var scanDirections: [ScanDirection]
    /// Normalizations of the convolutions with stored statistics instead of the input's own.
    public var usesBatchNorm: Bool

    /// The names in "scan_dirs".
    public enum ScanDirection: String, Sendable {
        case forward = "fwd"
        case backward = "bwd"
        /// Depth fastest, as in SegMamba.
        case slice = "slice"

        /// What the names of a direction's tensors end with.
        var suffix: String {
            switch self {
            case .forward: ""
            case .backward: "_b"
            case .slice: "_s"
            }
        }
    }

    /// - Throws: `malformed` for missing or impossible values, `unsupported` for variants that have no integer form.
    init(_ fields: ConfigFields) throws(ImportError) {
        func int(_ key: String, _ fallback: Int?, _ range: ClosedRange<Int>) throws(ImportError) -> Int {
            guard let value = try fields.int(key) ?? fallback else { return try fields.required(key, nil) }
            guard range.contains(value) else {
                throw ImportError(
                    .malformed, fields.path,
                    "\(key)=\(value) (must be \(range.lowerBound)...\(range.upperBound))")
            }
            return value
        }
        func list(_ key: String, _ fallback: [Int], _ range: ClosedRange<Int>) throws(ImportError) -> [Int] {
            let values = try fields.ints(key) ?? fallback
            guard values.count == 4, values.allSatisfy(range.contains) else {
                throw ImportError(
                    .malformed, fields.path,
                    "\(key)=\(values) (must be four of \(range.lowerBound)...\(range.upperBound))")
            }
            return values
        }
        inChannels = try int("in_channels", nil, 1...64)
        classes = try int("classes", nil, 1...4096)
        dims = try list("dims", [16, 32, 64, 128], 4...512)
        depths = try list("depths", [1, 1, 1, 1], 1...16)
        kanStages = try list("kan_stages", [0, 0, 1, 1], 0...1)
        dState = try int("d_state", 8, 1...32)
        dConv = try int("d_conv", 4, 1...16)
        expand = try int("expand", 2, 1...4)
        dtRank = try Self.ranks(fields, dims)
        kanGrid = try int("kan_grid", 5, 1...8)
        stemKernel = try int("stem_kernel", 3, 1...7)
        fullWidth = try int("full_width", 8, 4...64)
        for (key, expected) in [("kan_order", 3), ("scan_chunk", 0)] {
            if let value = try fields.int(key), value != expected {
                throw ImportError(.unsupported, fields.path, "\(key)=\(value) (supported: \(expected))")
            }
        }
        let norm = try fields.string("conv_norm") ?? "instance"
        guard ["instance", "batch"].contains(norm) else {
            throw ImportError(.unsupported, fields.path, "conv_norm=\(norm) (supported: instance, batch)")
        }
        usesBatchNorm = norm == "batch"
        scanDirections = try Self.directions(fields)
        if let range = try fields.doubles("kan_range"), range != [-1, 1] {
            throw ImportError(.unsupported, fields.path, "kan_range=\(range) (supported: [-1, 1])")
        }
        guard (dims + [fullWidth]).allSatisfy({ $0 % 4 == 0 }) else {
            throw ImportError(
                .unsupported, fields.path, "dims=\(dims), full_width=\(fullWidth) (must be multiples of 4)")
        }
    }

    private static func directions(_ fields: ConfigFields) throws(ImportError) -> [ScanDirection] {
        let names = try fields.strings("scan_dirs") ?? ["fwd", "bwd"]
        let known = names.compactMap(ScanDirection.init)
        guard known.count == names.count, Set(names).count == names.count, known.first == .forward else {
            throw ImportError(
                .unsupported, fields.path,
                "scan_dirs=\(names) (supported: \"fwd\", then \"bwd\" or \"slice\" or both)")
        }
        return known
    }

    /// One number for all stages, four, or none: channels / 16, rounded up.
    private static func ranks(_ fields: ConfigFields, _ dims: [Int]) throws(ImportError) -> [Int] {
        let given: [Int]
        if fields.isList("dt_rank") {
            given = try fields.ints("dt_rank") ?? []
        } else {
            let rank = try fields.int("dt_rank") ?? 0
            given = rank == 0 ? dims.map { ($0 + 15) / 16 } : [Int](repeating: rank, count: 4)
        }
        guard given.count == 4, given.allSatisfy((1...64).contains) else {
            throw ImportError(.malformed, fields.path, "dt_rank=\(given) (must be four of 1...64)")
        }
        return given
    }
}
