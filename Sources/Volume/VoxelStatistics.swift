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

extension VoxelVolume {
    /// Quantiles at `fractions` (0...1) with NumPy's default rule: of the N sorted values take rank p = q * (N - 1) and
    /// interpolate linearly between its neighbours, in double.
    ///
    /// Exact without a sorted copy: a histogram for up to 16 bits, else a radix selection that passes over the voxels
    /// once per 16 key bits and distinct rank (2 MiB of counters at most).
    public func quantiles(_ fractions: [Double]) -> [Double] {
        let count = dims.count
        var ranks: [Int] = []
        for fraction in fractions {
            precondition(fraction >= 0 && fraction <= 1, "a quantile is in 0...1")
            let lower = Int((fraction * Double(count - 1)).rounded(.down))
            ranks += [lower, min(lower + 1, count - 1)]
        }
        // A negative slope reverses the order: the k-th smallest real value has the k-th largest stored one.
        let stored = header.slope < 0 ? ranks.map { count - 1 - $0 } : ranks
        var visitor = RankVisitor(ranks: stored)
        let values = voxels.apply(&visitor).map { header.slope * $0 + header.inter }
        return fractions.indices.map { index in
            let position = fractions[index] * Double(count - 1)
            let share = position - position.rounded(.down)
            let low = values[2 * index]
            let gap = values[2 * index + 1] - low
            // From the nearer end, as NumPy does, so that the last bit agrees.
            return share < 0.5 ? low + gap * share : values[2 * index + 1] - gap * (1 - share)
        }
    }

    /// Extremes, mean and deviation. Sums run in double in voxel order, mean first, then squared distances.
    public func statistics() -> VoxelStatistics {
        var visitor = MomentVisitor(slope: header.slope, inter: header.inter)
        return voxels.apply(&visitor)
    }
}

/// Stored values at the given ranks of the sorted volume.
private struct RankVisitor: VoxelVisitor {
    let ranks: [Int]

    func visit<T: VoxelScalar>(_ voxels: [T]) -> [Double] {
        var top = [Int](repeating: 0, count: 1 << min(16, T.keyBits))
        let topShift = UInt64(max(0, T.keyBits - 16))
        for voxel in voxels { top[Int(voxel.orderKey >> topShift)] += 1 }
        var known: [Int: Double] = [:]
        for rank in ranks where known[rank] == nil {
            var (prefix, rest) = Self.locate(rank, in: top)
            var shift = topShift
            while shift > 0 {
                var counts = [Int](repeating: 0, count: 1 << 16)
                for voxel in voxels where voxel.orderKey >> shift == prefix {
                    counts[Int(voxel.orderKey >> (shift - 16) & 0xffff)] += 1
                }
                let next = Self.locate(rest, in: counts)
                prefix = prefix << 16 | next.bin
                rest = next.rest
                shift -= 16
            }
            known[rank] = T.fromKey(prefix).real
        }
        return ranks.map { known[$0]! }
    }

    /// The bin that holds the given rank, and the rank within it.
    private static func locate(_ rank: Int, in counts: [Int]) -> (bin: UInt64, rest: Int) {
        var rest = rank
        for bin in counts.indices {
            if rest < counts[bin] { return (UInt64(bin), rest) }
            rest -= counts[bin]
        }
        preconditionFailure("rank beyond the number of voxels")
    }
}

private struct MomentVisitor: VoxelVisitor {
    let slope: Double
    let inter: Double

    func visit<T: VoxelScalar>(_ voxels: [T]) -> VoxelStatistics {
        var low = voxels[0]
        var high = voxels[0]
        var sum = 0.0
        var nonzero = 0
        for voxel in voxels {
            low = min(low, voxel)
            high = max(high, voxel)
            let value = slope * voxel.real + inter
            // A zero adds nothing, so one sum serves both means.
            sum += value
            if value != 0 { nonzero += 1 }
        }
        let mean = sum / Double(voxels.count)
        let nonzeroMean = nonzero > 0 ? sum / Double(nonzero) : 0
        var squares = 0.0
        var nonzeroSquares = 0.0
        for voxel in voxels {
            let value = slope * voxel.real + inter
            squares += (value - mean) * (value - mean)
            if value != 0 { nonzeroSquares += (value - nonzeroMean) * (value - nonzeroMean) }
        }
        let ends = [slope * low.real + inter, slope * high.real + inter]
        return VoxelStatistics(
            minimum: ends.min()!, maximum: ends.max()!, mean: mean,
            deviation: (squares / Double(voxels.count)).squareRoot(), nonzeroCount: nonzero,
            nonzeroMean: nonzeroMean,
            nonzeroDeviation: nonzero > 0 ? (nonzeroSquares / Double(nonzero)).squareRoot() : 0)
    }
}
