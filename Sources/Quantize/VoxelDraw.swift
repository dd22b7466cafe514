import GraphIR

/// Draws voxels: a fixed number, the same for the same inputs, spread over all of them. A voxel with a signal above the mean
/// counts four times as much as a weaker one, and air (exactly 0) not at all.
public struct VoxelDraw {
    private static let tissueWeight = 4.0

    /// By input: indices in the input's grid, ascending.
    public let voxels: [[Int]]
    let sizes: [Size3]

    public init(_ inputs: [FloatTensor], count: Int) {
        let weights = inputs.map(Self.weights)
        let total = weights.reduce(0) { $0 + $1.reduce(0) { $0 + Double($1) } }
        // One voxel in each of `count` parts of equal weight, at a random place in it.
        let part = max(total / Double(count), 1)
        var random = SplitMix()
        var passed = 0.0
        var next = part * random.fraction()
        var stratum = 0
        voxels = weights.map { weights in
            var result: [Int] = []
            for (index, weight) in weights.enumerated() where weight > 0 {
                passed += Double(weight)
                guard passed > next else { continue }
                result.append(index)
                while passed > next {
                    stratum += 1
                    next = part * (Double(stratum) + random.fraction())
                }
            }
            return result
        }
        sizes = inputs.map(\.size)
    }

    private static func weights(_ input: FloatTensor) -> [UInt8] {
        let count = input.size.count
        var signal = [Float](repeating: 0, count: count)
        for c in 0..<input.channels {
            for i in 0..<count { signal[i] += abs(input.values[c * count + i]) }
        }
        let active = signal.reduce((sum: 0.0, count: 0)) { ($0.sum + Double($1), $0.count + ($1 != 0 ? 1 : 0)) }
        let mean = Float(active.sum / Double(max(1, active.count)))
        // An input without any signal is drawn from evenly.
        return signal.map { $0 == 0 && active.count > 0 ? 0 : $0 > mean ? UInt8(Self.tissueWeight) : 1 }
    }

    /// The voxels that lie in the same places of a coarser or smaller grid, without repetition.
    func voxels(of input: Int, in grid: Size3) -> [Int] {
        let size = sizes[input]
        guard grid != size else { return voxels[input] }
        var result: [Int] = []
        var seen = Set<Int>()
        for index in voxels[input] {
            let (z, y, x) = (index / (size.height * size.width), index / size.width % size.height, index % size.width)
            let place =
                (z * grid.depth / size.depth * grid.height + y * grid.height / size.height) * grid.width + x * grid.width
                / size.width
            if seen.insert(place).inserted { result.append(place) }
        }
        return result
    }
}

/// Numbers that look random and are always the same (Steele et al. 2014, SplitMix64).
struct SplitMix {
    private var state: UInt64 = 0x9E37_79B9_7F4A_7C15

    init(seed: UInt64 = 0) { state &+= seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }

    /// 0 ..< 1.
    mutating func fraction() -> Double { Double(next() >> 11) * 0x1p-53 }
}
