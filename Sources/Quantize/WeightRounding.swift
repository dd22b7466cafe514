/// Rounds a filter to integers so that the error of its output, not that of its weights, is small.
///
/// With H the second moments of what the filter reads, the squared error of its output is (a·q - w)ᵀ H (a·q - w) for integer
/// weights q in steps of a. Where neighbouring voxels are alike H is far from diagonal: what one weight loses another can make
/// good. Weights are rounded from the last to the first, each to what is best given those before it (successive interference
/// cancellation, Babai's nearest plane; GPTQ, Frantar et al. 2022, is the same in another order), then changed one at a time as
/// long as that lowers the error.
struct WeightRounding {
    let moments: SymmetricMatrix
    let factor: Cholesky
    let limit: Int
    private static let passes = 8

    /// - Parameters:
    ///   - moments: positive definite.
    ///   - limit: largest magnitude of a code.
    init?(_ moments: SymmetricMatrix, limit: Int) {
        guard let factor = Cholesky(moments) else { return nil }
        self.moments = moments
        self.factor = factor
        self.limit = limit
    }

    /// - Parameters:
    ///   - weights: real, in units of the features.
    ///   - scale: real value of one step.
    func round(_ weights: [Double], scale: Double) -> [Int] {
        let target = weights.map { $0 / scale }
        var codes = nearestPlane(target)
        descend(&codes, target)
        return codes
    }

    /// ‖Lᵀ(q - w)‖² is the error: Lᵀ is upper triangular, so the last weight stands alone in its row, and so on.
    private func nearestPlane(_ target: [Double]) -> [Int] {
        let size = target.count
        var codes = [Int](repeating: 0, count: size)
        // What the weights already rounded add to each row of Lᵀ(q - w).
        var carried = [Double](repeating: 0, count: size)
        for i in (0..<size).reversed() {
            codes[i] = clamped(target[i] - carried[i] / factor[i, i])
            factor.addRow(i, count: i, times: Double(codes[i]) - target[i], to: &carried)
        }
        return codes
    }

    private func descend(_ codes: inout [Int], _ target: [Double]) {
        let size = codes.count
        var gradient = [Double](repeating: 0, count: size)
        for i in 0..<size { moments.addRow(i, times: Double(codes[i]) - target[i], to: &gradient) }
        for _ in 0..<Self.passes {
            var isChanged = false
            for i in 0..<size {
                let best = clamped(Double(codes[i]) - gradient[i] / moments[i, i])
                guard best != codes[i] else { continue }
                moments.addRow(i, times: Double(best - codes[i]), to: &gradient)
                codes[i] = best
                isChanged = true
            }
            if !isChanged { return }
        }
    }

    private func clamped(_ value: Double) -> Int { min(max(Int(value.rounded()), -limit), limit) }

    /// Squared error of the output.
    func error(_ codes: [Int], _ weights: [Double], scale: Double) -> Double {
        let difference = zip(codes, weights).map { Double($0) * scale - $1 }
        var products = [Double](repeating: 0, count: difference.count)
        for i in difference.indices { moments.addRow(i, times: difference[i], to: &products) }
        return zip(difference, products).reduce(0) { $0 + $1.0 * $1.1 }
    }
}
