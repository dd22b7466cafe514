import COps

/// Sum of two u8 tensors of one shape with their own scales, one rounding for both:
///
///     y = clamp(zy + (((a - za)·Ma + (b - zb)·Mb + 2^(n-1)) >> n))
///
/// Ma and Mb are S_a/S_y and S_b/S_y in units of 2^-n, 0 ..< 2^48 each, n in 32...53; the products stay below
/// 2^56, so the sum is exact in 64 bits. Output may be the same buffer as an input.
public struct Add: Equatable, Sendable {
    public static let multiplierRange: Range<Int64> = 0..<(1 << 48)
    public static let shiftRange: ClosedRange<Int32> = 32...53

    public var multiplierA: Int64
    public var multiplierB: Int64
    public var shift: Int32
    public var zeroPointA: UInt8
    public var zeroPointB: UInt8
    public var zeroPointOut: UInt8

    public init(
        multiplierA: Int64, multiplierB: Int64, shift: Int32, zeroPointA: UInt8, zeroPointB: UInt8,
        zeroPointOut: UInt8
    ) {
        self.multiplierA = multiplierA
        self.multiplierB = multiplierB
        self.shift = shift
        self.zeroPointA = zeroPointA
        self.zeroPointB = zeroPointB
        self.zeroPointOut = zeroPointOut
    }

    @inlinable
    public func sum(_ a: UInt8, _ b: UInt8) -> UInt8 {
        let scaled = (Int64(a) &- Int64(zeroPointA)) &* multiplierA &+ (Int64(b) &- Int64(zeroPointB)) &* multiplierB
        let rounded = (scaled &+ (Int64(1) &<< Int64(shift &- 1))) &>> Int64(shift)
        return UInt8(truncatingIfNeeded: min(max(Int64(zeroPointOut) &+ rounded, 0), 255))
    }

    /// Adds rows `rows` (row = z · height + y) of every block.
    public func run(
        isa: ISA, a: UnsafeRawPointer, layoutA: TensorLayout, b: UnsafeRawPointer, layoutB: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        var kernel = mk_add(
            multiplier_a: multiplierA, multiplier_b: multiplierB, shift: shift, zero_point_a: Int32(zeroPointA),
            zero_point_b: Int32(zeroPointB), zero_point_out: Int32(zeroPointOut))
        let width = Int32(truncatingIfNeeded: outputLayout.extent.width)
        let blocks = Int32(truncatingIfNeeded: outputLayout.blocks)
        let (strideA, strideB, stride) = (layoutA.blockStride, layoutB.blockStride, outputLayout.blockStride)
        for row in rows {
            let pa = unsafe a + layoutA.rowOffset(z: 0, y: row)
            let pb = unsafe b + layoutB.rowOffset(z: 0, y: row)
            let to = unsafe output + outputLayout.rowOffset(z: 0, y: row)
            switch isa.vectors {
            #if arch(x86_64)
                case .avx2: unsafe mk_add_avx2(&kernel, pa, strideA, pb, strideB, to, stride, width, blocks)
                case .avx512vnni: unsafe mk_add_avx512vnni(&kernel, pa, strideA, pb, strideB, to, stride, width, blocks)
            #elseif arch(arm64)
                case .neon:
                    unsafe mk_add_neon(&kernel, pa, strideA, pb, strideB, to, stride, width, blocks)
            #endif
            default:
                for block in 0..<Int(blocks) {
                    unsafe portable(pa + block * strideA, pb + block * strideB, to + block * stride, 4 * Int(width))
                }
            }
            for block in 0..<outputLayout.blocks {
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPointOut)
            }
        }
    }

    private func portable(_ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ to: UnsafeMutableRawPointer, _ bytes: Int) {
        let a = unsafe a.assumingMemoryBound(to: UInt8.self)
        let b = unsafe b.assumingMemoryBound(to: UInt8.self)
        let to = unsafe to.assumingMemoryBound(to: UInt8.self)
        for i in 0..<bytes { unsafe to[i] = sum(a[i], b[i]) }
    }
}
