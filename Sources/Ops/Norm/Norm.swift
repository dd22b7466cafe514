import COps

/// Normalization of an i16 tensor with its own statistics: over the voxels of a group of channels (`GroupNorm`), in three
/// steps: sums per channel (any share of the rows at a time), `NormScale`, and the affine map to u8 or i16 codes:
///
///     y = clamp(((a · 2^15 · multiplier) >> 32 + offset) >> shift)
///
/// The product is exact in 64 bits and cut once; everything else happens in 32-bit lanes.
/// Before a ReLU the zero point of u8 is 0 and the clamp is the ReLU; i16 output takes `isRectified` for that.
public struct Norm: Equatable, Sendable {
    public var channels: Int
    public var groups: Int
    public var outputElement: ElementType
    public var zeroPoint: UInt8
    /// i16 output is clamped at 0 from below.
    public var isRectified: Bool
    /// Each slice has statistics of its own: those of a network of two axes.
    public var isPerSlice: Bool

    public init(
        channels: Int, groups: Int, outputElement: ElementType, zeroPoint: UInt8, isRectified: Bool = false,
        isPerSlice: Bool = false
    ) {
        self.isPerSlice = isPerSlice
        self.isRectified = isRectified
        self.channels = channels
        self.groups = groups
        self.outputElement = outputElement
        self.zeroPoint = zeroPoint
    }

    /// Sums of the rows `rows` by channel, added to `sums`.
    public func addSums(
        isa: ISA, input: UnsafeRawPointer, layout: TensorLayout, rows: Range<Int>,
        sums: UnsafeMutablePointer<NormSums>
    ) {
        for block in 0..<layout.blocks {
            var sum: (Int64, Int64) = (0, 0)
            var squares: (Int64, Int64) = (0, 0)
            unsafe withUnsafeMutableBytes(of: &sum) { sum in
                unsafe withUnsafeMutableBytes(of: &squares) { squares in
                    let (s, q) = unsafe (
                        sum.assumingMemoryBound(to: Int64.self).baseAddress!,
                        squares.assumingMemoryBound(to: Int64.self).baseAddress!
                    )
                    let words = unsafe input + layout.rowOffset(block: block, z: 0, y: rows.lowerBound)
                    unsafe Self.addRows(isa, words, layout, rows.count, s, q)
                }
            }
            let count = Int64(rows.count * layout.extent.width)
            unsafe sums[2 * block] += NormSums(count: count, sum: sum.0, squares: squares.0)
            if 2 * block + 1 < channels {
                unsafe sums[2 * block + 1] += NormSums(count: count, sum: sum.1, squares: squares.1)
            }
        }
    }

    private static func addRows(
        _ isa: ISA, _ first: UnsafeRawPointer, _ layout: TensorLayout, _ rows: Int, _ sums: UnsafeMutablePointer<Int64>,
        _ squares: UnsafeMutablePointer<Int64>
    ) {
        let (width, height) = (Int32(truncatingIfNeeded: layout.extent.width), Int32(truncatingIfNeeded: rows))
        switch isa.vectors {
        #if arch(x86_64)
            case .avx2: unsafe mk_norm_stats_avx2(first, layout.rowPitch, width, height, sums, squares)
            case .avx512vnni: unsafe mk_norm_stats_avx512vnni(first, layout.rowPitch, width, height, sums, squares)
        #elseif arch(arm64)
            case .neon: unsafe mk_norm_stats_neon(first, layout.rowPitch, width, height, sums, squares)
        #endif
        default:
            for row in 0..<rows {
                for i in 0..<(2 * Int(width)) {
                    let a = unsafe Int64(first.load(fromByteOffset: row * layout.rowPitch + 2 * i, as: Int16.self))
                    unsafe sums[i & 1] += a
                    unsafe squares[i & 1] += a &* a
                }
            }
        }
    }

    /// Reduces the sums to one affine map per channel.
    public func affines(
        sums: UnsafePointer<NormSums>, parameters: (Int) -> NormChannel, into result: UnsafeMutablePointer<mk_affine>
    ) {
        let perGroup = channels / groups
        for group in 0..<groups {
            var total = NormSums()
            for c in (group * perGroup)..<((group + 1) * perGroup) { unsafe total += sums[c] }
            let scale = NormScale(total, parameters(group * perGroup))
            for c in (group * perGroup)..<((group + 1) * perGroup) {
                unsafe result[c] = scale.affine(
                    parameters(c), zeroPoint: Int32(zeroPoint), element: outputElement)
            }
        }
    }

