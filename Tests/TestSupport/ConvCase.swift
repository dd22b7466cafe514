import COps
import Ops

/// One convolution with random weights and data.
public struct ConvCase {
    public var conv: Conv3D
    public var extent: Extent
    public var seed: UInt64

    public init(conv: Conv3D, extent: Extent, seed: UInt64) {
        self.conv = conv
        self.extent = extent
        self.seed = seed
    }

    public static func random(_ generator: inout SplitMix64, seed: UInt64) -> ConvCase {
        func pick(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
        let isStrided = pick(0...3) == 0
        let axes = isStrided ? pick(1...14) : 0  // above 7: all of them
        func side(_ axis: Int) -> Int { axes > 7 ? 2 : 1 + axes >> axis & 1 }
        let stride = Extent(depth: side(0), height: side(1), width: side(2))
        let kernel = (!isStrided ? [1, 3, 3, 3, 5] : [1, 2, 2, 3, 4])[pick(0...4)]
        let dilation = [1, 1, 2, 3, 4, 8, 16][pick(0...6)]
        let flatKernel = pick(0...7) == 0
        let wide = pick(0...3) == 0
        // Kernels are odd along axes of stride 1.
        func odd(_ stride: Int) -> Int { stride == 1 ? kernel | 1 : kernel }
        let kernelExtent = Extent(
            depth: flatKernel ? 1 : odd(stride.depth), height: odd(stride.height), width: odd(stride.width))
        func same(_ kernel: Int) -> Int { dilation * (kernel - 1) / 2 }
        var padding = Extent(
            depth: same(kernelExtent.depth), height: same(kernelExtent.height), width: same(kernelExtent.width))
        if pick(0...5) == 0, kernel > 1 { padding.width = pick(0...(dilation * (kernelExtent.width - 1))) }
        let wideInput = pick(0...2) == 0
        return ConvCase(
            conv: Conv3D(
                inChannels: pick(1...33), outChannels: pick(1...33), kernel: kernelExtent,
                dilation: Extent(cube: dilation), padding: padding, stride: stride,
                inputElement: wideInput ? .i16 : .u8,
                inputZeroPoint: wideInput || pick(0...1) == 0 ? 0 : UInt8(pick(1...255)),
                outputZeroPoint: wide ? 0 : UInt8(pick(0...255)), outputElement: wide ? .i16 : .u8,
                isRectified: wide && pick(0...1) == 0),
            extent: Extent(depth: pick(1...5), height: pick(1...6), width: pick(1...70)), seed: seed)
    }
}

/// Weights, input and the means to run one case.
public struct ConvFixture {
    public let conv: Conv3D
    public let input: TestTensor
    public let output: TensorLayout
    public var weights: [Int8]
    public var channels: [mk_channel]

    /// nil where the kernel is larger than the input.
    public init?(_ test: ConvCase) {
        var generator = SplitMix64(test.seed &* 77)
        conv = test.conv
        let outExtent = conv.outputExtent(of: test.extent)
        guard outExtent.width > 0, outExtent.height > 0, outExtent.depth > 0 else { return nil }
        let layout = TensorLayout(
            channels: conv.inChannels, extent: test.extent, element: conv.inputElement, padX: conv.padding.width)
        input = TestTensor(layout, zeroPoint: conv.inputZeroPoint)
        input.randomize(&generator)
        output = TensorLayout(
            channels: conv.outChannels, extent: outExtent, element: conv.outputElement,
            padX: Int.random(in: 0...3, using: &generator))
        weights = [Int8](repeating: 0, count: conv.weightBytes)
        channels = []
        for o in 0..<conv.outChannels {
            for i in 0..<conv.inChannels {
                for tap in 0..<conv.taps {
                    let (kz, ky, kx) = Self.split(tap, conv.kernel)
                    let at = conv.weightIndex(o: o, i: i, kz: kz, ky: ky, kx: kx)
                    guard conv.inputElement == .i16 else {
                        weights[at] = Int8.random(in: -127...127, using: &generator)
                        continue
                    }
                    // As a validated file has them: Σ|w| · 2^15 and the bias stay below 2^31, however large each one is.
                    let room = max(1, min(32767, 64000 / (conv.inChannels * conv.taps)))
                    let w = Int.random(in: -room...room, using: &generator)
                    weights[at] = Int8(truncatingIfNeeded: w)
                    weights[at + 1] = Int8(w >> 8)
                }
            }
            // Mostly in range, sometimes saturating, sometimes with a shift at its limits.
            let shift = [33, 38, 40, 41, 42, 43, 44, 53].randomElement(using: &generator)!
            channels.append(
                mk_channel(
                    bias: Int32.random(in: -2_000_000...2_000_000, using: &generator),
                    multiplier: Int32.random(in: (1 << 30)...Int32.max, using: &generator),
                    shift: Int32(shift), reserved: 0))
        }
    }

