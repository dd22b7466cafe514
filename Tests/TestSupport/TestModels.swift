import COps
import FlatGraph
import Ops

/// Small networks with random weights, built record by record: what the file and runtime tests run on.
public enum TestModels {
    public struct Options: Sendable {
        public var channels = 5
        public var classes = 3
        public var inputs = 1
        /// One per input; nil for "channel 0" and so on.
        public var channelNames: [String]?
        public var dilations = [1, 2, 1]
        public var inputZeroPoint: UInt8 = 0
        public var hiddenZeroPoint: UInt8 = 0
        public var lookupAfter: Int? = 1
        public var residual = false
        public var concat = false
        public var headKernel = 1
        public var patch = 16
        public var overlapPerMille = 500
        public var scheme = WindowScheme.monai
        /// No padding: every 3³ convolution eats `dilation` voxels on each side.
        public var valid = false
        /// Constants of a scan (`Ops.Scan`) of two states over as many channels as classes, whose output is the scores.
        public var scanTable: [UInt32]?
        /// A normalization over the volume after each hidden convolution.
        public var norm = false
        /// Hidden convolutions write 16 bits, every second one clamped at 0, and read what the one before wrote.
        public var wideHidden = false
        /// After the first hidden convolution: means over the volume or each slice, in 16 bits, through a pointwise convolution, times
        /// each voxel, and beside it.
        public var excitation: VoxelSpan?
        /// The image has 16-bit codes, which the first convolution reads as they are.
        public var wideInput = false
        public var seed: UInt64 = 1

        public init() {}
    }

    public static func bytes(_ options: Options = Options()) -> [UInt8] {
        var builder = Network(options)
        return builder.build()
    }

