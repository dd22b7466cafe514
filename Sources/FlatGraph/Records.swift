import Ops

/// Bytes `offset ..< offset + length` of the strings section, UTF-8 without terminator.
public struct StringRef: Equatable, Sendable {
    public var offset: UInt32
    public var length: UInt32

    public init(offset: UInt32 = 0, length: UInt32 = 0) {
        self.offset = offset
        self.length = length
    }

    init(_ v: ByteView, _ at: Int) { self.init(offset: v.u32(at), length: v.u32(at + 4)) }

    func write(_ w: inout ByteWriter) {
        w.append(offset)
        w.append(length)
    }
}

/// How voxel values become the network's real input x (data of one volume, all voxels, zeros included).
public enum NormalizationKind: UInt8, Sendable {
    /// x = v
    case none = 0
    /// x = clip((v - q_low) / (q_high - q_low + epsilon), 0, 1); q by linear interpolation at rank p·(N-1)
    case quantile = 1
    /// x = (v - min) / (max - min)
    case minMax = 2
    /// x = clip((v - mean) / std, -clip, clip)
    case zScore = 3
    /// as zScore with mean and std over the non-zero voxels; zero voxels stay 0
    case zScoreNonzero = 4
}

public enum WindowScheme: UInt8, Sendable {
    case none = 0
    case monai = 1
    case nnunet = 2
}

public enum WindowWeight: UInt8, Sendable {
    case constant = 0
    case gaussian = 1
}

/// The single record of the model section: everything a run needs to know besides the graph. 128 bytes.
public struct ModelRecord: Equatable, Sendable {
    public static let size = 128

    public var name = StringRef()
    /// Index of the tensor that the volume is written into, and of the labels.
    public var inputTensor: UInt32 = 0
    public var labelTensor: UInt32 = 0
    public var normalization = NormalizationKind.none
    /// Direction in which the first, second and third axis of the input grow, as three of "RLAPSI".
    public var orientation: (UInt8, UInt8, UInt8) = (82, 65, 83)
    public var low = 0.0
    public var high = 1.0
    public var epsilon = 0.0
    public var clip = 0.0
    /// Voxel size of the model's grid in micrometres along the oriented axes; 0 keeps the image's.
    public var spacing: (UInt32, UInt32, UInt32) = (0, 0, 0)
    /// Size of the model's grid in voxels; 0 keeps the image's.
    public var dims: (UInt32, UInt32, UInt32) = (0, 0, 0)
    /// Window size in voxels along the oriented axes.
    public var patch: (UInt32, UInt32, UInt32) = (0, 0, 0)
    public var overlapPerMille: UInt16 = 0
    public var windowScheme = WindowScheme.none
    public var windowWeight = WindowWeight.constant
    /// Byte offset in the tables section of three weight tables, one byte per voxel of the patch along the oriented
    /// first, second and third axis.
    public var windowTable: UInt32 = 0

    public init() {}

    /// nil when an enumeration or an orientation letter is unknown.
    init?(_ v: ByteView, _ at: Int) {
        name = StringRef(v, at)
        inputTensor = v.u32(at + 8)
        labelTensor = v.u32(at + 12)
        guard let kind = NormalizationKind(rawValue: v.u8(at + 16)) else { return nil }
        normalization = kind
        orientation = (v.u8(at + 17), v.u8(at + 18), v.u8(at + 19))
        low = Double(bitPattern: v.u64(at + 24))
        high = Double(bitPattern: v.u64(at + 32))
        epsilon = Double(bitPattern: v.u64(at + 40))
        clip = Double(bitPattern: v.u64(at + 48))
        spacing = (v.u32(at + 56), v.u32(at + 60), v.u32(at + 64))
        dims = (v.u32(at + 68), v.u32(at + 72), v.u32(at + 76))
        patch = (v.u32(at + 80), v.u32(at + 84), v.u32(at + 88))
        overlapPerMille = v.u16(at + 92)
        guard let scheme = WindowScheme(rawValue: v.u8(at + 94)),
            let weight = WindowWeight(rawValue: v.u8(at + 95))
        else { return nil }
        windowScheme = scheme
        windowWeight = weight
        windowTable = v.u32(at + 96)
        for reserved in (at + 100)..<(at + Self.size) where v.u8(reserved) != 0 { return nil }
        guard v.u32(at + 20) == 0, hasValidOrientation else { return nil }
    }

