import FlatGraph

/// Window positions along one axis, and the integer weights of their voxels.
///
/// `monai`: starts 0, interval, 2·interval, …, the last shifted back to end with the volume; interval =
/// ⌊patch · (1 - overlap)⌋. `nnunet`: n = ⌈(N - P) / (P · (1 - overlap))⌉ + 1 starts evenly spread over N - P, rounded
/// half to even. Both as in those projects; computed in integers, so the grid is the same on every machine.
/// A volume smaller than the patch gets one window that starts before it (half of the difference, rounded down).
public struct WindowAxis: Equatable, Sendable {
    public let size: Int
    public let patch: Int
    public let starts: [Int]

    public init(size: Int, patch: Int, overlapPerMille: Int, scheme: WindowScheme) {
        self.size = size
        self.patch = patch
        guard size > patch else {
            starts = [-((patch - size) / 2)]
            return
        }
        let span = size - patch
        switch scheme {
        case .nnunet:
            let step = patch * (1000 - overlapPerMille)
            let count = (span * 1000 + step - 1) / step + 1
            starts = (0..<count).map { Self.roundHalfEven($0 * span, count - 1) }
        case .monai, .none:
            let interval = max(1, patch * (1000 - overlapPerMille) / 1000)
            let count = (span + interval - 1) / interval + 1
            starts = (0..<count).map { min($0 * interval, span) }
        }
    }

    /// Starts 0, interval, 2·interval, …, the last moved back to end with the axis.
    init(size: Int, patch: Int, interval: Int) {
        self.size = size
        self.patch = patch
        let span = max(0, size - patch)
        starts = (0...((span + interval - 1) / interval)).map { min($0 * interval, span) }
    }

    private static func roundHalfEven(_ numerator: Int, _ denominator: Int) -> Int {
        let quotient = numerator / denominator
        let twice = 2 * (numerator % denominator)
        if twice == denominator { return quotient + quotient % 2 }
        return twice > denominator ? quotient + 1 : quotient
    }

    /// The largest sum of `table` weights that any voxel of the axis collects.
    func largestSum(_ table: UnsafePointer<UInt8>) -> Int {
        var best = 0
        for x in 0..<size {
            var sum = 0
            for start in starts where (start..<(start + patch)).contains(x) { sum += unsafe Int(table[x - start]) }
            best = max(best, sum)
        }
        return best
    }

    /// The largest number of windows over any voxel.
    var largestOverlap: Int {
        (0..<size).map { x in starts.count { ($0..<($0 + patch)).contains(x) } }.max() ?? 0
    }
}
