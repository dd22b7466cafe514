import COps
import FixedPoint

/// 3D convolution (cross-correlation): u8 activations and int8 weights, or i16 activations and int16 weights, one scale of the
/// weights per output channel.
///
///     acc[o] = bias[o] + Σ_{i,kz,ky,kx} w[o,i,kz,ky,kx] · x[i, sz·z+kz·dz-pz, sy·y+ky·dy-py, sx·x+kx·dx-px]
///     y[o]   = clamp(zeroPoint + requantize[o](acc[o]))
///
/// `x` are stored codes; the caller has folded `-zeroPoint_in · Σ w` and the real bias into `bias`. Voxels outside
/// the input have the input's zero point as their code, that is the real value 0. Accumulation is in Int32; the
/// converter and the file reader prove that it cannot overflow (docs/arithmetic.md).
///
/// Input: u8 or i16 layout whose `padX` is at least `padding.width` and whose gaps hold the zero point (0 for i16).
/// Output: u8 (blocks of four channels) or i16 (blocks of two), extent by `outputExtent`. i16 output may be clamped at 0,
/// which for u8 a zero point of 0 does.
public struct Conv3D: Equatable, Sendable {
    public var inChannels: Int
    public var outChannels: Int
    /// 1 ... 15; odd along axes of stride 1.
    public var kernel: Extent
    /// 1 or more.
    public var dilation: Extent
    /// Zero voxels on each side, 0 ... dilation · (kernel - 1).
    public var padding: Extent
    /// 1 or 2.
    public var stride: Extent
    public var inputElement: ElementType
    public var inputZeroPoint: UInt8
    public var outputZeroPoint: UInt8
    public var outputElement: ElementType
    /// i16 output is clamped at 0.
    public var isRectified: Bool

    public init(
        inChannels: Int, outChannels: Int, kernel: Extent, dilation: Extent, padding: Extent,
        stride: Extent = Extent(cube: 1),
        inputElement: ElementType = .u8, inputZeroPoint: UInt8, outputZeroPoint: UInt8, outputElement: ElementType,
        isRectified: Bool = false
    ) {
        self.inChannels = inChannels
        self.outChannels = outChannels
        self.kernel = kernel
        self.dilation = dilation
        self.padding = padding
        self.stride = stride
        self.inputElement = inputElement
        self.isRectified = isRectified
        self.inputZeroPoint = inputZeroPoint
        self.outputZeroPoint = outputZeroPoint
        self.outputElement = outputElement
    }

    public var inBlocks: Int { (inChannels + inputElement.channelsPerBlock - 1) / inputElement.channelsPerBlock }
    public var outGroups: Int { (outChannels + 3) / 4 }
    public var taps: Int { kernel.voxels }
    /// Bytes of the weights in kernel order: `[out/4][in/4][kz·ky][kx][4 out][4 in]` of one byte, or for i16 input
    /// `[out/4][in/2][kz·ky][kx][4 out][2 in]` of two; zero where a channel is absent.
    public var weightBytes: Int { outGroups * inBlocks * taps * 16 }
    public var multiplyAddsPerVoxel: Int { inChannels * outChannels * taps }
    public var isPointwise: Bool { kernel == Extent(cube: 1) && padding == Extent(cube: 0) && stride == kernel }

    /// Byte offset in the weights of output channel `o`, input channel `i`, tap (kz, ky, kx).
    public func weightIndex(o: Int, i: Int, kz: Int, ky: Int, kx: Int) -> Int {
        let tap = (kz * kernel.height + ky) * kernel.width + kx
        let n = inputElement.channelsPerBlock
        return (((o / 4) * inBlocks + i / n) * taps + tap) * 16 + (o % 4) * 4 + i % n * (4 / n)
    }

    /// Shape rule. May be zero or negative where the input is smaller than the kernel; the planner refuses that.
    public func outputExtent(of input: Extent) -> Extent {
        func axis(_ size: Int, _ padding: Int, _ dilation: Int, _ kernel: Int, _ stride: Int) -> Int {
            (size + 2 * padding - dilation * (kernel - 1) + stride - 1) >> (stride - 1)
        }
        return Extent(
            depth: axis(input.depth, padding.depth, dilation.depth, kernel.depth, stride.depth),
            height: axis(input.height, padding.height, dilation.height, kernel.height, stride.height),
            width: axis(input.width, padding.width, dilation.width, kernel.width, stride.width))
    }