    /// One letter from each of the pairs RL, AP, SI.
    private var hasValidOrientation: Bool {
        func axis(_ letter: UInt8) -> Int {
            switch letter {
            case 82, 76: 1
            case 65, 80: 2
            case 83, 73: 4
            default: 0
            }
        }
        return axis(orientation.0) | axis(orientation.1) | axis(orientation.2) == 7
    }

    func write(_ w: inout ByteWriter) {
        name.write(&w)
        w.append(inputTensor)
        w.append(labelTensor)
        w.append(normalization.rawValue)
        for letter in [orientation.0, orientation.1, orientation.2] { w.append(letter) }
        w.append(UInt32(0))
        for value in [low, high, epsilon, clip] { w.append(value.bitPattern) }
        for triple in [spacing, dims, patch] {
            for value in [triple.0, triple.1, triple.2] { w.append(value) }
        }
        w.append(overlapPerMille)
        w.append(windowScheme.rawValue)
        w.append(windowWeight.rawValue)
        w.append(windowTable)
        w.zeros(28)
    }

    public static func == (a: ModelRecord, b: ModelRecord) -> Bool {
        var left = ByteWriter()
        var right = ByteWriter()
        a.write(&left)
        b.write(&right)
        return left.bytes == right.bytes
    }
}

/// What a tensor holds. 64 bytes. Scales are for people and for coding the input; the kernels never see them.
public struct TensorRecord: Equatable, Sendable {
    public static let size = 64

    public enum Storage: UInt8, Sendable {
        /// Blocks of four channels, one byte each.
        case u8 = 1
        /// Blocks of two channels, 16 bits each.
        case i16 = 2
        /// Plain rows of class indices, one byte (up to 256 classes) or two.
        case labels = 3
    }

    public var name = StringRef()
    public var storage = Storage.u8
    public var zeroPoint: UInt8 = 0
    public var channels: UInt32 = 0
    /// Extent minus that of the input tensor divided by 2^coarseness (depth, height, width): negative where padding was left
    /// out.
    public var growth: (Int16, Int16, Int16) = (0, 0, 0)
    /// log2 of how much coarser than the input tensor along each axis: 0 ... 8.
    public var coarseness = Extent(cube: 0)
    /// What one of its voxels stands for. Growth and coarseness are 0 along the axes that are gone.
    public var span = VoxelSpan.voxel
    /// First of `scaleCount` (1 or `channels`) entries of the scales section; real = scale · (code - zeroPoint).
    public var scaleOffset: UInt32 = 0
    public var scaleCount: UInt32 = 0
    /// Calibrated range of the real values.
    public var low: Float = 0
    public var high: Float = 0

    public init() {}

    init?(_ v: ByteView, _ at: Int) {
        name = StringRef(v, at)
        guard let kind = Storage(rawValue: v.u8(at + 8)) else { return nil }
        storage = kind
        zeroPoint = v.u8(at + 9)
        channels = v.u32(at + 12)
        growth = (v.i16(at + 16), v.i16(at + 18), v.i16(at + 20))
        scaleOffset = v.u32(at + 24)
        scaleCount = v.u32(at + 28)
        low = Float(bitPattern: v.u32(at + 32))
        high = Float(bitPattern: v.u32(at + 36))
        // What is stored is the largest of the three, and how much less the others are.
        let most = Int(v.u16(at + 22))
        let less = (Int(v.u8(at + 40)), Int(v.u8(at + 41)), Int(v.u8(at + 42)))
        guard v.u16(at + 10) == 0, most <= 8, min(less.0, less.1, less.2) == 0, max(less.0, less.1, less.2) <= most
        else {
            return nil
        }
        coarseness = Extent(depth: most - less.0, height: most - less.1, width: most - less.2)
        guard let span = VoxelSpan(rawValue: v.u8(at + 43)) else { return nil }
        self.span = span
        for reserved in (at + 44)..<(at + Self.size) where v.u8(reserved) != 0 { return nil }
    }

