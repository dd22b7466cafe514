import FixedPoint

/// Product of two u8 tensors of one shape with their own scales, rounded once (`Requantizer`):
///
///     y = clamp(zy + requantize((a - za) · (b - zb)))
///
/// The product is within ±255², so the requantizer's sums are far from their limits. Attention gates are made of it.
public struct Multiply: Equatable, Sendable {
    public var requantizer: Requantizer
    public var zeroPointA: UInt8
    public var zeroPointB: UInt8
    public var zeroPointOut: UInt8

    public init(requantizer: Requantizer, zeroPointA: UInt8, zeroPointB: UInt8, zeroPointOut: UInt8) {
        self.requantizer = requantizer
        self.zeroPointA = zeroPointA
        self.zeroPointB = zeroPointB
        self.zeroPointOut = zeroPointOut
    }

    /// Rows `rows` (row = z · height + y) of every block, and the gaps around them.
    public func run(
        a: UnsafeRawPointer, layoutA: TensorLayout, b: UnsafeRawPointer, layoutB: TensorLayout,
        output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        let bytes = outputLayout.extent.width * 4
        for block in 0..<outputLayout.blocks {
            for row in rows {
                let pa = unsafe (a + layoutA.rowOffset(block: block, z: 0, y: row)).assumingMemoryBound(to: UInt8.self)
                let pb = unsafe (b + layoutB.rowOffset(block: block, z: 0, y: row)).assumingMemoryBound(to: UInt8.self)
                let to = unsafe (output + outputLayout.rowOffset(block: block, z: 0, y: row)).assumingMemoryBound(
                    to: UInt8.self)
                for i in 0..<bytes {
                    let product = unsafe (Int32(pa[i]) &- Int32(zeroPointA)) &* (Int32(pb[i]) &- Int32(zeroPointB))
                    unsafe to[i] = requantizer.u8(product, zeroPoint: Int32(zeroPointOut))
                }
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPointOut)
            }
        }
    }
}
