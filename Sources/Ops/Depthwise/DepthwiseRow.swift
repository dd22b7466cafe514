import COps

/// One row of a convolution that keeps channels apart, by the SIMD kernel that `Depthwise` and `TokenConv` share: they differ
/// only in where a tap reads.
@unsafe struct DepthwiseRow {
    var conv: mk_depthwise

    /// `wide` as in `mk_depthwise`.
    init(
        weights: UnsafePointer<Int8>, channels: UnsafePointer<mk_channel>, channelCount: Int, taps: Int,
        inputStride: Int, inputZeroPoint: UInt8, outputZeroPoint: UInt8, wide: Int32 = 0
    ) {
        unsafe conv = mk_depthwise(
            weights: weights, channels: channels, input_stride: inputStride, channel_count: Int32(channelCount),
            taps: Int32(taps), input_zero_point: Int32(inputZeroPoint), output_zero_point: Int32(outputZeroPoint),
            wide: wide)
    }

    /// Precondition: `isa` is not `portable`.
    func run(_ isa: ISA, taps: UnsafePointer<mk_tap>, output: UnsafeMutableRawPointer, layout: TensorLayout) {
        let width = Int32(truncatingIfNeeded: layout.extent.width)
        unsafe withUnsafePointer(to: conv) { conv in
            switch isa {
            #if arch(x86_64)
                case .avx2: unsafe mk_depthwise_avx2(conv, taps, output, layout.blockStride, width)
                case .avxvnni: unsafe mk_depthwise_avxvnni(conv, taps, output, layout.blockStride, width)
                case .avx512vnni256: unsafe mk_depthwise_avx512vnni256(conv, taps, output, layout.blockStride, width)
                case .avx512vnni: unsafe mk_depthwise_avx512vnni(conv, taps, output, layout.blockStride, width)
            #elseif arch(arm64)
                case .neon: unsafe mk_depthwise_neon(conv, taps, output, layout.blockStride, width)
                case .dotprod: unsafe mk_depthwise_dotprod(conv, taps, output, layout.blockStride, width)
                case .i8mm: unsafe mk_depthwise_i8mm(conv, taps, output, layout.blockStride, width)
            #endif
            default: preconditionFailure("no kernel for this instruction set")
            }
        }
    }
}