    func write(_ w: inout ByteWriter) {
        name.write(&w)
        w.append(storage.rawValue)
        w.append(zeroPoint)
        w.append(UInt16(0))
        w.append(channels)
        for value in [growth.0, growth.1, growth.2] { w.append(value) }
        let most = max(coarseness.depth, coarseness.height, coarseness.width)
        w.append(UInt16(most))
        w.append(scaleOffset)
        w.append(scaleCount)
        w.append(low.bitPattern)
        w.append(high.bitPattern)
        for level in [coarseness.depth, coarseness.height, coarseness.width] { w.append(UInt8(most - level)) }
        w.append(span.rawValue)
        w.zeros(20)
    }

    public static func == (a: TensorRecord, b: TensorRecord) -> Bool {
        a.name == b.name && a.storage == b.storage && a.zeroPoint == b.zeroPoint && a.channels == b.channels
            && a.growth == b.growth && a.coarseness == b.coarseness && a.span == b.span
            && a.scaleOffset == b.scaleOffset && a.scaleCount == b.scaleCount
            && a.low.bitPattern == b.low.bitPattern && a.high.bitPattern == b.high.bitPattern
    }

    /// Element type of an activation; nil for labels.
    public var element: ElementType? {
        switch storage {
        case .u8: .u8
        case .i16: .i16
        case .labels: nil
        }
    }
}

/// One step of the network, in execution order. 96 bytes; fields that a kind does not use are 0.
public struct OpRecord: Equatable, Sendable {
    public static let size = 96

    public enum Kind: UInt16, Sendable {
        case conv3d = 1
        case lookup = 2
        case add = 3
        case concat = 4
        case argmax = 5
        case groupNorm = 6
        case layerNorm = 7
        case addWide = 8
        case depthToSpace = 9
        case depthwise = 10
        case tokenConv = 11
        case kanBasis = 12
        case scan = 13
        case gate = 14
        case narrow = 15
        case lookupWide = 16
        case sliceOrder = 17
        case maxPool = 18
        case multiply = 19
        case resize = 20
        case globalPool = 21
    }

    public var name = StringRef()
    public var kind = Kind.conv3d
    /// Indices of the input tensors: `operandCount` entries of the operands section from `operandOffset`.
    public var operandOffset: UInt32 = 0
    public var operandCount: UInt32 = 0
    public var output: UInt32 = 0
    /// conv3d and depthwise, each (depth, height, width); tokenConv: (0, 0, taps).
    public var kernel: (UInt16, UInt16, UInt16) = (0, 0, 0)
    public var dilation: (UInt16, UInt16, UInt16) = (0, 0, 0)
    public var padding: (UInt16, UInt16, UInt16) = (0, 0, 0)
    /// conv3d: 1 with stride 2, and 2 more where i16 output is clamped at 0. resize: 1 is linear. maxPool: 1 overlaps.
    /// These, maxPool and depthToSpace: 4, 8, 16 more where depth, height, width keep their grid.
    /// tokenConv and scan: 1 runs from the last token to the first.
    /// groupNorm and depthwise with i16 output: 1 clamps at 0. groupNorm: 2 more has statistics of each slice.
    /// sliceOrder: 1 for the way back.
    public var mode: UInt16 = 0
    /// conv3d, depthwise, tokenConv: bytes of the weights section, in kernel order.
    public var weightsOffset: UInt64 = 0
    public var weightsBytes: UInt64 = 0
    /// conv3d, depthwise, tokenConv, gate, globalPool: first of `channels(output)` records of the channels section.
    public var channelOffset: UInt32 = 0
    /// Byte offset in the tables section of 256 entries (lookup), 4096 entries (lookupWide), of `NormChannel` records (groupNorm), of
    /// `LayerNorm.Channel` records (layerNorm), of `mk_affine` records (narrow), of the
    /// basis (kanBasis), of the scan's constants (scan), of 256 gate values (gate).
    public var tableOffset: UInt32 = 0
    /// add: see `Ops.Add`. groupNorm: number of groups. kanBasis: cells. scan: states.
    public var multiplierA: Int64 = 0
    public var multiplierB: Int64 = 0
    public var shift: Int32 = 0

