/// Exact squared Euclidean distance to the nearest seed on a grid with its own spacing per axis: the separable lower
/// envelope of parabolas of Felzenszwalb and Huttenlocher ("Distance Transforms of Sampled Functions", 2012), in double
/// precision. Three passes, linear in the number of voxels; nothing is allocated beside the field and one line.
struct DistanceTransform {
    /// Parabolas of the envelope: source index and the position (mm) from which its parabola is the lowest.
    private var sites: [Int]
    private var starts: [Double]
    private var line: [Double]

    /// - Parameters:
    ///   - field: 0 at seeds, infinity elsewhere, x fastest; on return the squared distance in mm² to the nearest seed
    ///     (infinity when there is none).
    ///   - spacing: mm between neighbours along x, y, z, positive.
    static func apply(to field: inout [Double], size: GridSize, spacing: SIMD3<Double>) {
        precondition(field.count == size.count, "field of another size")
        let longest = max(size.x, size.y, size.z)
        var transform = DistanceTransform(longest: longest)
        let strides = [1, size.x, size.x * size.y]
        for axis in 0..<3 where size[axis] > 1 {
            let (second, third) = axis == 0 ? (1, 2) : axis == 1 ? (0, 2) : (0, 1)
            for k in 0..<size[third] {
                for j in 0..<size[second] {
                    transform.run(
                        &field, from: k * strides[third] + j * strides[second], stride: strides[axis],
                        count: size[axis], spacing: spacing[axis])
                }
            }
        }
    }

    private init(longest: Int) {
        sites = [Int](repeating: 0, count: longest)
        starts = [Double](repeating: 0, count: longest)
        line = [Double](repeating: 0, count: longest)
    }

    /// One line in place. Voxels at infinity are no sites: an infinite parabola has no place in an envelope.
    private mutating func run(_ field: inout [Double], from: Int, stride: Int, count: Int, spacing: Double) {
        var last = -1
        for q in 0..<count {
            let height = field[from + q * stride]
            line[q] = height
            guard height < .infinity else { continue }
            var start = -Double.infinity
            while last >= 0 {
                let p = sites[last]
                // Where the parabolas of p and q cross; p < q, so q is the lower one from there on.
                let (a, b) = (Double(p) * spacing, Double(q) * spacing)
                start = 0.5 * ((height - line[p]) / (b - a) + a + b)
                // The first site starts at -infinity and is never removed here.
                if start > starts[last] { break }
                last -= 1
            }
            last += 1
            sites[last] = q
            starts[last] = start
        }
        guard last >= 0 else { return }
        var site = 0
        for q in 0..<count {
            let position = Double(q) * spacing
            while site < last && starts[site + 1] < position { site += 1 }
            let offset = Double(q - sites[site]) * spacing
            field[from + q * stride] = offset * offset + line[sites[site]]
        }
    }
}
