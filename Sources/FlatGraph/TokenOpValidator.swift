import FixedPoint
import Ops

extension OpValidator {
    func layerNorm() throws(ModelFileError) {
        try requireOperands(1, storage: .i16)
        try requireStorage(.u8)
        try requireSameShape(input(0))
        let channels = Int(output.channels)
        try require(LayerNorm.channelRange.contains(channels), .badValue, "channels", channels, 512)
        try require(
            op.multiplierB >= 1 && op.multiplierB < 1 << 48, .badValue, "epsilon",
            Int(truncatingIfNeeded: op.multiplierB), 1)
        try requireTable(channels * LayerNorm.Channel.size, alignment: 4)
    }

    func narrow() throws(ModelFileError) {
        try requireOperands(1, storage: .i16)
        try requireStorage(.u8)
        try requireSameShape(input(0))
        let channels = Int(output.channels)
        try requireTable(channels * 12, alignment: 4)
        let table = file.section(.tables).slice(Int(clamping: op.tableOffset), channels * 12)
        for c in 0..<channels {
            try require((1...22).contains(table.i32(12 * c + 8)), .badValue, "shift", Int(table.i32(12 * c + 8)), 22)
            try require(
                table.i32(12 * c + 4).magnitude <= 1 << 30, .badValue, "offset", Int(table.i32(12 * c + 4)), 1 << 30)
        }
    }

    func addWide() throws(ModelFileError) {
        try requireOperands(2, storage: .i16)
        try requireStorage(.i16)
        for i in 0..<2 { try requireSameShape(input(i)) }
    }

    func sliceOrder() throws(ModelFileError) {
        try requireOperands(1, storage: nil)
        try require(input(0).storage != .labels, .badShape, "input storage", 3, 1)
        try requireStorage(input(0).storage)
        try requireSameShape(input(0))
        try require(
            input(0).zeroPoint == output.zeroPoint, .badShape, "zeroPoint", Int(output.zeroPoint),
            Int(input(0).zeroPoint))
    }

    func depthToSpace() throws(ModelFileError) {
        try requireOperands(1, storage: nil)
        try require(output.storage != .labels, .badShape, "output storage", 3, 1)
        try requireStorage(input(0).storage)
        let channels = Int(output.channels)
        try require(channels % 4 == 0, .badShape, "channels", channels, 4)
        let expected = op.factor.voxels * channels
        try require(Int(input(0).channels) == expected, .badShape, "channels", Int(input(0).channels), expected)
        try requireRefined(output, from: input(0))
    }

    func maxPool() throws(ModelFileError) {
        try requireCodesKept()
        try requireRefined(input(0), from: output)
    }

    func resize() throws(ModelFileError) {
        try requireCodesKept()
        try requireRefined(output, from: input(0))
    }

    /// Codes of the output are codes of the input.
    private func requireCodesKept() throws(ModelFileError) {
        try requireOperands(1, storage: nil)
        let input = input(0)
        try require(output.storage != .labels, .badShape, "output storage", 3, 1)
        try requireStorage(input.storage)
        try require(
            input.channels == output.channels, .badShape, "channels", Int(output.channels), Int(input.channels))
        try require(
            input.zeroPoint == output.zeroPoint, .badShape, "zeroPoint", Int(output.zeroPoint), Int(input.zeroPoint))
    }

    /// Sides of `fine` are those of `coarse` times the op's factors.
    private func requireRefined(_ fine: TensorRecord, from coarse: TensorRecord) throws(ModelFileError) {
        try requireCoarser(coarse, than: fine)
        let (a, b, factor) = (fine.growth, coarse.growth, op.factor)
        for (value, expected) in [
            (Int(a.0), factor.depth * Int(b.0)), (Int(a.1), factor.height * Int(b.1)),
            (Int(a.2), factor.width * Int(b.2)),
        ] {
            try require(value == expected, .badShape, "extent", value, expected)
        }
    }

