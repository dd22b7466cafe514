import FixedPoint

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
        a: UnsafeRawPointer, layoutA: TensorLayout, b: UnsafeRawPointer, layoutB: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        let bytes = outputLayout.extent.width * 4
        for block in 0..<outputLayout.blocks {
            for row in rows {
                let pa = unsafe (a + layoutA.rowOffset(block: block, z: 0, y: row)).assumingMemoryBound(to: UInt8.self)
                let pb = unsafe (b + layoutB.rowOffset(block: block, z: 0, y: row)).assumingMemoryBound(to: UInt8.self)
                let to = unsafe (output + outputLayout.rowOffset(block: block, z: 0, y: row))
                    .assumingMemoryBound(to: UInt8.self)
                for i in 0..<bytes {
                    unsafe to[i] = sum(pa[i], pb[i])
                }
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPointOut)
            }
        }
    }
}
