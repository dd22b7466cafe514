import FixedPoint
import Ops

/// Shape rule, ranges and overflow proof of one op record.
struct OpValidator {
    let file: ModelFile
    let op: OpRecord
    let index: Int

    func run() throws(ModelFileError) {
        try checkSpans()
        switch op.kind {
        case .conv3d: try conv3D()
        case .lookup: try lookup()
        case .add: try add()
        case .concat: try concat()
        case .argmax: try argmax()
        #if MKEDGE_CONV_ONLY
            default: try require(false, .badValue, "kind, in a build for convolutions only", Int(op.kind.rawValue), 0)
        #else
            case .lookupWide: try lookupWide()
            case .groupNorm: try groupNorm()
            case .layerNorm: try layerNorm()
            case .addWide: try addWide()
            case .depthToSpace: try depthToSpace()
            case .depthwise: try depthwise()
            case .tokenConv: try tokenConv()
            case .kanBasis: try kanBasis()
            case .scan: try scan()
            case .gate: try gate()
            case .narrow: try narrow()
            case .sliceOrder: try sliceOrder()
            case .maxPool: try maxPool()
            case .multiply: try multiply()
            case .resize: try resize()
            case .globalPool: try globalPool()
        #endif
        }
    }

    var output: TensorRecord { file.tensor(Int(clamping: op.output)) }
    func input(_ i: Int) -> TensorRecord { file.tensor(file.operand(op, i)) }

    func require(
        _ condition: Bool, _ reason: ModelFileError.Reason, _ field: StaticString, _ value: Int, _ expected: Int
    ) throws(ModelFileError) {
        guard condition else {
            throw ModelFileError(reason, .ops, index: index, field: field, value: value, expected: expected)
        }
    }

    func requireOperands(_ count: Int, storage: TensorRecord.Storage?) throws(ModelFileError) {
        try require(
            Int(clamping: op.operandCount) == count, .badGraph, "operandCount", Int(clamping: op.operandCount), count)
        guard let storage else { return }
        for i in 0..<count {
            try require(
                input(i).storage == storage, .badShape, "input storage", Int(input(i).storage.rawValue),
                Int(storage.rawValue))
        }
    }

    func requireSameExtent(_ tensor: TensorRecord) throws(ModelFileError) {
        try require(
            tensor.growth == output.growth, .badShape, "extent", Int(output.growth.2), Int(tensor.growth.2))
        try require(
            tensor.span == output.span, .badShape, "span", Int(tensor.span.rawValue), Int(output.span.rawValue))
        try require(
            tensor.coarseness == output.coarseness, .badShape, "coarseness", output.coarseness.width,
            tensor.coarseness.width)
    }

    func requireSameShape(_ tensor: TensorRecord) throws(ModelFileError) {
        try require(
            tensor.channels == output.channels, .badShape, "channels", Int(output.channels), Int(tensor.channels))
        try requireSameExtent(tensor)
    }

    /// Of an operand each voxel of which may stand for a slice or the volume.
    func requireSameExtent(orSpread tensor: TensorRecord) throws(ModelFileError) {
        guard tensor.span != output.span else { return try requireSameExtent(tensor) }
        try require(output.span == .voxel, .badShape, "span", Int(output.span.rawValue), Int(tensor.span.rawValue))
        guard tensor.span == .slice else { return }
        try require(
            tensor.growth.0 == output.growth.0, .badShape, "extent", Int(output.growth.0), Int(tensor.growth.0))
        try require(
            tensor.coarseness.depth == output.coarseness.depth, .badShape, "coarseness", output.coarseness.depth,
            tensor.coarseness.depth)
    }

    /// Where a voxel stands for more than itself, ops that look around it, or at its slice or volume, make no sense.
    private func checkSpans() throws(ModelFileError) {
        guard op.kind != .globalPool else { return }
        var (isPooled, isMixed) = (output.span != .voxel, false)
        for i in 0..<Int(clamping: op.operandCount) {
            isPooled = isPooled || input(i).span != .voxel
            isMixed = isMixed || input(i).span != output.span
        }
        guard isPooled else { return }
        let isVoxelwise =
            switch op.kind {
            case .conv3d:
                op.kernel == (1, 1, 1) && op.padding == (0, 0, 0) && op.factor == Extent(cube: 1) && !isMixed
            case .depthwise: op.kernel == (1, 1, 1)
            case .lookup, .lookupWide, .add, .addWide, .multiply, .concat, .narrow, .layerNorm: true
            default: false
            }
        try require(isVoxelwise, .badShape, "span", Int(output.span.rawValue), 0)
    }

    /// `bytes` of the tables section from the op's offset on.
    func requireTable(_ bytes: Int, alignment: Int) throws(ModelFileError) {
        let size = file.section(.tables).count
        let offset = Int(clamping: op.tableOffset)
        try require(
            offset % alignment == 0 && bytes <= size && offset <= size - bytes, .indexOutOfRange, "tableOffset", offset,
            size)
    }

    // MARK: Convolution