    /// Maps rows `rows` and writes the gaps around them. The output may be the input's buffer when both are i16 of one layout.
    public func apply(
        isa: ISA, affines: UnsafePointer<mk_affine>, input: UnsafeRawPointer, inputLayout: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        let perBlock = outputElement.channelsPerBlock
        for block in 0..<outputLayout.blocks {
            let first = block * perBlock
            let low = unsafe input + inputLayout.rowOffset(block: first / 2, z: 0, y: rows.lowerBound)
            let high: UnsafeRawPointer? =
                perBlock == 4 && channels - first > 2
                ? unsafe input + inputLayout.rowOffset(block: first / 2 + 1, z: 0, y: rows.lowerBound) : nil
            let target = unsafe output + outputLayout.rowOffset(block: block, z: 0, y: rows.lowerBound)
            unsafe applyRows(
                isa, affines + first, Int32(min(perBlock, channels - first)), low, high, inputLayout.rowPitch, target,
                outputLayout, rows.count)
            for row in rows {
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPoint)
            }
        }
    }

    private func applyRows(
        _ isa: ISA, _ affines: UnsafePointer<mk_affine>, _ real: Int32, _ low: UnsafeRawPointer,
        _ high: UnsafeRawPointer?, _ pitch: Int, _ output: UnsafeMutableRawPointer, _ layout: TensorLayout, _ rows: Int
    ) {
        let wide: Int32 = outputElement == .u8 ? 0 : isRectified ? 2 : 1
        let (width, height) = (Int32(truncatingIfNeeded: layout.extent.width), Int32(truncatingIfNeeded: rows))
        let outputPitch = layout.rowPitch
        switch isa.vectors {
        #if arch(x86_64)
            case .avx2:
                unsafe mk_norm_apply_avx2(affines, real, low, high, pitch, output, outputPitch, width, height, wide)
            case .avx512vnni:
                unsafe mk_norm_apply_avx512vnni(
                    affines, real, low, high, pitch, output, outputPitch, width, height, wide)
        #elseif arch(arm64)
            case .neon:
                unsafe mk_norm_apply_neon(affines, real, low, high, pitch, output, outputPitch, width, height, wide)
        #endif
        default:
            for row in 0..<rows {
                unsafe portableRow(
                    affines, Int(real), low + row * pitch, high.map { unsafe $0 + row * pitch },
                    output + row * outputPitch, Int(width))
            }
        }
    }

    private func portableRow(
        _ affines: UnsafePointer<mk_affine>, _ real: Int, _ low: UnsafeRawPointer, _ high: UnsafeRawPointer?,
        _ output: UnsafeMutableRawPointer, _ width: Int
    ) {
        for x in 0..<width {
            for lane in 0..<outputElement.channelsPerBlock {
                var y: Int32 = 0
                if lane < real {
                    let source = unsafe lane < 2 ? low : high!
                    let a = unsafe source.load(fromByteOffset: 4 * x + 2 * (lane & 1), as: Int16.self)
                    y = unsafe Self.map(a, affines[lane])
                }
                unsafe store(y, output, x, lane)
            }
        }
    }

    /// The affine map before the clamp.
    static func map(_ a: Int16, _ affine: mk_affine) -> Int32 {
        let product = (Int64(a) << 15) &* Int64(affine.multiplier)
        return (Int32(truncatingIfNeeded: product >> 32) &+ affine.offset) >> affine.shift
    }

    private func store(_ y: Int32, _ output: UnsafeMutableRawPointer, _ x: Int, _ lane: Int) {
        if outputElement == .u8 {
            unsafe output.storeBytes(
                of: UInt8(truncatingIfNeeded: min(max(y, 0), 255)), toByteOffset: 4 * x + lane, as: UInt8.self)
        } else {
            unsafe output.storeBytes(
                of: Int16(truncatingIfNeeded: min(max(y, isRectified ? 0 : -32768), 32767)),
                toByteOffset: 4 * x + 2 * lane,
                as: Int16.self)
        }
    }
}
