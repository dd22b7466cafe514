import COps
import FixedPoint

/// Depthwise convolution along the token sequence, which is the voxels in memory order (width fastest) without the gaps:
///
///     forward:   acc[c,t] = bias[c] + Σ_k w[c,k] · x[c, t - (taps-1) + k]
///     reversed:  acc[c,t] = bias[c] + Σ_k w[c,k] · x[c, t + (taps-1) - k]
///     y = clamp(zeroPoint + requantize[c](acc))
///
/// u8 in, u8 or i16 (without the zero point) out, int8 weights `[channel/4][tap][4]`; tokens before the start of the sequence have the code
/// `inputZeroPoint`, whose part is folded into the bias as in `Conv3D`.
public struct TokenConv: Equatable, Sendable {
    public static let tapRange = 1...16

    public var channels: Int
    public var taps: Int
    public var isReversed: Bool
    public var inputZeroPoint: UInt8
    public var outputZeroPoint: UInt8
    public var outputElement: ElementType

    public init(
        channels: Int, taps: Int, isReversed: Bool, inputZeroPoint: UInt8, outputZeroPoint: UInt8,
        outputElement: ElementType = .u8
    ) {
        self.channels = channels
        self.taps = taps
        self.isReversed = isReversed
        self.inputZeroPoint = inputZeroPoint
        self.outputZeroPoint = outputZeroPoint
        self.outputElement = outputElement
    }

    public var weightBytes: Int { (channels + 3) / 4 * taps * 4 }
    public func weightIndex(channel: Int, tap: Int) -> Int { ((channel / 4) * taps + tap) * 4 + channel % 4 }

    /// Rows `rows` (row = z · height + y), and the gaps around them.
    public func run(
        isa: ISA, weights: UnsafePointer<Int8>, channels parameters: UnsafePointer<mk_channel>,
        input: UnsafeRawPointer, inputLayout: TensorLayout, output: UnsafeMutableRawPointer,
        outputLayout: TensorLayout, rows: Range<Int>
    ) {
        let kernelRow = unsafe DepthwiseRow(
            weights: weights, channels: parameters, channelCount: channels, taps: taps,
            inputStride: inputLayout.blockStride, inputZeroPoint: inputZeroPoint, outputZeroPoint: outputZeroPoint,
            wide: outputElement == .i16 ? 1 : 0)
        // A tap of the kernel reads from two rows at most.
        let isPortable = isa == .portable || taps - 1 > inputLayout.extent.width
        var sources = unsafe InlineArray<16, mk_tap>(repeating: mk_tap())
        var span = unsafe sources.mutableSpan
        unsafe span.withUnsafeMutableBufferPointer { sources in
            for row in rows {
                if isPortable {
                    unsafe portableRow(weights, parameters, input, inputLayout, output, outputLayout, row)
                } else {
                    unsafe gatherTaps(row, input, inputLayout, into: sources)
                    unsafe kernelRow.run(
                        isa, taps: sources.baseAddress!, output: output + outputLayout.rowOffset(z: 0, y: row),
                        layout: outputLayout)
                }
                for block in 0..<outputLayout.blocks {
                    unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: outputZeroPoint)
                }
            }
        }
    }

    /// Where the taps of output row `row` read: its own words, and at one end those of the row before or after it.
    private func gatherTaps(
        _ row: Int, _ input: UnsafeRawPointer, _ layout: TensorLayout, into sources: UnsafeMutableBufferPointer<mk_tap>
    ) {
        let width = layout.extent.width
        func words(_ row: Int, _ shift: Int) -> UnsafePointer<UInt8>? {
            guard row >= 0, row < layout.extent.rows else { return nil }
            return unsafe (input + layout.rowOffset(z: 0, y: row) + 4 * shift).assumingMemoryBound(to: UInt8.self)
        }
        for tap in 0..<taps {
            let back = taps - 1 - tap
            unsafe sources[tap] =
                isReversed
                ? mk_tap(left: words(row, back), right: words(row + 1, back - width), split: Int32(width - back))
                : mk_tap(left: words(row - 1, width - back), right: words(row, -back), split: Int32(back))
        }
    }

    private func portableRow(
        _ weights: UnsafePointer<Int8>, _ parameters: UnsafePointer<mk_channel>, _ input: UnsafeRawPointer,
        _ inputLayout: TensorLayout, _ output: UnsafeMutableRawPointer, _ outputLayout: TensorLayout, _ row: Int
    ) {
        let width = outputLayout.extent.width
        for block in 0..<((channels + 3) / 4) {
            for x in 0..<width {
                var sums = SIMD4<Int32>(repeating: 0)
                for tap in 0..<taps {
                    let back = taps - 1 - tap
                    let token = row * width + x + (isReversed ? back : -back)
                    let codes = unsafe self.codes(token, block, input, inputLayout)
                    let w = unsafe UnsafeRawPointer(weights + weightIndex(channel: block * 4, tap: tap))
                        .loadUnaligned(as: SIMD4<Int8>.self)
                    sums &+= codes &* SIMD4<Int32>(truncatingIfNeeded: w)
                }
                unsafe store(sums, parameters, output, outputLayout, block, row, x)
            }
        }
    }

    /// Codes of absent channels are 0.
    private func store(
        _ sums: SIMD4<Int32>, _ parameters: UnsafePointer<mk_channel>, _ output: UnsafeMutableRawPointer,
        _ layout: TensorLayout, _ block: Int, _ row: Int, _ x: Int
    ) {
        let perBlock = layout.element.channelsPerBlock
        for lane in 0..<4 {
            let channel = block * 4 + lane
            guard channel / perBlock < layout.blocks else { return }
            let p =
                unsafe channel < channels
                ? parameters[channel] : mk_channel(bias: 0, multiplier: 0, shift: 33, reserved: 0)
            let acc = channel < channels ? p.bias &+ sums[lane] : 0
            let requantizer = Requantizer(multiplier: p.multiplier, shift: p.shift)
            let at =
                layout.rowOffset(block: channel / perBlock, z: 0, y: row) + 4 * x + channel % perBlock * (4 / perBlock)
            if outputElement == .i16 {
                unsafe output.storeBytes(of: requantizer.i16(acc, zeroPoint: 0), toByteOffset: at, as: Int16.self)
            } else {
                let code = channel < channels ? requantizer.u8(acc, zeroPoint: Int32(outputZeroPoint)) : 0
                unsafe output.storeBytes(of: code, toByteOffset: at, as: UInt8.self)
            }
        }
    }

    private func codes(
        _ token: Int, _ block: Int, _ input: UnsafeRawPointer, _ layout: TensorLayout
    ) -> SIMD4<Int32> {
        let width = layout.extent.width
        guard token >= 0, token < layout.extent.rows * width else {
            return SIMD4(repeating: Int32(inputZeroPoint))
        }
        let offset = layout.rowOffset(block: block, z: 0, y: token / width) + 4 * (token % width)
        return SIMD4(truncatingIfNeeded: unsafe input.loadUnaligned(fromByteOffset: offset, as: SIMD4<UInt8>.self))
    }
}
