/// The 95th percentile Hausdorff distance of two masks.
///
/// - Surface of a mask: its voxels that have a face neighbour outside the mask (the mask minus its erosion by the
///   6-neighbourhood). What lies beyond the image counts as outside, so a mask cut by the image's border has a surface
///   there.
/// - Directed distances: for every surface voxel of one mask the Euclidean distance in mm between voxel centres to the
///   nearest surface voxel of the other.
/// - HD95: the 95th percentile (linear between ranks, NumPy's default) of each of the two directed sets, and of these the
///   larger. This is MONAI's `HausdorffDistanceMetric(percentile=95)`. MedPy's `hd95` takes one percentile of both sets
///   pooled and is smaller or equal in most cases; DeepMind's `surface-distance`, which the BraTS 2023 code uses, weights
///   each distance by the area of a marching-cubes surface element and differs by a fraction of a voxel.
public struct SurfaceDistance: Sendable {
    /// Bit 0 reference, bit 1 prediction, bits 2 and 3 their surfaces.
    private var flags: [UInt8]
    private let size: GridSize

    /// - Parameter masks: bit 0 for the reference, bit 1 for the prediction, x fastest; the box may be a crop that holds
    ///   both masks whole.
    public init(masks: [UInt8], size: GridSize) {
        precondition(masks.count == size.count, "mask of another size")
        flags = masks
        self.size = size
        markSurfaces()
    }

    /// Bytes at the peak of `hd95` for a box of so many voxels, without the surface distances (8 bytes per surface voxel).
    public static func bytesNeeded(voxels: Int) -> Int { 9 * voxels }

    /// - Parameter spacing: mm along x, y, z.
    /// - Returns: mm; nil when a mask is empty.
    public func hd95(spacing: SIMD3<Double>) -> Double? {
        let forward = directed(from: 8, to: 4, spacing: spacing)
        guard !forward.isEmpty, forward[0] < .infinity else { return nil }
        let back = directed(from: 4, to: 8, spacing: spacing)
        return max(Self.percentile(forward, 0.95), Self.percentile(back, 0.95))
    }

    /// Distances in mm from each surface voxel with one bit to the nearest with the other, in the order of the voxels.
    private func directed(from: UInt8, to: UInt8, spacing: SIMD3<Double>) -> [Double] {
        var field = flags.map { $0 & to != 0 ? 0 : Double.infinity }
        DistanceTransform.apply(to: &field, size: size, spacing: spacing)
        var distances: [Double] = []
        for index in flags.indices where flags[index] & from != 0 { distances.append(field[index].squareRoot()) }
        return distances
    }

    /// NumPy's linear rule on at least one value.
    static func percentile(_ values: [Double], _ q: Double) -> Double {
        let sorted = values.sorted()
        let position = q * Double(sorted.count - 1)
        let lower = Int(position)
        let upper = min(lower + 1, sorted.count - 1)
        let t = position - Double(lower)
        let gap = sorted[upper] - sorted[lower]
        return t < 0.5 ? sorted[lower] + gap * t : sorted[upper] - gap * (1 - t)
    }

    private mutating func markSurfaces() {
        let (row, plane) = (size.x, size.x * size.y)
        for z in 0..<size.z {
            for y in 0..<size.y {
                let start = z * plane + y * row
                let isInner = z > 0 && z < size.z - 1 && y > 0 && y < size.y - 1
                for x in 0..<size.x {
                    let index = start + x
                    let own = flags[index] & 3
                    guard own != 0 else { continue }
                    // Bits that all six neighbours have; a neighbour beyond the box has none.
                    var common: UInt8 = 0
                    if isInner && x > 0 && x < size.x - 1 {
                        common = flags[index - 1] & flags[index + 1] & flags[index - row] & flags[index + row]
                        common &= flags[index - plane] & flags[index + plane]
                    }
                    flags[index] |= (own & ~common) << 2
                }
            }
        }
    }
}
