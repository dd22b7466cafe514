import GraphIR

/// Draws voxels: a fixed number, the same for the same inputs, spread over all of them. A voxel with a signal above the mean
/// counts four times as much as a weaker one, and air (exactly 0) not at all. Where labels are known, a voxel at the border of
/// two of them, which is where a little noise can change one, counts sixteen times, another voxel of a structure eight times.
public struct VoxelDraw: Sendable {
    private static let tissueWeight: UInt8 = 4
    private static let structureWeight: UInt8 = 8
    private static let borderWeight: UInt8 = 16

    /// By input: indices in the input's grid, ascending.
    public let voxels: [[Int]]
    let sizes: [Size3]

    /// - Parameter labels: by input, class indices; 0 is no structure.
    public init(_ inputs: [FloatTensor], labels: [[UInt16]] = [], count: Int) {
        var weights = inputs.map(Self.weights)
        for (index, labels) in labels.enumerated() { Self.mark(labels, inputs[index].size, &weights[index]) }
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
        return signal.map { $0 == 0 && active.count > 0 ? 0 : $0 > mean ? Self.tissueWeight : 1 }
    }

    private static func mark(_ labels: [UInt16], _ size: Size3, _ weights: inout [UInt8]) {
        var voxel = 0
        for z in 0..<size.depth {
            for y in 0..<size.height {
                for x in 0..<size.width {
                    let own = labels[voxel]
                    let isBorder =
                        x > 0 && labels[voxel - 1] != own || x + 1 < size.width && labels[voxel + 1] != own
                        || y > 0 && labels[voxel - size.width] != own
                        || y + 1 < size.height && labels[voxel + size.width] != own
                        || z > 0 && labels[voxel - size.width * size.height] != own
                        || z + 1 < size.depth && labels[voxel + size.width * size.height] != own
                    if isBorder { weights[voxel] = borderWeight } else if own != 0 { weights[voxel] = structureWeight }
                    voxel += 1
                }
            }
        }
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
                (z * grid.depth / size.depth * grid.height + y * grid.height / size.height) * grid.width + x
                * grid.width
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
