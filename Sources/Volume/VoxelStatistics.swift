/// Statistics over all voxels of a volume, zeros included, in real values (slope and intercept applied).
public struct VoxelStatistics: Sendable, Equatable {
    public let minimum: Double
    public let maximum: Double
    /// Mean and standard deviation (divided by N) over all voxels.
    public let mean: Double
    public let deviation: Double
    /// The same over the voxels whose real value is not 0; 0 when there are none.
    public let nonzeroCount: Int
    public let nonzeroMean: Double
    public let nonzeroDeviation: Double
}

/// The voxels of a volume in stored order, in one piece or several, as often as they are needed.
protocol VoxelPasses {
    associatedtype Failure: Error
    var header: NIfTIHeader { get }
    func forEachPart(_ body: (VoxelArray) -> Void) throws(Failure)
}

extension VoxelVolume: VoxelPasses {
    func forEachPart(_ body: (VoxelArray) -> Void) throws(Never) { body(voxels) }

    /// Quantiles at `fractions` (0...1) with NumPy's default rule: of the N sorted values take rank p = q * (N - 1) and
    /// interpolate linearly between its neighbours, in double.
    public func quantiles(_ fractions: [Double]) -> [Double] { quantilesByPasses(fractions) }

    /// Extremes, mean and deviation. Sums run in double in voxel order, mean first, then squared distances.
    public func statistics() -> VoxelStatistics { statisticsByPasses() }
}

extension VoxelPasses {
    /// Exact without a sorted copy: one pass over the voxels counts them by the upper 16 key bits, and for wider types one
    /// pass per 16 more bits counts those that share their upper bits with a wanted rank. 256 KiB of counters per distinct
    /// prefix.
    func quantilesByPasses(_ fractions: [Double]) throws(Failure) -> [Double] {
        let count = header.dims.count
        var ranks: [Int] = []
        for fraction in fractions {
            precondition(fraction >= 0 && fraction <= 1, "a quantile is in 0...1")
            let lower = Int((fraction * Double(count - 1)).rounded(.down))
            ranks += [lower, min(lower + 1, count - 1)]
        }
        // A negative slope reverses the order: the k-th smallest real value has the k-th largest stored one.
        let stored = header.slope < 0 ? ranks.map { count - 1 - $0 } : ranks
        let values = try valuesAtRanks(stored).map { header.slope * $0 + header.inter }
        return fractions.indices.map { index in
            let position = fractions[index] * Double(count - 1)
            let share = position - position.rounded(.down)
            let low = values[2 * index]
            let gap = values[2 * index + 1] - low
            // From the nearer end, as NumPy does, so that the last bit agrees.
            return share < 0.5 ? low + gap * share : values[2 * index + 1] - gap * (1 - share)
        }
    }

    func statisticsByPasses() throws(Failure) -> VoxelStatistics {
        var moments = Moments(slope: header.slope, inter: header.inter)
        try forEachPart { $0.apply(&moments) }
        var squares = Squares(moments)
        try forEachPart { $0.apply(&squares) }
        return squares.statistics
    }

    /// Stored values at the given ranks of the sorted volume.
    private func valuesAtRanks(_ ranks: [Int]) throws(Failure) -> [Double] {
        var counter = KeyCounter(shift: nil)
        try forEachPart { $0.apply(&counter) }
        var places = ranks.map { counter.locate($0, prefix: 0) }
        while counter.lowestBit > 0 {
            counter = KeyCounter(shift: counter.lowestBit, prefixes: Set(places.map(\.key)).sorted())
            try forEachPart { $0.apply(&counter) }
            places = places.map { counter.locate($0.rest, prefix: $0.key) }
        }
        return places.map { counter.value(of: $0.key) }
    }
}

/// Counts voxels by 16 bits of their order key, for each of some prefixes above those bits.
private struct KeyCounter: VoxelVisitor {
    /// Lowest bit that is counted; nil until the first voxels tell how wide the keys are.
    private var shift: UInt64?
    private let prefixes: [UInt64]
    private var counts: [[UInt32]]
    private var real: (UInt64) -> Double = { _ in 0 }

    /// - Parameter shift: the lowest bit of the pass before; nil for the first pass, which has no prefix.
    init(shift before: UInt64?, prefixes: [UInt64] = [0]) {
        shift = before.map { $0 - min($0, 16) }
        self.prefixes = prefixes
        counts = prefixes.map { _ in [UInt32](repeating: 0, count: 1 << 16) }
    }

    var lowestBit: UInt64 { shift ?? 0 }

