/// From the stored axes to a wanted anatomical order by permutation and flips only; nothing is interpolated, so
/// the way back is exact.
public struct AxisMap: Equatable, Sendable {
    /// One letter of an axis code: the world axis (0 right, 1 anterior, 2 superior) and whether it runs the other way.
    struct Direction: Equatable {
        let world: Int
        let isNegative: Bool
    }

    /// All orders of three axes.
    static let permutations = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]

    /// For each model axis the stored axis that it is.
    public let storedAxis: [Int]
    /// For each model axis whether it runs against the stored one.
    public let isFlipped: [Bool]

    /// Takes codes such as "LIA" or "ras"; nil when a letter is unknown or a world axis is missing.
    static func parse(_ codes: String) -> [Direction]? {
        var result: [Direction] = []
        for letter in codes.uppercased() {
            switch letter {
            case "R": result.append(Direction(world: 0, isNegative: false))
            case "L": result.append(Direction(world: 0, isNegative: true))
            case "A": result.append(Direction(world: 1, isNegative: false))
            case "P": result.append(Direction(world: 1, isNegative: true))
            case "S": result.append(Direction(world: 2, isNegative: false))
            case "I": result.append(Direction(world: 2, isNegative: true))
            default: return nil
            }
        }
        return result.count == 3 && Set(result.map(\.world)).count == 3 ? result : nil
    }

    /// - Returns: nil when a code is not three letters, one of R/L, A/P, S/I each.
    public init?(stored: String, model: String) {
        guard let from = Self.parse(stored), let to = Self.parse(model) else { return nil }
        var axes: [Int] = []
        var flips: [Bool] = []
        for direction in to {
            let axis = from.firstIndex { $0.world == direction.world }!
            axes.append(axis)
            flips.append(from[axis].isNegative != direction.isNegative)
        }
        storedAxis = axes
        isFlipped = flips
    }

    public var isIdentity: Bool { storedAxis == [0, 1, 2] && isFlipped == [false, false, false] }

    /// The stored grid in model axis order.
    public func modelSize(of stored: GridSize) -> GridSize {
        GridSize(stored[storedAxis[0]], stored[storedAxis[1]], stored[storedAxis[2]])
    }

    /// The stored voxel sizes in model axis order.
    public func modelSpacing(of stored: SIMD3<Double>) -> SIMD3<Double> {
        SIMD3(stored[storedAxis[0]], stored[storedAxis[1]], stored[storedAxis[2]])
    }

    /// Gathers stored voxels (x fastest) into model order (its first axis fastest).
    public func forward<T>(_ voxels: [T], size: GridSize) -> [T] {
        precondition(voxels.count == size.count)
        let out = modelSize(of: size)
        let steps = [1, size.x, size.x * size.y]
        let offsets = (0..<3).map { axis in
            (0..<out[axis]).map { (isFlipped[axis] ? out[axis] - 1 - $0 : $0) * steps[storedAxis[axis]] }
        }
        return Self.gather(voxels, offsets)
    }

    /// The exact inverse of `forward`. `size` is that of the stored grid.
    public func inverse<T>(_ voxels: [T], size: GridSize) -> [T] {
        precondition(voxels.count == size.count)
        let model = modelSize(of: size)
        let steps = [1, model.x, model.x * model.y]
        var offsets: [[Int]] = [[], [], []]
        for axis in 0..<3 {
            offsets[storedAxis[axis]] = (0..<model[axis]).map {
                (isFlipped[axis] ? model[axis] - 1 - $0 : $0) * steps[axis]
            }
        }
        return Self.gather(voxels, offsets)
    }

    /// out[i,j,k] = voxels[x[i] + y[j] + z[k]], i fastest.
    private static func gather<T>(_ voxels: [T], _ offsets: [[Int]]) -> [T] {
        var result: [T] = []
        result.reserveCapacity(voxels.count)
        for plane in offsets[2] {
            for row in offsets[1] {
                for column in offsets[0] { result.append(voxels[plane + row + column]) }
            }
        }
        return result
    }
}
