import FixedPoint

/// Product of two u8 tensors with their own scales, of one shape or b with one voxel for all of a slice or the volume, rounded once
/// (`Requantizer`):
///
///     y = clamp(zy + requantize((a - za) · (b - zb)))
///
/// The product is within ±255², so the requantizer's sums are far from their limits. Attention gates are made of it, and
/// with one voxel squeeze-and-excitation.
public struct Multiply: Equatable, Sendable {
    public var requantizer: Requantizer
    public var zeroPointA: UInt8
    public var zeroPointB: UInt8
    public var zeroPointOut: UInt8
    /// What a voxel of b stands for in a.
    public var spanB: VoxelSpan

    public init(
        requantizer: Requantizer, zeroPointA: UInt8, zeroPointB: UInt8, zeroPointOut: UInt8, spanB: VoxelSpan = .voxel
    ) {
        self.spanB = spanB
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
                let rowB = spanB.row(row, height: outputLayout.extent.height)
                let pb = unsafe (b + layoutB.rowOffset(block: block, z: 0, y: rowB)).assumingMemoryBound(to: UInt8.self)
                let to = unsafe (output + outputLayout.rowOffset(block: block, z: 0, y: row)).assumingMemoryBound(
                    to: UInt8.self)
                if spanB == .voxel {
                    unsafe multiply(pa, pb, to, bytes, mask: -1)
                } else {
                    // The four channels of one voxel again and again.
                    unsafe multiply(pa, pb, to, bytes, mask: 3)
                }
                unsafe outputLayout.fillGapsAround(row: row, block: block, base: output, zeroPoint: zeroPointOut)
            }
        }
    }

    @inline(__always)
    private func multiply(
        _ a: UnsafePointer<UInt8>, _ b: UnsafePointer<UInt8>, _ output: UnsafeMutablePointer<UInt8>, _ bytes: Int,
        mask: Int
    ) {
        for i in 0..<bytes {
            let product = unsafe (Int32(a[i]) &- Int32(zeroPointA)) &* (Int32(b[i & mask]) &- Int32(zeroPointB))
            unsafe output[i] = requantizer.u8(product, zeroPoint: Int32(zeroPointOut))
        }
    }
}
