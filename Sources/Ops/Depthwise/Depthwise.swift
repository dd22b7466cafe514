import COps
import FixedPoint

/// Convolution of each channel on its own, stride 1, padding that keeps the size:
///
///     y[c] = clamp(zeroPoint + requantize[c](bias[c] + Σ_tap w[c,tap] · x[c, position + tap]))
///
/// u8 in, u8 or i16 out (then the zero point is 0, and `isRectified` clamps at 0), int8 weights `[channel/4][tap][4]`. As in
/// `Conv3D`, `-zeroPoint_in · Σ w` is folded into the bias and voxels outside the input have the code `inputZeroPoint`.
public struct Depthwise: Equatable, Sendable {
    public var channels: Int
    /// Odd sizes, 1 ... 7.
    public var kernel: Extent
    public var inputZeroPoint: UInt8
    public var outputZeroPoint: UInt8
    public var outputElement: ElementType
    public var isRectified: Bool

    public init(
        channels: Int, kernel: Extent, inputZeroPoint: UInt8, outputZeroPoint: UInt8, outputElement: ElementType,
        isRectified: Bool
    ) {
        self.outputElement = outputElement
        self.isRectified = isRectified
        self.channels = channels
        self.kernel = kernel
        self.inputZeroPoint = inputZeroPoint
        self.outputZeroPoint = outputZeroPoint
    }

    public var weightBytes: Int { (channels + 3) / 4 * kernel.voxels * 4 }
    public func weightIndex(channel: Int, tap: Int) -> Int { ((channel / 4) * kernel.voxels + tap) * 4 + channel % 4 }

    /// Rows `rows` (row = z · height + y), and the gaps around them.
    public func run(
        isa: ISA, weights: UnsafePointer<Int8>, channels parameters: UnsafePointer<mk_channel>,
        input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, rows: Range<Int>
    ) {
        let wide: Int32 = outputElement == .u8 ? 0 : isRectified ? 2 : 1
        let kernelRow = unsafe DepthwiseRow(
            weights: weights, channels: parameters, channelCount: channels, taps: kernel.voxels,
            inputStride: inputLayout.blockStride, inputZeroPoint: inputZeroPoint, outputZeroPoint: outputZeroPoint,
            wide: wide)
        var taps = unsafe InlineArray<343, mk_tap>(repeating: mk_tap())
        var span = unsafe taps.mutableSpan
        unsafe span.withUnsafeMutableBufferPointer { taps in
            for row in rows {
                let (z, y) = (row / outputLayout.extent.height, row % outputLayout.extent.height)
                if isa == .portable {
                    unsafe portableRow(weights, parameters, input, inputLayout, output, outputLayout, z, y)
                } else {
                    unsafe gatherTaps(z, y, input, inputLayout, into: taps)
                    unsafe kernelRow.run(
                        isa, taps: taps.baseAddress!, output: output + outputLayout.rowOffset(z: z, y: y),
                        layout: outputLayout)
                }
                for block in 0..<outputLayout.blocks {
                    unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: outputZeroPoint)
                }
            }
        }
    }

    /// Where the taps of output row (z, y) read. A tap to the left lacks words at the start of the row, one to the right at
    /// its end.
    private func gatherTaps(
        _ z: Int, _ y: Int, _ input: UnsafeRawPointer, _ layout: TensorLayout,
        into taps: UnsafeMutableBufferPointer<mk_tap>
    ) {
        var tap = 0
        for kz in 0..<kernel.depth {
            let iz = z + kz - kernel.depth / 2
            for ky in 0..<kernel.height {
                let iy = y + ky - kernel.height / 2
                let isRow = iz >= 0 && iz < layout.extent.depth && iy >= 0 && iy < layout.extent.height
                for kx in 0..<kernel.width {
                    let dx = kx - kernel.width / 2
                    let words: UnsafePointer<UInt8>? =
                        unsafe isRow
                        ? (input + layout.rowOffset(z: iz, y: iy) + 4 * dx).assumingMemoryBound(to: UInt8.self) : nil
                    let split = dx < 0 ? -dx : layout.extent.width - dx
                    unsafe taps[tap] = mk_tap(
                        left: dx < 0 ? nil : words, right: dx < 0 ? words : nil,
                        split: Int32(truncatingIfNeeded: max(split, 0)))
                    tap += 1
                }
            }
        }
    }

    private func portableRow(
        _ weights: UnsafePointer<Int8>, _ parameters: UnsafePointer<mk_channel>, _ input: UnsafeRawPointer,
        _ inputLayout: TensorLayout, _ output: UnsafeMutableRawPointer, _ outputLayout: TensorLayout, _ z: Int, _ y: Int
    ) {
        let perBlock = outputElement.channelsPerBlock
        for block in 0..<outputLayout.blocks {
            let to = unsafe output + outputLayout.rowOffset(block: block, z: z, y: y)
            for lane in 0..<perBlock {
                let channel = block * perBlock + lane
                for x in 0..<outputLayout.extent.width {
                    var y32: Int32 = 0
                    if channel < channels {
                        let p = unsafe parameters[channel]
                        let sum = unsafe accumulate(p.bias, weights, input, inputLayout, channel, z, y, x)
                        y32 = Requantizer(multiplier: p.multiplier, shift: p.shift)
                            .scaled(sum, zeroPoint: Int32(outputZeroPoint))
                    }
                    unsafe store(y32, to + 4 * x, lane)
                }
            }
        }
    }

    private func store(_ y: Int32, _ to: UnsafeMutableRawPointer, _ lane: Int) {
        if outputElement == .u8 {
            unsafe to.storeBytes(
                of: UInt8(truncatingIfNeeded: min(max(y, 0), 255)), toByteOffset: lane, as: UInt8.self)
        } else {
            unsafe to.storeBytes(
                of: Int16(truncatingIfNeeded: min(max(y, isRectified ? 0 : -32768), 32767)), toByteOffset: 2 * lane,
                as: Int16.self)
        }
    }

    private func accumulate(
        _ bias: Int32, _ weights: UnsafePointer<Int8>, _ input: UnsafeRawPointer, _ layout: TensorLayout,
        _ channel: Int, _ z: Int, _ y: Int, _ x: Int
    ) -> Int32 {
        var sum = bias
        var tap = 0
        for kz in 0..<kernel.depth {
            let iz = z + kz - kernel.depth / 2
            for ky in 0..<kernel.height {
                let iy = y + ky - kernel.height / 2
                let isRow = iz >= 0 && iz < layout.extent.depth && iy >= 0 && iy < layout.extent.height
                let row = unsafe input + (isRow ? layout.rowOffset(block: channel / 4, z: iz, y: iy) : 0)
                for kx in 0..<kernel.width {
                    let ix = x + kx - kernel.width / 2
                    let isInside = isRow && ix >= 0 && ix < layout.extent.width
                    let code =
                        unsafe isInside
                        ? row.load(fromByteOffset: 4 * ix + channel % 4, as: UInt8.self) : inputZeroPoint
                    sum &+= unsafe Int32(code) &* Int32(weights[weightIndex(channel: channel, tap: tap)])
                    tap += 1
                }
            }
        }
        return sum
    }
}