    private func conv3D() throws(ModelFileError) {
        try requireOperands(1, storage: nil)
        try require(input(0).storage != .labels, .badShape, "operand storage", 3, 1)
        try require(output.storage != .labels, .badShape, "output storage", 3, 1)
        try require(op.mode & 2 == 0 || output.storage == .i16, .badValue, "mode", Int(op.mode), Int(op.mode & 1))
        let stride = op.factor
        for (k, d, p, s) in [
            (op.kernel.0, op.dilation.0, op.padding.0, stride.depth),
            (op.kernel.1, op.dilation.1, op.padding.1, stride.height),
            (op.kernel.2, op.dilation.2, op.padding.2, stride.width),
        ] {
            try require((k % 2 == 1 || s == 2) && k >= 1 && k <= 15, .badValue, "kernel", Int(k), 15)
            try require(d >= 1 && d <= 64, .badValue, "dilation", Int(d), 64)
            try require(Int(p) <= Int(d) * (Int(k) - 1), .badValue, "padding", Int(p), Int(d) * (Int(k) - 1))
        }
        let conv = file.conv3D(op)
        try requireConvolved(conv)
        // In 64 bits first: on a 32-bit processor the product of a damaged record's fields may not fit.
        let words = Int64(conv.outGroups) * Int64(conv.inBlocks) * Int64(conv.taps) * 16
        try require(
            words <= Int64(file.section(.weights).count), .badShape, "weightsBytes",
            Int(truncatingIfNeeded: op.weightsBytes), Int(clamping: words))
        try requireWeights(conv.weightBytes)
        try requireChannels(conv.outChannels)
        try checkChannels(conv, file.section(.weights).slice(Int(op.weightsOffset), conv.weightBytes))
    }

    /// The shape rule at an input so large that it stays positive: what matters is the difference.
    private func requireConvolved(_ conv: Conv3D) throws(ModelFileError) {
        try requireCoarser(output, than: input(0))
        let extent = conv.outputExtent(of: input(0).extent(of: Self.base))
        let found = output.extent(of: Self.base)
        for (value, expected) in [
            (found.depth, extent.depth), (found.height, extent.height), (found.width, extent.width),
        ] {
            try require(value == expected, .badShape, "extent", value, expected)
        }
    }

    /// Input of a network at which shape rules are checked.
    private static var base: Extent { Extent(cube: 1 << 20) }

    /// By the op's factors.
    func requireCoarser(_ coarse: TensorRecord, than fine: TensorRecord) throws(ModelFileError) {
        let (a, b, factor) = (fine.coarseness, coarse.coarseness, op.factor)
        for (value, expected) in [
            (b.depth, a.depth + factor.depth - 1), (b.height, a.height + factor.height - 1),
            (b.width, a.width + factor.width - 1),
        ] {
            try require(value == expected, .badShape, "coarseness", value, expected)
        }
    }

    func requireWeights(_ bytes: Int) throws(ModelFileError) {
        let weights = file.section(.weights)
        try require(
            op.weightsBytes == UInt64(bytes), .badShape, "weightsBytes", Int(truncatingIfNeeded: op.weightsBytes), bytes
        )
        try require(
            op.weightsOffset % UInt64(MKQ.alignment) == 0 && op.weightsOffset <= UInt64(weights.count)
                && op.weightsBytes <= UInt64(weights.count) - op.weightsOffset,
            .indexOutOfRange, "weightsOffset", Int(truncatingIfNeeded: op.weightsOffset), weights.count)
    }

    func requireChannels(_ count: Int) throws(ModelFileError) {
        let channels = file.count(.channels)
        try require(
            Int(clamping: op.channelOffset) <= channels && count <= channels - Int(clamping: op.channelOffset),
            .indexOutOfRange,
            "channelOffset", Int(clamping: op.channelOffset), channels)
    }

    /// Ranges of one channel's requantizer, and |bias| + code · Σ|w| < 2^31 with the largest magnitude of a code.
    func checkChannel(_ o: Int, magnitude: Int64, code: Int64 = 255) throws(ModelFileError) {
        let channel = file.channel(Int(clamping: op.channelOffset) + o)
        try require(
            channel.multiplier >= 0 && channel.reserved == 0, .badValue, "multiplier", Int(channel.multiplier), 0)
        try require(Requantizer.shiftRange.contains(channel.shift), .badValue, "shift", Int(channel.shift), 53)
        try require(
            magnitude * code + Int64(channel.bias.magnitude) < Int64(1) << 31, .accumulatorOverflow, "channels", o, 0)
    }