    /// Scratch shared by all threads: one row of input zero points, needed only where skipping a kernel row that
    /// lies outside the input would change the sum (zero point other than 0).
    public func scratchBytes(input: TensorLayout) -> Int {
        guard inputZeroPoint != 0, padding.depth > 0 || padding.height > 0 else { return 0 }
        return (input.padX * 8 + input.rowPitch + TensorLayout.slack + 63) & ~63
    }
}

/// Where one convolution reads and writes. All pointers stay valid for the run; the runtime checked the sizes.
@unsafe public struct Conv3DBuffers {
    public var input: UnsafeRawPointer
    public var output: UnsafeMutableRawPointer
    public var weights: UnsafePointer<Int8>
    public var channels: UnsafePointer<mk_channel>
    /// `scratchBytes` bytes that hold the input's zero point.
    public var paddingRow: UnsafeRawPointer?

    public init(
        input: UnsafeRawPointer, output: UnsafeMutableRawPointer, weights: UnsafePointer<Int8>,
        channels: UnsafePointer<mk_channel>, paddingRow: UnsafeRawPointer?
    ) {
        unsafe self.input = input
        unsafe self.output = output
        unsafe self.weights = weights
        unsafe self.channels = channels
        unsafe self.paddingRow = paddingRow
    }
}

/// The part of a convolution's input that is in memory. Both layouts may be rings of slices: slice z lies in slot
/// z mod layout.extent.depth, and the caller sees to it that what is read is there.
public struct Conv3DView: Equatable, Sendable {
    /// Slices of the whole input; those outside are padding.
    public var depth: Int
    /// Where output row 0 and column 0 lie in the rows and columns of the input that are held.
    public var offsetY: Int
    public var offsetX: Int

    public init(depth: Int, offsetY: Int = 0, offsetX: Int = 0) {
        self.depth = depth
        self.offsetY = offsetY
        self.offsetX = offsetX
    }
}

extension Conv3D {
    /// Kernel rows (kz, ky) per output row: at most 15 · 15.
    @usableFromInline static let maximumRows = 225

    /// Computes output rows `rows` (row = z · height + y) and fills the gap after each with the output's zero point.
    /// - Parameters:
    ///   - rowBuffer: the output is a layout of extent 1 × 1 × width that every row overwrites, for a consumer that
    ///     takes one row at a time.
    ///   - view: what of the input is held; nil for all of it. Rows outside what is held count as padding.
    public func run(
        isa: ISA, buffers: Conv3DBuffers, input: TensorLayout, output: TensorLayout, rows: Range<Int>,
        outputExtent: Extent, rowBuffer: Bool = false, view: Conv3DView? = nil
    ) {
        let view = view ?? Conv3DView(depth: input.extent.depth)
        // Clearing the larger array takes longer than a pointwise row.
        if kernel.depth * kernel.height <= 9 {
            var kernelRows = unsafe InlineArray<9, mk_conv3d_row>(repeating: mk_conv3d_row())
            var span = unsafe kernelRows.mutableSpan
            unsafe span.withUnsafeMutableBufferPointer {
                unsafe run(isa, buffers, input, output, rows, outputExtent, rowBuffer, view, kernelRows: $0)
            }
        } else {
            var kernelRows = unsafe InlineArray<225, mk_conv3d_row>(repeating: mk_conv3d_row())
            var span = unsafe kernelRows.mutableSpan
            unsafe span.withUnsafeMutableBufferPointer {
                unsafe run(isa, buffers, input, output, rows, outputExtent, rowBuffer, view, kernelRows: $0)
            }
        }
    }