    public init() {}

    init?(_ v: ByteView, _ at: Int) {
        name = StringRef(v, at)
        guard let known = Kind(rawValue: v.u16(at + 8)), v.u16(at + 10) == 0 else { return nil }
        kind = known
        operandOffset = v.u32(at + 12)
        operandCount = v.u32(at + 16)
        output = v.u32(at + 20)
        kernel = (v.u16(at + 24), v.u16(at + 26), v.u16(at + 28))
        dilation = (v.u16(at + 30), v.u16(at + 32), v.u16(at + 34))
        padding = (v.u16(at + 36), v.u16(at + 38), v.u16(at + 40))
        mode = v.u16(at + 42)
        weightsOffset = v.u64(at + 48)
        weightsBytes = v.u64(at + 56)
        channelOffset = v.u32(at + 64)
        tableOffset = v.u32(at + 68)
        multiplierA = v.i64(at + 72)
        multiplierB = v.i64(at + 80)
        shift = v.i32(at + 88)
        guard isModeKnown, v.u32(at + 44) == 0, v.u32(at + 92) == 0 else { return nil }
    }

    func write(_ w: inout ByteWriter) {
        name.write(&w)
        w.append(kind.rawValue)
        w.append(UInt16(0))
        w.append(operandOffset)
        w.append(operandCount)
        w.append(output)
        for triple in [kernel, dilation, padding] {
            for value in [triple.0, triple.1, triple.2] { w.append(value) }
        }
        w.append(mode)
        w.append(UInt32(0))
        w.append(weightsOffset)
        w.append(weightsBytes)
        w.append(channelOffset)
        w.append(tableOffset)
        w.append(multiplierA)
        w.append(multiplierB)
        w.append(shift)
        w.append(UInt32(0))
    }

    public static func == (a: OpRecord, b: OpRecord) -> Bool {
        var left = ByteWriter()
        var right = ByteWriter()
        a.write(&left)
        b.write(&right)
        return left.bytes == right.bytes
    }
}

/// A class of the segmentation, in class-index order. 16 bytes.
public struct LabelRecord: Equatable, Sendable {
    public static let size = 16

    public var name: StringRef
    /// Value written to the label volume, 0 ... 65,535.
    public var value: UInt16
    public var red: UInt8
    public var green: UInt8
    public var blue: UInt8

    public init(name: StringRef, value: UInt16, red: UInt8, green: UInt8, blue: UInt8) {
        self.name = name
        self.value = value
        self.red = red
        self.green = green
        self.blue = blue
    }

    init?(_ v: ByteView, _ at: Int) {
        self.init(
            name: StringRef(v, at), value: v.u16(at + 8), red: v.u8(at + 10), green: v.u8(at + 11), blue: v.u8(at + 12))
        guard v.u8(at + 13) == 0, v.u16(at + 14) == 0 else { return nil }
    }

    func write(_ w: inout ByteWriter) {
        name.write(&w)
        w.append(value)
        w.append(red)
        w.append(green)
        w.append(blue)
        w.zeros(3)
    }
}