    /// Keeps the file in memory aligned as a mapping would be.
    public final class Memory: @unchecked Sendable {
        public let buffer: UnsafeMutableRawBufferPointer
        public init(_ bytes: [UInt8]) {
            buffer = .allocate(byteCount: max(64, bytes.count), alignment: 64)
            buffer.copyBytes(from: bytes)
            count = bytes.count
        }
        public let count: Int
        public var bytes: UnsafeRawBufferPointer {
            UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count])
        }
        public func file() throws(ModelFileError) -> ModelFile { try ModelFile(validating: bytes, owner: self) }
        deinit { buffer.deallocate() }
    }

    private struct Network {
        let options: Options
        var builder = ModelBuilder()
        var generator: SplitMix64
        private var growth: Int16 = 0

        init(_ options: Options) {
            self.options = options
            generator = SplitMix64(options.seed)
        }

        mutating func build() -> [UInt8] {
            describe()
            var current = tensor(
                "input", channels: options.inputs, zeroPoint: options.inputZeroPoint,
                storage: options.wideInput ? .i16 : .u8)
            if options.wideInput { builder.require(feature: "input-i16") }
            builder.record.inputTensor = current
            var channels = options.inputs
            for (index, dilation) in options.dilations.enumerated() {
                let before = current
                let beforeChannels = channels
                current = conv(
                    "conv\(index)", from: current, channels, to: options.channels, kernel: 3, dilation: dilation,
                    zeroPoint: options.hiddenZeroPoint, wide: options.norm || options.wideHidden,
                    isRectified: options.wideHidden && index % 2 == 0)
                channels = options.channels
                if options.norm { current = norm(current, channels) }
                if options.lookupAfter == index { current = lookup(current, channels) }
                if let span = options.excitation, index == 0 {
                    current = excite(current, channels, span)
                    channels *= 2
                }
                if options.residual, beforeChannels == channels { current = add(before, current, channels) }
                if options.concat, index == 0 {
                    current = concat(before: current, channels)
                    channels *= 2
                }
            }
            head(current, channels)
            return builder.bytes()
        }

        private mutating func describe() {
            builder.record.name = builder.string("test network")
            builder.record.normalization = .quantile
            (builder.record.low, builder.record.high, builder.record.epsilon) = (0.02, 0.98, 0.001)
            builder.record.spacing = (1000, 1000, 1000)
            let patch = UInt32(options.patch)
            builder.record.patch = (patch, patch, patch)
            builder.record.overlapPerMille = UInt16(options.overlapPerMille)
            builder.record.windowScheme = options.scheme
            builder.record.windowWeight = .gaussian
            let hat = (0..<options.patch).map { UInt8(1 + 254 * min($0, options.patch - 1 - $0) / (options.patch / 2)) }
            builder.setWindowTables([hat, hat, hat])
            for index in 0..<options.inputs {
                builder.addChannelName(options.channelNames?[index] ?? "channel \(index)")
            }
            for index in 0..<options.classes {
                builder.addLabel("class \(index)", value: UInt16(index * 2), rgb: (UInt8(index), 0, 255))
            }
            builder.addProvenance("tool", "test")
            builder.require(feature: "conv3d-u8")
        }

        private mutating func tensor(
            _ name: String, channels: Int, zeroPoint: UInt8, storage: TensorRecord.Storage = .u8,
            span: VoxelSpan = .voxel
        ) -> UInt32 {
            var record = TensorRecord()
            record.span = span
            record.storage = storage
            record.zeroPoint = zeroPoint
            record.channels = UInt32(channels)
            record.growth = (growth, growth, growth)
            (record.low, record.high) = (0, 1)
            return builder.addTensor(record, name: name, scales: storage == .labels ? [] : [1.0 / 255])
        }

        private mutating func conv(
            _ name: String, from input: UInt32, _ inChannels: Int, to outChannels: Int, kernel: Int, dilation: Int,
            zeroPoint: UInt8, wide: Bool = false, isRectified: Bool = false, span: VoxelSpan = .voxel
        ) -> UInt32 {
            let readsWide = builder.tensors[Int(input)].storage == .i16
            let same = dilation * (kernel - 1) / 2
            let padding = options.valid ? 0 : same
            growth += Int16(2 * (padding - same))
            let conv = Conv3D(
                inChannels: inChannels, outChannels: outChannels, kernel: Extent(cube: kernel),
                dilation: Extent(cube: dilation), padding: Extent(cube: padding), inputElement: readsWide ? .i16 : .u8,
                inputZeroPoint: 0, outputZeroPoint: 0, outputElement: .u8)
            // Σ|w| times the largest code stays below 2^31.
            let most = 60_000 / (inChannels * conv.taps)
            var weights = [Int8](repeating: 0, count: conv.weightBytes)
            for o in 0..<outChannels {
                for i in 0..<inChannels {
                    for tap in 0..<conv.taps {
                        let at = conv.weightIndex(
                            o: o, i: i, kz: tap / (kernel * kernel), ky: tap / kernel % kernel, kx: tap % kernel)
                        if readsWide {
                            let w = Int.random(in: -most...most, using: &generator)
                            weights[at] = Int8(truncatingIfNeeded: w)
                            weights[at + 1] = Int8(w >> 8)
                        } else {
                            weights[at] = Int8.random(in: -127...127, using: &generator)
                        }
                    }
                }
            }
            let channels = (0..<outChannels).map { _ in
                mk_channel(
                    bias: Int32.random(in: -20_000...20_000, using: &generator),
                    multiplier: Int32.random(in: (1 << 30)...Int32.max, using: &generator),
                    shift: span != .voxel ? 50 : readsWide ? (wide ? 44 : 50) : wide ? 36 : 40, reserved: 0)
            }
            let output = tensor(
                name + ".out", channels: outChannels, zeroPoint: wide ? 0 : zeroPoint, storage: wide ? .i16 : .u8,
                span: span)
            var op = OpRecord()
            op.kind = .conv3d
            let (k, d, p) = (UInt16(kernel), UInt16(dilation), UInt16(padding))
            (op.kernel, op.dilation, op.padding) = ((k, k, k), (d, d, d), (p, p, p))
            op.mode = isRectified ? 2 : 0
            if readsWide { builder.require(feature: "conv3d-i16") }
            builder.addOp(op, name: name, inputs: [input], output: output, weights: weights, channels: channels)
            return output
        }

        /// Means around 128 are stretched, so that factors differ.
        private mutating func excite(_ input: UInt32, _ channels: Int, _ span: VoxelSpan) -> UInt32 {
            let means = tensor("means", channels: channels, zeroPoint: 0, storage: .i16, span: span)
            var op = OpRecord()
            op.kind = .globalPool
            let parameters = (0..<channels).map { _ in
                mk_channel(
                    bias: 0, multiplier: Int32.random(in: (1 << 30)...Int32.max, using: &generator), shift: 24,
                    reserved: 0)
            }
            builder.addOp(op, name: "pool", inputs: [input], output: means, channels: parameters)
            let factors = conv(
                "factors", from: means, channels, to: channels, kernel: 1, dilation: 1,
                zeroPoint: options.hiddenZeroPoint, span: span)
            let product = tensor("product", channels: channels, zeroPoint: options.hiddenZeroPoint)
            op = OpRecord()
            op.kind = .multiply
            (op.multiplierA, op.shift) = (1 << 30, 37)
            builder.addOp(op, name: "multiply", inputs: [input, factors], output: product)
            let both = tensor("both", channels: 2 * channels, zeroPoint: options.hiddenZeroPoint)
            op = OpRecord()
            op.kind = .concat
            builder.addOp(op, name: "beside", inputs: [product, factors], output: both)
            builder.require(feature: "global-pool")
            return both
        }

        private mutating func norm(_ input: UInt32, _ channels: Int) -> UInt32 {
            let output = tensor("norm\(input).out", channels: channels, zeroPoint: options.hiddenZeroPoint)
            var op = OpRecord()
            op.kind = .groupNorm
            op.multiplierA = Int64(channels)
            var table: [UInt8] = []
            for _ in 0..<channels {
                // 40 to 80 codes per standard deviation, an offset of up to 40 codes.
                let gain = Int32.random(in: (40 << 24)...(80 << 24), using: &generator)
                let bias = Int32.random(in: 0...(40 << 16), using: &generator)
                for value in [gain, 24, bias, 1 << 20, 20, 0, 0, 0] {
                    for i in 0..<4 { table.append(UInt8(truncatingIfNeeded: value >> Int32(8 * i))) }
                }
            }
            builder.addOp(op, name: "norm", inputs: [input], output: output, table: table)
            return output
        }

        private mutating func lookup(_ input: UInt32, _ channels: Int) -> UInt32 {
            let output = tensor("lookup.out", channels: channels, zeroPoint: options.hiddenZeroPoint)
            var op = OpRecord()
            op.kind = .lookup
            builder.addOp(
                op, name: "lookup", inputs: [input], output: output,
                table: (0..<256).map { UInt8(($0 * 7 + 11) % 256) })
            return output
        }

        private mutating func add(_ a: UInt32, _ b: UInt32, _ channels: Int) -> UInt32 {
            let output = tensor("add\(b).out", channels: channels, zeroPoint: options.hiddenZeroPoint)
            var op = OpRecord()
            op.kind = .add
            (op.multiplierA, op.multiplierB, op.shift) = (3 << 29, 5 << 28, 32)
            builder.addOp(op, name: "add", inputs: [a, b], output: output)
            return output
        }

        private mutating func concat(before: UInt32, _ channels: Int) -> UInt32 {
            let output = tensor("concat.out", channels: channels * 2, zeroPoint: options.hiddenZeroPoint)
            var op = OpRecord()
            op.kind = .concat
            builder.addOp(op, name: "concat", inputs: [before, before], output: output)
            return output
        }

        private mutating func scan(_ input: UInt32, _ channels: Int, _ table: [UInt32]) -> UInt32 {
            let states = 2
            let inputs = [("x", options.classes, false), ("step", options.classes, true), ("bc", 2 * states, true)].map
            {
                conv($0.0, from: input, channels, to: $0.1, kernel: 1, dilation: 1, zeroPoint: 0, wide: $0.2)
            }
            let output = tensor("scan.out", channels: options.classes, zeroPoint: 0, storage: .i16)
            var op = OpRecord()
            op.kind = .scan
            op.multiplierA = Int64(states)
            builder.addOp(
                op, name: "scan", inputs: inputs, output: output,
                table: table.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(8 * $0)) } },
                tableAlignment: 64)
            builder.require(feature: "scan")
            return output
        }

        private mutating func head(_ input: UInt32, _ channels: Int) {
            let scores =
                options.scanTable.map { scan(input, channels, $0) }
                ?? conv(
                    "head", from: input, channels, to: options.classes, kernel: options.headKernel, dilation: 1,
                    zeroPoint: 0, wide: true)
            let labels = tensor("labels", channels: 1, zeroPoint: 0, storage: .labels)
            builder.record.labelTensor = labels
            var op = OpRecord()
            op.kind = .argmax
            builder.addOp(op, name: "argmax", inputs: [scores], output: labels)
        }
    }
}
