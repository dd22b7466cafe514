/// Number of voxels along the three axes; x is stored fastest.
public struct GridSize: Equatable, Sendable, CustomStringConvertible {
    public var x: Int
    public var y: Int
    public var z: Int

    public init(_ x: Int, _ y: Int, _ z: Int) {
        self.x = x
        self.y = y
        self.z = z
    }

    /// All voxels. The reader has checked that the product does not overflow.
    public var count: Int { x * y * z }

    /// The length of axis 0 (x), 1 (y) or 2 (z).
    public subscript(axis: Int) -> Int {
        get { axis == 0 ? x : axis == 1 ? y : z }
        set {
            switch axis {
            case 0: x = newValue
            case 1: y = newValue
            default: z = newValue
            }
        }
    }

    public var description: String { "\(x)x\(y)x\(z)" }
}

/// Voxel index (i, j, k) to millimetres, x to the right, y to the front, z up: three rows of four.
public struct Affine: Equatable, Sendable {
    /// Row-major, 12 values.
    public var rows: [Double]

    public init(rows: [Double]) {
        precondition(rows.count == 12, "an affine has three rows of four")
        self.rows = rows
    }

    public subscript(row: Int, column: Int) -> Double {
        get { rows[row * 4 + column] }
        set { rows[row * 4 + column] = newValue }
    }

    /// Where voxel (i, j, k) lies, in millimetres.
    public func position(_ i: Double, _ j: Double, _ k: Double) -> SIMD3<Double> {
        var result = SIMD3<Double>()
        for row in 0..<3 {
            result[row] = self[row, 0] * i + self[row, 1] * j + self[row, 2] * k + self[row, 3]
        }
        return result
    }

    /// Determinant of the linear part; negative when the axes are left-handed.
    public var determinant: Double {
        self[0, 0] * (self[1, 1] * self[2, 2] - self[1, 2] * self[2, 1])
            - self[0, 1] * (self[1, 0] * self[2, 2] - self[1, 2] * self[2, 0])
            + self[0, 2] * (self[1, 0] * self[2, 1] - self[1, 1] * self[2, 0])
    }

    /// Distance between neighbouring voxels along the three stored axes, in millimetres.
    public var spacing: SIMD3<Double> {
        var result = SIMD3<Double>()
        for column in 0..<3 {
            var sum = 0.0
            for row in 0..<3 { sum += self[row, column] * self[row, column] }
            result[column] = sum.squareRoot()
        }
        return result
    }

    /// Finite, no axis of length zero, and the three axes span space (a shear is allowed).
    var isUsable: Bool {
        guard rows.allSatisfy(\.isFinite) else { return false }
        let size = spacing
        let volume = size.x * size.y * size.z
        return volume.isFinite && volume > 0 && determinant.magnitude > 1e-4 * volume
    }

    /// How far the two map any corner of the grid apart, in millimetres.
    func largestDistance(to other: Affine, over dims: GridSize) -> Double {
        var worst = 0.0
        for corner in 0..<8 {
            let i = corner & 1 == 0 ? 0 : Double(dims.x - 1)
            let j = corner & 2 == 0 ? 0 : Double(dims.y - 1)
            let k = corner & 4 == 0 ? 0 : Double(dims.z - 1)
            let gap = position(i, j, k) - other.position(i, j, k)
            worst = max(worst, (gap * gap).sum().squareRoot())
        }
        return worst
    }

    /// The anatomical direction in which each stored axis mainly runs, as in "LIA" (first axis right to left).
    /// The nearest rotation is taken first, so that shear and unequal spacing cannot mislead; then the
    /// assignment of axes with the largest total alignment.
    public var axisCodes: String {
        let rotation = nearestRotation()
        var best = (total: -1.0, order: [0, 1, 2])
        for order in AxisMap.permutations {
            let total = (0..<3).reduce(0.0) { $0 + rotation[order[$1], $1].magnitude }
            if total > best.total + 1e-9 { best = (total, order) }
        }
        let positive = ["R", "A", "S"]
        let negative = ["L", "P", "I"]
        return (0..<3).map { axis in
            let world = best.order[axis]
            return rotation[world, axis] < 0 ? negative[world] : positive[world]
        }.joined()
    }

    /// The orthogonal factor of the polar decomposition, by Newton's iteration X <- (X + X^-T) / 2.
    private func nearestRotation() -> Affine {
        var matrix = self
        let size = spacing
        for row in 0..<3 {
            for column in 0..<3 where size[column] > 0 { matrix[row, column] /= size[column] }
        }
        for _ in 0..<60 {
            let determinant = matrix.determinant
            guard determinant.isFinite, determinant != 0 else { return matrix }
            var next = matrix
            var change = 0.0
            for row in 0..<3 {
                for column in 0..<3 {
                    let (r1, r2) = ((row + 1) % 3, (row + 2) % 3)
                    let (c1, c2) = ((column + 1) % 3, (column + 2) % 3)
                    let cofactor = matrix[r1, c1] * matrix[r2, c2] - matrix[r1, c2] * matrix[r2, c1]
                    next[row, column] = 0.5 * (matrix[row, column] + cofactor / determinant)
                    change = max(change, (next[row, column] - matrix[row, column]).magnitude)
                }
            }
            matrix = next
            if change < 1e-13 { break }
        }
        return matrix
    }
}
