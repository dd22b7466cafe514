import COps
import FixedPoint

extension Conv3D {
    /// The specification of the convolution: one output row, in plain integer arithmetic. The SIMD bodies in COps
    /// take the same arguments and must write the same bytes.
    ///
    /// Eight voxels are summed at a time, which the compiler turns into whatever vectors the target has. Lanes past
    /// `width` are read (the layouts allow it) and dropped.
    func portableRow(
        _ conv: mk_conv3d, _ rows: UnsafeBufferPointer<mk_conv3d_row>, _ output: UnsafeMutablePointer<UInt8>,
        _ outputBlockStride: Int, _ width: Int
    ) {
        for channel in unsafe 0..<Int(conv.out_channels) {
            let parameters = unsafe conv.channels[channel]
            let requantizer = Requantizer(multiplier: parameters.multiplier, shift: parameters.shift)
            for x in Swift.stride(from: 0, to: width, by: 8) {
                let sums = unsafe accumulate(conv, rows, channel: channel, x: x, bias: parameters.bias)
                for lane in 0..<min(8, width - x) {
                    unsafe Self.store(sums[lane], requantizer, conv, channel, output, outputBlockStride, x + lane)
                }
            }
        }
        unsafe Self.clearAbsentChannels(conv, output, outputBlockStride, width)
    }

    private func accumulate(
        _ conv: mk_conv3d, _ rows: UnsafeBufferPointer<mk_conv3d_row>, channel: Int, x: Int, bias: Int32
    ) -> SIMD8<Int32> {
        var sums = SIMD8<Int32>(repeating: bias)
        let group = unsafe conv.weights + (channel / 4) * conv.weights_group + (channel % 4) * 4
        for block in unsafe 0..<Int(conv.in_blocks) {
            for index in rows.indices {
                let row = unsafe rows[index]
                var input = unsafe UnsafeRawPointer(row.input) + block * row.block_stride + x * 4 * stride.width
                var w = unsafe group + block * conv.weights_block + row.weights
                for _ in unsafe 0..<conv.kernel_x {
                    let words =
                        unsafe stride.width == 1
                        ? input.loadUnaligned(as: SIMD8<UInt32>.self)
                        : input.loadUnaligned(as: SIMD16<UInt32>.self).evenHalf
                    unsafe sums &+= inputElement == .u8 ? Self.bytes(words, w) : Self.halves(words, w)
                    unsafe input += conv.tap_stride
                    unsafe w += 16
                }
            }
        }
        return sums
    }

    /// Σ of a word's four codes times four weights, in every lane.
    private static func bytes(_ words: SIMD8<UInt32>, _ w: UnsafePointer<Int8>) -> SIMD8<Int32> {
        var sums = SIMD8<Int32>()
        for i in 0..<4 {
            let codes = SIMD8<Int32>(truncatingIfNeeded: (words &>> UInt32(8 * i)) & 0xFF)
            sums &+= unsafe codes &* SIMD8<Int32>(repeating: Int32(w[i]))
        }
        return sums
    }

    /// Σ of a word's two signed 16-bit codes times two weights, in every lane.
    private static func halves(_ words: SIMD8<UInt32>, _ w: UnsafePointer<Int8>) -> SIMD8<Int32> {
        let weights = unsafe UnsafeRawPointer(w).loadUnaligned(as: SIMD2<Int16>.self)
        let codes = SIMD8<Int32>(truncatingIfNeeded: words)
        let low = (codes &<< 16) &>> 16
        let high = codes &>> 16
        return low &* SIMD8(repeating: Int32(weights.x)) &+ high &* SIMD8(repeating: Int32(weights.y))
    }

    private static func store(
        _ sum: Int32, _ requantizer: Requantizer, _ conv: mk_conv3d, _ channel: Int,
        _ output: UnsafeMutablePointer<UInt8>, _ blockStride: Int, _ x: Int
    ) {
        if unsafe conv.wide != 0 {
            let signed = unsafe requantizer.i16(sum, zeroPoint: conv.zero_point)
            let code = unsafe conv.wide == 2 ? max(signed, 0) : signed
            let target =
                unsafe UnsafeMutableRawPointer(output) + (channel / 2) * blockStride + x * 4 + (channel % 2) * 2
            unsafe target.storeBytes(of: code, as: Int16.self)
        } else {
            unsafe output[(channel / 4) * blockStride + x * 4 + channel % 4] =
                requantizer.u8(sum, zeroPoint: conv.zero_point)
        }
    }

    /// Bytes of channels that do not exist are 0, so that a whole tensor has one checksum on every target.
    private static func clearAbsentChannels(
        _ conv: mk_conv3d, _ output: UnsafeMutablePointer<UInt8>, _ blockStride: Int, _ width: Int
    ) {
        let perBlock = unsafe conv.wide != 0 ? 2 : 4
        let channels = unsafe Int(conv.out_channels)
        guard channels % perBlock != 0 else { return }
        let absent = (channels % perBlock) * (4 / perBlock)
        for x in 0..<width {
            for byte in absent..<4 {
                unsafe output[(channels / perBlock) * blockStride + x * 4 + byte] = 0
            }
        }
    }
}
