import Dispatch

/// A symmetric positive definite matrix and its Cholesky factor, row by row.
struct SymmetricMatrix {
    let size: Int
    /// `[row][column]`, both halves.
    private(set) var values: [Double]

    subscript(row: Int, column: Int) -> Double { values[row * size + column] }

    func row(_ index: Int) -> ArraySlice<Double> { values[(index * size)..<((index + 1) * size)] }

    /// target += row · factor.
    func addRow(_ row: Int, times factor: Double, to target: inout [Double]) {
        values.addRow(row * size, count: size, times: factor, to: &target)
    }

    var meanDiagonal: Double { (0..<size).reduce(0) { $0 + self[$1, $1] } / Double(max(1, size)) }

    mutating func addToDiagonal(_ amount: Double) {
        for i in 0..<size { values[i * size + i] += amount }
    }

    /// Mean of the products of the columns of `features`.
    /// - Parameter features: `[feature][sample]`.
    init(features: [[Float]]) {
        let size = features.count
        self.size = size
        let samples = features.first?.count ?? 0
        let perSample = 1 / Double(max(1, samples))
        var result = [Double](repeating: 0, count: size * size)
        unsafe result.withUnsafeMutableBufferPointer { buffer in
            nonisolated(unsafe) let target = unsafe buffer
            // Rows cost less the later they come; in turns of eight all threads have about the same to do. Every product is
            // summed in one order whoever does it.
            DispatchQueue.concurrentPerform(iterations: (size + 7) / 8) { group in
                for i in (group * 8)..<min(group * 8 + 8, size) {
                    for j in 0...i {
                        let sum = Self.product(features[i], features[j]) * perSample
                        unsafe target[i * size + j] = sum
                        unsafe target[j * size + i] = sum
                    }
                }
            }
        }
        values = result
    }

    /// In float over 256 samples at a time, those sums in double.
    static func product(_ a: [Float], _ b: [Float]) -> Double {
        unsafe a.withUnsafeBufferPointer { a in
            unsafe b.withUnsafeBufferPointer { b in
                var sum = 0.0
                var start = 0
                while start < a.count {
                    let end = min(start + 256, a.count)
                    var (first, second) = (SIMD16<Float>.zero, SIMD16<Float>.zero)
                    while start + 32 <= end {
                        let (x, y) = unsafe (
                            UnsafeRawPointer(a.baseAddress! + start), UnsafeRawPointer(b.baseAddress! + start)
                        )
                        unsafe first +=
                            x.loadUnaligned(as: SIMD16<Float>.self) * y.loadUnaligned(as: SIMD16<Float>.self)
                        unsafe second +=
                            x.loadUnaligned(fromByteOffset: 64, as: SIMD16<Float>.self)
                            * y.loadUnaligned(fromByteOffset: 64, as: SIMD16<Float>.self)
                        start += 32
                    }
                    sum += Double((first + second).sum())
                    while start < end {
                        sum += unsafe Double(a[start] * b[start])
                        start += 1
                    }
                }
                return sum
            }
        }
    }
}

/// L with L·Lᵀ = a matrix.
struct Cholesky {
    let size: Int
    /// `[row][column]`, zero above the diagonal.
    private var factor: [Double]

    /// nil where the matrix is not positive definite.
    init?(_ matrix: SymmetricMatrix) {
        size = matrix.size
        factor = [Double](repeating: 0, count: size * size)
        for i in 0..<size {
            for j in 0...i {
                let sum = matrix[i, j] - dot(i, j, count: j)
                if i == j {
                    guard sum > 0 else { return nil }
                    factor[i * size + i] = sum.squareRoot()
                } else {
                    factor[i * size + j] = sum / factor[j * size + j]
                }
            }
        }
    }

    subscript(row: Int, column: Int) -> Double { factor[row * size + column] }

    /// target += the first `count` elements of a row · multiplier.
    func addRow(_ row: Int, count: Int, times multiplier: Double, to target: inout [Double]) {
        factor.addRow(row * size, count: count, times: multiplier, to: &target)
    }

    /// Σ over k < count of L[i, k] · L[j, k].
    private func dot(_ i: Int, _ j: Int, count: Int) -> Double {
        unsafe factor.withUnsafeBufferPointer { factor in
            let (a, b) = unsafe (
                UnsafeRawPointer(factor.baseAddress! + i * size), UnsafeRawPointer(factor.baseAddress! + j * size)
            )
            var sums = SIMD8<Double>.zero
            var k = 0
            while k + 8 <= count {
                unsafe sums +=
                    a.loadUnaligned(fromByteOffset: k * 8, as: SIMD8<Double>.self)
                    * b.loadUnaligned(fromByteOffset: k * 8, as: SIMD8<Double>.self)
                k += 8
            }
            var sum = sums.sum()
            while k < count {
                sum += unsafe factor[i * size + k] * factor[j * size + k]
                k += 1
            }
            return sum
        }
    }

    /// x with matrix · x = b.
    func solve(_ b: [Double]) -> [Double] {
        var x = b
        for i in 0..<size {
            var sum = x[i]
            for k in 0..<i { sum -= self[i, k] * x[k] }
            x[i] = sum / self[i, i]
        }
        for i in (0..<size).reversed() {
            x[i] /= self[i, i]
            addRow(i, count: i, times: -x[i], to: &x)
        }
        return x
    }
}

extension [Double] {
    fileprivate func addRow(_ start: Int, count: Int, times factor: Double, to target: inout [Double]) {
        precondition(start + count <= self.count && count <= target.count, "row outside the matrix")
        unsafe withUnsafeBufferPointer { row in
            unsafe target.withUnsafeMutableBufferPointer { target in
                for k in 0..<count { unsafe target[k] += row[start + k] * factor }
            }
        }
    }
}
