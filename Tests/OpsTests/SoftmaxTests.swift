import Foundation
import Ops
import TestSupport
import Testing

@Suite struct SoftmaxTests {
    private func probabilities(_ scores: [Int32], k: Double) -> [Int] {
        var result = [Int](repeating: -1, count: scores.count)
        let winner = scores.firstIndex(of: scores.max()!)!
        Softmax(classes: scores.count, scale: Float(k * log(2))).run(
            winner: winner, score: { scores[$0] }, store: { result[$0] = Int($1) })
        return result
    }

    /// Sums exactly, the winner's the largest, every other within the bound of the spec.
    @Test(arguments: [1, 2, 5, 104, 300], [1e-6, 8.7e-4, 0.02, 0.15, 3, 900])
    func sumsAndErrors(_ classes: Int, _ k: Double) {
        var generator = SplitMix64(UInt64(classes))
        for spread in [Int32(3), 200, 30_000] {
            for _ in 0..<20 {
                let scores = (0..<classes).map { _ in Int32.random(in: -spread...spread, using: &generator) }
                let found = probabilities(scores, k: k)
                #expect(found.reduce(0, +) == 255 && found.min()! >= 0)
                let most = scores.max()!
                let winner = scores.firstIndex(of: most)!
                #expect(found[winner] == found.max()!)
                let weights = scores.map { exp2(Double($0 - most) * k) }
                let total = weights.reduce(0, +)
                // The rate has 15 bits at least, which moves an exponent of 15 by 2^-11.
                let bound = 2.3 * Double(classes + 1) / 32768 + 1.0 / 255 + 0x1p-11
                for c in scores.indices where c != winner {
                    #expect(abs(Double(found[c]) / 255 - weights[c] / total) <= bound, "\(classes) \(k) \(spread)")
                }
            }
        }
    }

    @Test func equalScoresShareEqually() {
        #expect(probabilities([7, 7, 7], k: 0.1) == [85, 85, 85])
        #expect(probabilities([-5], k: 0.1) == [255])
        #expect(probabilities([0, 30_000], k: 0.5) == [0, 255])
    }
}