    func multiply() throws(ModelFileError) {
        try requireOperands(2, storage: .u8)
        try requireStorage(.u8)
        try requireSameShape(input(0))
        try require(
            input(1).channels == output.channels, .badShape, "channels", Int(input(1).channels), Int(output.channels))
        try requireSameExtent(orSpread: input(1))
        try require(
            Requantizer.multiplierRange.contains(op.multiplierA), .badValue, "multiplier",
            Int(truncatingIfNeeded: op.multiplierA), Int(clamping: Requantizer.multiplierRange.upperBound))
        try require(Requantizer.shiftRange.contains(op.shift), .badValue, "shift", Int(op.shift), 53)
    }

    func globalPool() throws(ModelFileError) {
        try requireOperands(1, storage: nil)
        let input = input(0)
        try require(input.storage != .labels && input.span == .voxel, .badShape, "input storage", 3, 1)
        try require(output.storage != .labels && output.span != .voxel, .badShape, "output storage", 3, 1)
        try requireStorage(output.storage)
        try require(
            input.channels == output.channels, .badShape, "channels", Int(output.channels), Int(input.channels))
        if output.span == .slice {
            try require(
                output.growth.0 == input.growth.0 && output.coarseness.depth == input.coarseness.depth, .badShape,
                "coarseness", output.coarseness.depth, input.coarseness.depth)
        }
        try requireFactors(GlobalPool.shiftRange)
    }

    func depthwise() throws(ModelFileError) {
        try requireOperands(1, storage: .u8)
        try requireStorage(output.storage == .i16 ? .i16 : .u8)
        try requireSameShape(input(0))
        for k in [op.kernel.0, op.kernel.1, op.kernel.2] {
            try require(k % 2 == 1 && k <= 7, .badValue, "kernel", Int(k), 7)
        }
        let conv = file.depthwise(op)
        try requireWeights(conv.weightBytes)
        try requireChannels(conv.channels)
        try checkTaps(conv.channels, taps: conv.kernel.voxels)
    }

    func lookupWide() throws(ModelFileError) {
        try requireOperands(1, storage: .i16)
        try require(output.storage != .labels, .badShape, "output storage", 3, 1)
        try requireStorage(output.storage)
        try requireSameShape(input(0))
        let element = output.element ?? .u8
        try requireTable(LookupWide.tableBytes(element), alignment: element == .u8 ? 1 : 2)
    }

    func tokenConv() throws(ModelFileError) {
        try requireOperands(1, storage: .u8)
        try require(output.storage != .labels, .badShape, "output storage", 3, 1)
        try requireSameShape(input(0))
        let conv = file.tokenConv(op)
        try require(TokenConv.tapRange.contains(conv.taps), .badValue, "taps", conv.taps, 16)
        try requireWeights(conv.weightBytes)
        try requireChannels(conv.channels)
        try checkTaps(conv.channels, taps: conv.taps)
    }

    /// Weights of a depthwise op, `[channel/4][tap][4]`: those of absent channels are 0, and no sum can leave Int32.
    private func checkTaps(_ channels: Int, taps: Int) throws(ModelFileError) {
        let weights = file.section(.weights).slice(Int(op.weightsOffset), (channels + 3) / 4 * taps * 4)
        for c in 0..<((channels + 3) & ~3) {
            var magnitude: Int64 = 0
            for tap in 0..<taps {
                let w = Int8(bitPattern: weights.u8(((c / 4) * taps + tap) * 4 + c % 4))
                try require(c < channels || w == 0, .badValue, "weight of an absent channel", Int(w), 0)
                try require(w != -128, .badValue, "weight", -128, -127)
                magnitude += Int64(w.magnitude)
            }
            if c < channels { try checkChannel(c, magnitude: magnitude) }
        }
    }

    func kanBasis() throws(ModelFileError) {
        try requireOperands(1, storage: .u8)
        try requireStorage(.u8)
        try requireSameExtent(input(0))
        let outputs = Int(truncatingIfNeeded: op.multiplierA)
        try require((1...16).contains(outputs), .badValue, "outputs", outputs, 16)
        let expected = Int(input(0).channels) * outputs
        try require(Int(output.channels) == expected, .badShape, "channels", Int(output.channels), expected)
        try requireTable(256 * outputs, alignment: 1)
    }

