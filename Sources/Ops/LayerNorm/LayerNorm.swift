import COps

/// Normalization of each voxel over its channels: i16 in, u8 out.
///
/// Per voxel, with S and Q the exact sums of codes and squares: `V = C·Q - S² + E` (E = ε·C² / s_a², at least 1), brought to
/// `v · 2^e` with v in 2^60 ..< 2^62 and e even; `r = ⌊2^61 / ⌊√v⌋⌋`; then
///
///     z = ((C·a - S) · r) >> (45 + e/2)                       the normalized value in 2^-16
///     y = clamp((z · gain + bias · 2^16 + zeroPoint · 2^32 + 2^31) >> 32)
public struct LayerNorm: Equatable, Sendable {
    /// Constants of one channel in the `.mkq` file: γ / S_y and β / S_y in 2^-16 of an output code.
    public struct Channel: Equatable, Sendable {
        public static let size = 8
        public var gain: Int32
        public var bias: Int32

        public init(gain: Int32, bias: Int32) {
            self.gain = gain
            self.bias = bias
        }
    }

    public static let channelRange = 1...512

    public var channels: Int
    /// E of the formula, 1 ..< 2^48.
    public var epsilon: Int64
    public var zeroPoint: UInt8

    public init(channels: Int, epsilon: Int64, zeroPoint: UInt8) {
        self.channels = channels
        self.epsilon = epsilon
        self.zeroPoint = zeroPoint
    }

    /// Rows `rows` (row = z · height + y), and the gaps around them.
    public func run(
        isa: ISA, parameters: UnsafePointer<Channel>, input: UnsafeRawPointer, inputLayout: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        unsafe withKernel(parameters) { kernel in
            for row in rows {
                let from = unsafe input + inputLayout.rowOffset(z: 0, y: row)
                let to = unsafe output + outputLayout.rowOffset(z: 0, y: row)
                for first in stride(from: 0, to: outputLayout.extent.width, by: Self.voxelsPerStep) {
                    let count = min(Self.voxelsPerStep, outputLayout.extent.width - first)
                    let (from, to) = unsafe (from + 4 * first, to + 4 * first)
                    unsafe voxels(
                        isa, &kernel, parameters, from, inputLayout.blockStride, to, outputLayout.blockStride, count)
                }
                for block in 0..<outputLayout.blocks {
                    unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
                }
            }
        }
    }

    /// What the kernels keep between their two passes fits into the first-level cache.
    private static var voxelsPerStep: Int { 64 }

    private func withKernel(_ parameters: UnsafePointer<Channel>, _ body: (inout mk_layer_norm) -> Void) {
        var memory = InlineArray<160, Int64>(repeating: 0)
        var span = memory.mutableSpan
        unsafe span.withUnsafeMutableBufferPointer { memory in
            let variances = memory.baseAddress!
            let words = unsafe UnsafeMutableRawPointer(variances + 64).assumingMemoryBound(to: Int32.self)
            var kernel = unsafe mk_layer_norm(
                constants: UnsafeRawPointer(parameters).assumingMemoryBound(to: Int32.self), epsilon: epsilon,
                channels: Int32(channels), zero_point: Int32(zeroPoint), sums: words, variances: variances,
                reciprocals: words + 64, shifts: words + 128)
            unsafe body(&kernel)
        }
    }

    private func voxels(
        _ isa: ISA, _ kernel: inout mk_layer_norm, _ parameters: UnsafePointer<Channel>, _ from: UnsafeRawPointer,
        _ fromStride: Int, _ to: UnsafeMutableRawPointer, _ toStride: Int, _ count: Int
    ) {
        switch isa.vectors {
        #if arch(x86_64)
            case .avx2:
                unsafe mk_layer_stats_avx2(&kernel, from, fromStride, Int32(count))
                unsafe Self.roots(isa, &kernel, count)
                unsafe mk_layer_apply_avx2(&kernel, from, fromStride, to, toStride, Int32(count))
            case .avx512vnni:
                unsafe mk_layer_stats_avx512vnni(&kernel, from, fromStride, Int32(count))
                unsafe Self.roots(isa, &kernel, count)
                unsafe mk_layer_apply_avx512vnni(&kernel, from, fromStride, to, toStride, Int32(count))
        #elseif arch(arm64)
            case .neon:
                unsafe mk_layer_stats_neon(&kernel, from, fromStride, Int32(count))
                unsafe Self.roots(isa, &kernel, count)
                unsafe mk_layer_apply_neon(&kernel, from, fromStride, to, toStride, Int32(count))
        #endif
        default:
            for x in 0..<count { unsafe voxel(parameters, from + 4 * x, fromStride, to + 4 * x, toStride) }
        }
    }

    /// Negated reciprocals and shifts of the variances.
    static func roots(_ isa: ISA, _ kernel: inout mk_layer_norm, _ count: Int) {
        switch isa.vectors {
        #if arch(x86_64)
            case .avx2: unsafe mk_layer_roots_avx2(&kernel, Int32(count))
            case .avx512vnni: unsafe mk_layer_roots_avx512vnni(&kernel, Int32(count))
        #elseif arch(arm64)
            case .neon: unsafe mk_layer_roots_neon(&kernel, Int32(count))
        #endif
        default:
            for i in 0..<count {
                let (reciprocal, shift) = unsafe reciprocalRoot(UInt64(bitPattern: kernel.variances[i]))
                unsafe kernel.reciprocals[i] = Int32(-reciprocal)
                unsafe kernel.shifts[i] = Int32(shift)
            }
        }
    }

    private func voxel(
        _ parameters: UnsafePointer<Channel>, _ from: UnsafeRawPointer, _ fromStride: Int,
        _ to: UnsafeMutableRawPointer, _ toStride: Int
    ) {
        var sum: Int64 = 0
        var squares: Int64 = 0
        for c in 0..<channels {
            let a = unsafe Int64(from.load(fromByteOffset: (c >> 1) * fromStride + 2 * (c & 1), as: Int16.self))
            sum &+= a
            squares &+= a &* a
        }
        let (reciprocal, shift) = Self.reciprocalRoot(
            UInt64(Int64(channels) &* squares &- sum &* sum &+ epsilon))
        for c in 0..<channels {
            let a = unsafe Int64(from.load(fromByteOffset: (c >> 1) * fromStride + 2 * (c & 1), as: Int16.self))
            let z = ((Int64(channels) &* a &- sum) &* reciprocal) >> shift
            let p = unsafe parameters[c]
            let y = (z &* Int64(p.gain) &+ (Int64(p.bias) << 16) &+ (Int64(zeroPoint) << 32) &+ 1 << 31) >> 32
            unsafe to.storeBytes(
                of: UInt8(truncatingIfNeeded: min(max(y, 0), 255)),
                toByteOffset: (c >> 2) * toStride + (c & 3), as: UInt8.self)
        }
        for c in channels..<((channels + 3) & ~3) {
            unsafe to.storeBytes(of: 0, toByteOffset: (c >> 2) * toStride + (c & 3), as: UInt8.self)
        }
    }

    /// `(r, 45 + e/2)` of a variance below 2^62.
    static func reciprocalRoot(_ variance: UInt64) -> (Int64, Int64) {
        let up = (variance.leadingZeroBitCount - 2) & ~1
        return (Int64((1 << 61) / NormScale.squareRoot(variance << UInt64(up))), Int64(45 - up / 2))
    }
}