    private func run(
        _ isa: ISA, _ buffers: Conv3DBuffers, _ input: TensorLayout, _ output: TensorLayout, _ rows: Range<Int>,
        _ outputExtent: Extent, _ rowBuffer: Bool, _ view: Conv3DView,
        kernelRows: UnsafeMutableBufferPointer<mk_conv3d_row>
    ) {
        var conv = unsafe descriptor(buffers: buffers, input: input, output: output)
        // A pointer to the descriptor is taken once: taken per row, it would be copied per row.
        unsafe withMergedWeights(isa, buffers.weights) { merged in
            unsafe conv.merged = merged
            unsafe withUnsafePointer(to: &conv) { conv in
                var row = rows.lowerBound
                while row < rows.upperBound {
                    let z = row / outputExtent.height
                    let y = row % outputExtent.height
                    let count = unsafe gatherRows(
                        z: z, y: y, input: input, view: view, buffers: buffers, into: kernelRows)
                    let met = unsafe UnsafeBufferPointer(rebasing: kernelRows[..<count])
                    let alike =
                        unsafe isa == .portable || rowBuffer || stride.height > 1 || stride.width > 1
                        ? 1 : rowsAlike(y, met, input: input, view: view)
                    let height = min(alike, outputExtent.height - y, rows.upperBound - row)
                    let slot = z % output.extent.depth
                    let offset = rowBuffer ? output.rowOffset(z: 0, y: 0) : output.rowOffset(z: slot, y: y)
                    let target = unsafe buffers.output.advanced(by: offset).assumingMemoryBound(to: UInt8.self)
                    unsafe dispatch(
                        isa, conv, kernelRows: met, output: target, layout: output, height: height)
                    for block in 0..<output.blocks where !rowBuffer && output.padX > 0 {
                        for y in y..<(y + height) {
                            unsafe output.fillGapsAround(
                                row: slot * output.extent.height + y, block: block, base: buffers.output,
                                zeroPoint: outputZeroPoint)
                        }
                    }
                    row += height
                }
            }
        }
    }

    /// The weights of a last input block of one channel with the three taps of a kernel row in a word, for kernels that can use
    /// them (Sources/COps/conv3d_body.h); nil where they would not fit.
    private func withMergedWeights(
        _ isa: ISA, _ weights: UnsafePointer<Int8>, _ body: (UnsafePointer<Int8>?) -> Void
    ) {
        let kernelRows = kernel.depth * kernel.height
        guard isa != .portable, inputElement == .u8, inChannels % 4 == 1, kernel.width == 3, stride.width == 1,
            outGroups * kernelRows <= 160
        else { return body(nil) }
        var merged = InlineArray<2560, Int8>(repeating: 0)
        var span = merged.mutableSpan
        unsafe span.withUnsafeMutableBufferPointer { merged in
            for group in 0..<outGroups {
                let block = unsafe weights + (group * inBlocks + inBlocks - 1) * taps * 16
                for row in 0..<kernelRows {
                    for word in 0..<12 {
                        let (tap, channel) = (word % 3, word / 3)
                        unsafe merged[(group * kernelRows + row) * 16 + 4 * channel + tap] =
                            block[(row * 3 + tap) * 16 + 4 * channel]
                    }
                }
            }
            unsafe body(UnsafePointer(merged.baseAddress!))
        }
    }

    private func dispatch(
        _ isa: ISA, _ conv: UnsafePointer<mk_conv3d>, kernelRows: UnsafeBufferPointer<mk_conv3d_row>,
        output: UnsafeMutablePointer<UInt8>, layout: TensorLayout, height: Int
    ) {
        let width = Int32(truncatingIfNeeded: layout.extent.width)
        let count = Int32(truncatingIfNeeded: kernelRows.count)
        switch isa {
        case .portable:
            unsafe portableRow(conv.pointee, kernelRows, output, layout.blockStride, Int(width))
        default:
            unsafe kernel(isa)(
                conv, kernelRows.baseAddress, count, output, layout.blockStride, width,
                Int32(truncatingIfNeeded: height))
        }
    }

    private typealias Kernel =
        @convention(c) (
            UnsafePointer<mk_conv3d>?, UnsafePointer<mk_conv3d_row>?, Int32, UnsafeMutablePointer<UInt8>?, Int, Int32,
            Int32
        ) -> Void