    /// Ranges of the requantizers, and |bias| + code · Σ|w| < 2^31 for every output channel: no partial sum can leave
    /// Int32, in whatever order a kernel adds. Weights of channels that do not exist must be 0.
    private func checkChannels(_ conv: Conv3D, _ weights: ByteView) throws(ModelFileError) {
        let groupBytes = conv.inBlocks * conv.taps * 16
        let perBlock = conv.inputElement.channelsPerBlock
        for o in 0..<(conv.outGroups * 4) {
            var magnitude: Int64 = 0
            for quad in 0..<(conv.inBlocks * conv.taps) {
                let block = quad / conv.taps
                for i in 0..<perBlock {
                    let at = (o / 4) * groupBytes + quad * 16 + (o % 4) * 4 + i * (4 / perBlock)
                    let w = perBlock == 4 ? Int(Int8(bitPattern: weights.u8(at))) : Int(weights.i16(at))
                    let lowest = perBlock == 4 ? -128 : -32768
                    let absent = o >= conv.outChannels || block * perBlock + i >= conv.inChannels
                    try require(!absent || w == 0, .badValue, "weight of an absent channel", w, 0)
                    try require(w != lowest, .badValue, "weight", lowest, lowest + 1)
                    magnitude += Int64(w.magnitude)
                }
            }
            if o < conv.outChannels { try checkChannel(o, magnitude: magnitude, code: perBlock == 4 ? 255 : 32768) }
        }
    }

    // MARK: Normalization

    private func groupNorm() throws(ModelFileError) {
        try requireOperands(1, storage: .i16)
        try require(output.storage != .labels, .badShape, "output storage", 3, 1)
        try require(
            output.storage == .u8 || output.zeroPoint == 0, .badShape, "zeroPoint", Int(output.zeroPoint), 0)
        try requireSameShape(input(0))
        let channels = Int(output.channels)
        let groups = Int(truncatingIfNeeded: op.multiplierA)
        try require(groups >= 1 && groups <= channels && channels % groups == 0, .badValue, "groups", groups, channels)
        try requireTable(channels * NormChannel.size, alignment: 4)
        for c in 0..<channels {
            let channel = file.normChannel(op, c)
            try require(channel.gain != .min, .badValue, "gain", Int(channel.gain), -Int(Int32.max))
            try require(
                NormChannel.gainShiftRange.contains(channel.gainShift), .badValue, "gainShift", Int(channel.gainShift),
                62)
            try require(
                NormChannel.epsilonShiftRange.contains(channel.epsilonShift), .badValue, "epsilonShift",
                Int(channel.epsilonShift), 62)
            // A bias beyond the output's codes would leave the 32-bit lane that it is added in.
            try require(channel.bias.magnitude <= 1 << 31 - 1, .badValue, "bias", Int(channel.bias), Int(Int32.max))
        }
    }

    // MARK: The others

    private func lookup() throws(ModelFileError) {
        try requireOperands(1, storage: .u8)
        try require(output.storage == .u8, .badShape, "output storage", Int(output.storage.rawValue), 1)
        try require(
            output.channels == input(0).channels, .badShape, "channels", Int(output.channels), Int(input(0).channels))
        try requireSameExtent(input(0))
        let size = file.section(.tables).count
        try require(
            Int(clamping: op.tableOffset) <= size - Lookup.tableBytes, .indexOutOfRange, "tableOffset",
            Int(clamping: op.tableOffset), size)
    }

    private func add() throws(ModelFileError) {
        try requireOperands(2, storage: .u8)
        try require(output.storage == .u8, .badShape, "output storage", Int(output.storage.rawValue), 1)
        for i in 0..<2 {
            try require(
                input(i).channels == output.channels, .badShape, "channels", Int(input(i).channels),
                Int(output.channels))
            try requireSameExtent(input(i))
        }
        for multiplier in [op.multiplierA, op.multiplierB] {
            try require(
                Add.multiplierRange.contains(multiplier), .badValue, "multiplier", Int(truncatingIfNeeded: multiplier),
                Int(clamping: Add.multiplierRange.upperBound))
        }
        try require(Add.shiftRange.contains(op.shift), .badValue, "shift", Int(op.shift), 53)
    }

    private func concat() throws(ModelFileError) {
        try require((2...64).contains(op.operandCount), .badGraph, "operandCount", Int(clamping: op.operandCount), 64)
        try require(output.storage != .labels, .badShape, "output storage", 3, 1)
        try requireOperands(Int(clamping: op.operandCount), storage: output.storage)
        var channels = 0
        var isWhole = false
        for i in 0..<Int(clamping: op.operandCount) {
            channels += Int(input(i).channels)
            try requireSameExtent(orSpread: input(i))
            isWhole = isWhole || input(i).span == output.span
            try require(
                input(i).zeroPoint == output.zeroPoint, .badShape, "zeroPoint", Int(input(i).zeroPoint),
                Int(output.zeroPoint))
        }
        try require(
            output.storage == .u8 || output.zeroPoint == 0, .badShape, "zeroPoint", Int(output.zeroPoint), 0)
        try require(Int(output.channels) == channels, .badShape, "channels", Int(output.channels), channels)
        try require(isWhole, .badShape, "span", Int(output.span.rawValue), Int(input(0).span.rawValue))
    }

    private func argmax() throws(ModelFileError) {
        try requireOperands(1, storage: nil)
        try require(input(0).storage != .labels, .badShape, "input storage", 3, 2)
        try require(output.storage == .labels, .badShape, "output storage", Int(output.storage.rawValue), 3)
        try require(output.channels == 1, .badShape, "channels", Int(output.channels), 1)
        try requireSameExtent(input(0))
        try require(
            Int(input(0).channels) == file.classCount, .badShape, "classes", Int(input(0).channels), file.classCount)
    }
}