    mutating func visit<T: VoxelScalar>(_ voxels: [T]) {
        let low = shift ?? UInt64(max(0, T.keyBits - 16))
        shift = low
        real = { T.fromKey($0).real }
        if T.keyBits == 8 { return countBytes(voxels) }
        let isFirst = low + 16 >= UInt64(T.keyBits)
        for index in prefixes.indices {
            // Moved out and back, so that the counters are not copied.
            var bins: [UInt32] = []
            swap(&bins, &counts[index])
            let prefix = prefixes[index]
            // A pointer, because an array would look who shares it for every voxel.
            unsafe bins.withUnsafeMutableBufferPointer { bins in
                let bins = bins.baseAddress!
                for voxel in voxels {
                    let key = voxel.orderKey >> low
                    if isFirst || key >> 16 == prefix { unsafe bins[Int(key & 0xffff)] += 1 }
                }
            }
            swap(&bins, &counts[index])
        }
    }

    /// Four counters for each byte, in turn: most of a head is air, and a counter that is raised again waits for itself.
    private mutating func countBytes<T: VoxelScalar>(_ voxels: [T]) {
        var bins = InlineArray<1024, UInt32>(repeating: 0)
        var span = bins.mutableSpan
        unsafe span.withUnsafeMutableBufferPointer { bins in
            let bins = bins.baseAddress!
            unsafe voxels.withUnsafeBufferPointer { voxels in
                for index in voxels.indices {
                    unsafe bins[(index & 3) << 8 | Int(truncatingIfNeeded: voxels[index].orderKey & 0xff)] += 1
                }
            }
            for bin in 0..<1024 { unsafe counts[0][bin & 0xff] += bins[bin] }
        }
    }

    /// The key (down to the lowest bit) that holds the given rank among those with the prefix, and the rank within it.
    func locate(_ rank: Int, prefix: UInt64) -> (key: UInt64, rest: Int) {
        let bins = counts[prefixes.firstIndex(of: prefix)!]
        var rest = rank
        for bin in bins.indices {
            if rest < Int(bins[bin]) { return (prefix << 16 | UInt64(bin), rest) }
            rest -= Int(bins[bin])
        }
        preconditionFailure("rank beyond the number of voxels")
    }

    func value(of key: UInt64) -> Double { real(key) }
}

private struct Moments: VoxelVisitor {
    let slope: Double
    let inter: Double
    var low = Double.infinity
    var high = -Double.infinity
    var sum = 0.0
    var count = 0
    var nonzero = 0

    init(slope: Double, inter: Double) {
        self.slope = slope
        self.inter = inter
    }

    var mean: Double { sum / Double(count) }
    var nonzeroMean: Double { nonzero > 0 ? sum / Double(nonzero) : 0 }

    mutating func visit<T: VoxelScalar>(_ voxels: [T]) {
        var (low, high) = (voxels[0], voxels[0])
        var (sum, nonzero) = (sum, nonzero)
        for voxel in voxels {
            low = min(low, voxel)
            high = max(high, voxel)
            let value = slope * voxel.real + inter
            // A zero adds nothing, so one sum serves both means.
            sum += value
            if value != 0 { nonzero += 1 }
        }
        (self.sum, self.nonzero) = (sum, nonzero)
        self.low = min(self.low, low.real)
        self.high = max(self.high, high.real)
        count += voxels.count
    }
}

private struct Squares: VoxelVisitor {
    let moments: Moments
    private var squares = 0.0
    private var nonzeroSquares = 0.0

    init(_ moments: Moments) {
        self.moments = moments
    }

    mutating func visit<T: VoxelScalar>(_ voxels: [T]) {
        let (mean, nonzeroMean) = (moments.mean, moments.nonzeroMean)
        var (squares, nonzeroSquares) = (squares, nonzeroSquares)
        for voxel in voxels {
            let value = moments.slope * voxel.real + moments.inter
            squares += (value - mean) * (value - mean)
            if value != 0 { nonzeroSquares += (value - nonzeroMean) * (value - nonzeroMean) }
        }
        (self.squares, self.nonzeroSquares) = (squares, nonzeroSquares)
    }

    var statistics: VoxelStatistics {
        let ends = [moments.low, moments.high].map { moments.slope * $0 + moments.inter }
        return VoxelStatistics(
            minimum: ends.min()!, maximum: ends.max()!, mean: moments.mean,
            deviation: (squares / Double(moments.count)).squareRoot(), nonzeroCount: moments.nonzero,
            nonzeroMean: moments.nonzeroMean,
            nonzeroDeviation: moments.nonzero > 0 ? (nonzeroSquares / Double(moments.nonzero)).squareRoot() : 0)
    }
}