    /// The row kernel of an instruction set other than `portable`.
    private func kernel(_ isa: ISA) -> Kernel {
        let isFirst = stride.width == 1
        let isWide = inputElement == .i16
        switch isa {
        #if arch(x86_64)
            case .avx2:
                if isWide { return unsafe isFirst ? mk_conv3d_wide_avx2 : mk_conv3d_wide_s2_avx2 }
                return unsafe isFirst ? mk_conv3d_avx2 : mk_conv3d_s2_avx2
            case .avxvnni:
                if isWide { return unsafe isFirst ? mk_conv3d_wide_avxvnni : mk_conv3d_wide_s2_avxvnni }
                return unsafe isFirst ? mk_conv3d_avxvnni : mk_conv3d_s2_avxvnni
            case .avx512vnni256:
                if isWide { return unsafe isFirst ? mk_conv3d_wide_avx512vnni256 : mk_conv3d_wide_s2_avx512vnni256 }
                return unsafe isFirst ? mk_conv3d_avx512vnni256 : mk_conv3d_s2_avx512vnni256
            case .avx512vnni:
                if isWide { return unsafe isFirst ? mk_conv3d_wide_avx512vnni : mk_conv3d_wide_s2_avx512vnni }
                return unsafe isFirst ? mk_conv3d_avx512vnni : mk_conv3d_s2_avx512vnni
        #elseif arch(arm64)
            case .neon, .dotprod, .i8mm:
                if isWide { return unsafe isFirst ? mk_conv3d_wide_neon : mk_conv3d_wide_s2_neon }
                switch isa {
                case .dotprod: return unsafe isFirst ? mk_conv3d_dotprod : mk_conv3d_s2_dotprod
                case .i8mm: return unsafe isFirst ? mk_conv3d_i8mm : mk_conv3d_s2_i8mm
                default: return unsafe isFirst ? mk_conv3d_neon : mk_conv3d_s2_neon
                }
        #endif
        case .portable: preconditionFailure("the portable row is no C function")
        }
    }

    private func descriptor(buffers: Conv3DBuffers, input: TensorLayout, output: TensorLayout) -> mk_conv3d {
        unsafe mk_conv3d(
            weights: buffers.weights, merged: nil, channels: buffers.channels,
            weights_group: inBlocks * taps * 16, weights_block: taps * 16, tap_stride: dilation.width * 4,
            input_pitch: input.rowPitch, output_pitch: output.rowPitch,
            kernel_x: Int32(kernel.width), in_blocks: Int32(inBlocks), out_channels: Int32(outChannels),
            zero_point: Int32(outputZeroPoint), wide: outputElement == .u8 ? 0 : isRectified ? 2 : 1)
    }

    /// How many output rows from y on meet the same kernel rows, so that they can be computed together. 1 where one of those is
    /// padding, of which there is one row.
    private func rowsAlike(
        _ y: Int, _ kernelRows: UnsafeBufferPointer<mk_conv3d_row>, input: TensorLayout, view: Conv3DView
    ) -> Int {
        for index in kernelRows.indices where unsafe kernelRows[index].block_stride == 0 { return 1 }
        var rows = Int.max
        for ky in 0..<kernel.height {
            let iy = y + ky * dilation.height - padding.height + view.offsetY
            if iy < 0 {
                rows = min(rows, -iy)
            } else if iy < input.extent.height {
                rows = min(rows, input.extent.height - iy)
            }
        }
        return rows
    }

    /// The kernel rows that touch the input for output row (z, y). Rows outside contribute `zeroPoint · Σ w`: nothing
    /// when the zero point is 0, so they are left out; otherwise they point at the padding row.
    private func gatherRows(
        z: Int, y: Int, input: TensorLayout, view: Conv3DView, buffers: Conv3DBuffers,
        into rows: UnsafeMutableBufferPointer<mk_conv3d_row>
    ) -> Int {
        var count = 0
        for kz in 0..<kernel.depth {
            let iz = z * stride.depth + kz * dilation.depth - padding.depth
            for ky in 0..<kernel.height {
                let iy = y * stride.height + ky * dilation.height - padding.height + view.offsetY
                let weights = (kz * kernel.height + ky) * kernel.width * 16
                if iz >= 0, iz < view.depth, iy >= 0, iy < input.extent.height {
                    let offset =
                        input.rowOffset(z: iz % input.extent.depth, y: iy) + (view.offsetX - padding.width) * 4
                    let pointer = unsafe buffers.input.advanced(by: offset).assumingMemoryBound(to: UInt8.self)
                    unsafe rows[count] = mk_conv3d_row(
                        input: pointer, block_stride: input.blockStride, weights: weights)
                    count += 1
                } else if let padding = unsafe buffers.paddingRow {
                    unsafe rows[count] = mk_conv3d_row(
                        input: padding.assumingMemoryBound(to: UInt8.self), block_stride: 0, weights: weights)
                    count += 1
                }
            }
        }
        return count
    }
}