    func scan() throws(ModelFileError) {
        try requireOperands(3, storage: nil)
        for (i, storage) in [(0, TensorRecord.Storage.u8), (1, .i16), (2, .i16)] {
            try require(
                input(i).storage == storage, .badShape, "input storage", Int(input(i).storage.rawValue),
                Int(storage.rawValue))
            try requireSameExtent(input(i))
        }
        try requireStorage(.i16)
        for i in 0..<2 {
            try require(
                input(i).channels == output.channels, .badShape, "channels", Int(input(i).channels),
                Int(output.channels))
        }
        let states = Int(truncatingIfNeeded: op.multiplierA)
        try require(Scan.stateRange.contains(states), .badValue, "states", states, 32)
        try require(Int(input(2).channels) == 2 * states, .badShape, "channels", Int(input(2).channels), 2 * states)
        let scan = file.scan(op)
        try requireTable(scan.tableBytes, alignment: 4)
        let table = file.section(.tables).slice(Int(clamping: op.tableOffset), scan.tableBytes)
        for i in 0..<Scan.softplusEntries {
            let value = table.u32(4 * i)
            try require(value <= 1 << 31, .badValue, "softplus", Int(clamping: value), Int(Int32.max))
            // The product with 7 bits of the code must stay in 32.
            let rise = i == 0 ? 0 : Int(clamping: value) - Int(clamping: table.u32(4 * i - 4))
            try require((0..<(1 << 25)).contains(rise), .badValue, "softplus step", rise, 1 << 25)
        }
        for group in 0..<scan.groups {
            let at = Scan.groupOffset(group, groupBytes: scan.groupBytes)
            for lane in 0..<Scan.group { try scanConstants(table, at + 4 * lane) }
        }
    }

    /// The constants of one channel, `Scan.group` words apart.
    private func scanConstants(_ table: ByteView, _ at: Int) throws(ModelFileError) {
        let limits: [(StaticString, ClosedRange<Int32>)] = [
            ("stepShift", 1...31), ("injectionShift", 1...25), ("exponentBits", Exponent.bitsRange),
            ("multiplier", 0...Int32.max), ("skip", Int32.min...Int32.max), ("shift", 33...53),
        ]
        for (field, (name, range)) in limits.enumerated() {
            let value = table.i32(at + field * 4 * Scan.group)
            try require(range.contains(value), .badValue, name, Int(value), Int(range.upperBound))
        }
    }

    /// Channel records that hold a multiplier and a shift and nothing else.
    private func requireFactors(_ shifts: ClosedRange<Int32>) throws(ModelFileError) {
        try requireChannels(Int(output.channels))
        for c in 0..<Int(output.channels) {
            let channel = file.channel(Int(clamping: op.channelOffset) + c)
            try require(
                channel.multiplier >= 0 && channel.reserved == 0 && channel.bias == 0, .badValue, "multiplier",
                Int(channel.multiplier), 0)
            try require(
                shifts.contains(channel.shift), .badValue, "shift", Int(channel.shift), Int(shifts.upperBound))
        }
    }

    func gate() throws(ModelFileError) {
        try requireOperands(3, storage: nil)
        for (i, storage) in [(0, TensorRecord.Storage.i16), (1, .i16), (2, .u8)] {
            try require(
                input(i).storage == storage, .badShape, "input storage", Int(input(i).storage.rawValue),
                Int(storage.rawValue))
            try requireSameShape(input(i))
        }
        try requireStorage(.u8)
        try requireTable(Gate.tableBytes, alignment: 2)
        try requireFactors(Requantizer.shiftRange)
    }

    private func requireStorage(_ storage: TensorRecord.Storage) throws(ModelFileError) {
        try require(
            output.storage == storage, .badShape, "output storage", Int(output.storage.rawValue), Int(storage.rawValue))
        try require(
            storage == .u8 || output.zeroPoint == 0, .badShape, "zeroPoint", Int(output.zeroPoint), 0)
    }
}