    public static func split(_ tap: Int, _ kernel: Extent) -> (Int, Int, Int) {
        (tap / (kernel.height * kernel.width), tap / kernel.width % kernel.height, tap % kernel.width)
    }

    public func run(_ isa: ISA, rowsAtATime: Int = .max) -> TestTensor {
        let result = TestTensor(output, zeroPoint: 0x5A)
        let scratch = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(64, conv.scratchBytes(input: input.layout)), alignment: 64)
        defer { scratch.deallocate() }
        scratch.initializeMemory(as: UInt8.self, repeating: conv.inputZeroPoint)
        weights.withUnsafeBufferPointer { weights in
            channels.withUnsafeBufferPointer { channels in
                let buffers = Conv3DBuffers(
                    input: input.base, output: result.base, weights: weights.baseAddress!,
                    channels: channels.baseAddress!,
                    paddingRow: conv.inputZeroPoint == 0 ? nil : UnsafeRawPointer(scratch.baseAddress!))
                for start in stride(from: 0, to: output.extent.rows, by: min(rowsAtATime, output.extent.rows)) {
                    let end = min(output.extent.rows, start + min(rowsAtATime, output.extent.rows))
                    conv.run(
                        isa: isa, buffers: buffers, input: input.layout, output: output, rows: start..<end,
                        outputExtent: output.extent)
                }
            }
        }
        return result
    }

    /// The definition, written from the formula alone: Int arithmetic, no layout tricks.
    public func naive(o: Int, z: Int, y: Int, x: Int) -> Int {
        var sum = Int(channels[o].bias)
        for i in 0..<conv.inChannels {
            for tap in 0..<conv.taps {
                let (kz, ky, kx) = Self.split(tap, conv.kernel)
                let s = conv.stride
                let iz = z * s.depth + kz * conv.dilation.depth - conv.padding.depth
                let iy = y * s.height + ky * conv.dilation.height - conv.padding.height
                let ix = x * s.width + kx * conv.dilation.width - conv.padding.width
                let e = input.layout.extent
                let inside = iz >= 0 && iz < e.depth && iy >= 0 && iy < e.height && ix >= 0 && ix < e.width
                let code = inside ? input[i, iz, iy, ix] : Int(conv.inputZeroPoint)
                sum += code * weight(conv.weightIndex(o: o, i: i, kz: kz, ky: ky, kx: kx))
            }
        }
        let channel = channels[o]
        let scaled =
            (Int128(sum) * Int128(channel.multiplier) + (Int128(1) << Int128(channel.shift - 1)))
            >> Int128(channel.shift)
        let value = Int(scaled) + Int(conv.outputZeroPoint)
        let lowest = conv.isRectified ? 0 : -32768
        return conv.outputElement == .u8 ? min(max(value, 0), 255) : min(max(value, lowest), 32767)
    }

    private func weight(_ at: Int) -> Int {
        conv.inputElement == .u8 ? Int(weights[at]) : Int(weights[at + 1]) * 256 + Int(UInt8(bitPattern: weights[at]))
    }
}

#if !hasFeature(Embedded)
    extension ConvCase: CustomStringConvertible {
        public var description: String {
            "\(conv.inChannels)→\(conv.outChannels) s\(conv.stride) k\(conv.kernel) d\(conv.dilation) p\(conv.padding) "
                + "in \(extent) zp \(conv.inputZeroPoint)→\(conv.outputZeroPoint) \(conv.inputElement)→\(conv.outputElement) seed \(seed)"
        }
    }
#endif
