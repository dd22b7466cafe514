import Foundation
import Testing
import Volume

/// A pair of masks on a small grid: bit 0 reference, bit 1 prediction.
private struct Masks {
    var bits: [UInt8]
    var size: GridSize
    var spacing: SIMD3<Double>

    init(_ size: GridSize, _ spacing: SIMD3<Double>) {
        bits = [UInt8](repeating: 0, count: size.count)
        self.size = size
        self.spacing = spacing
    }

    static func random(_ random: inout TestRandom) -> Masks {
        let size = GridSize(
            Int.random(in: 1...9, using: &random), Int.random(in: 1...9, using: &random),
            Int.random(in: 1...9, using: &random))
        let spacing = SIMD3<Double>(
            .random(in: 0.3...4, using: &random), .random(in: 0.3...4, using: &random),
            .random(in: 0.3...4, using: &random))
        var masks = Masks(size, spacing)
        // From a few voxels to nearly full, so that surfaces differ from masks.
        let share = Double.random(in: 0.02...0.95, using: &random)
        for index in masks.bits.indices {
            for bit: UInt8 in [1, 2] where Double.random(in: 0...1, using: &random) < share { masks.bits[index] |= bit }
        }
        return masks
    }

    var hd95: Double? { SurfaceDistance(masks: bits, size: size).hd95(spacing: spacing) }

    func at(_ x: Int, _ y: Int, _ z: Int) -> UInt8 {
        guard x >= 0, y >= 0, z >= 0, x < size.x, y < size.y, z < size.z else { return 0 }
        return bits[(z * size.y + y) * size.x + x]
    }

    mutating func set(_ bit: UInt8, _ x: Int, _ y: Int, _ z: Int) { bits[(z * size.y + y) * size.x + x] |= bit }

    /// Places in mm of the surface voxels, straight from the definition.
    func surface(_ bit: UInt8) -> [SIMD3<Double>] {
        var places: [SIMD3<Double>] = []
        for z in 0..<size.z {
            for y in 0..<size.y {
                for x in 0..<size.x where at(x, y, z) & bit != 0 {
                    let around = [
                        at(x - 1, y, z), at(x + 1, y, z), at(x, y - 1, z), at(x, y + 1, z), at(x, y, z - 1),
                        at(x, y, z + 1),
                    ]
                    if around.contains(where: { $0 & bit == 0 }) {
                        places.append(SIMD3(Double(x), Double(y), Double(z)) * spacing)
                    }
                }
            }
        }
        return places
    }

    /// HD95 by comparing every pair.
    var naive: Double? {
        let (a, b) = (surface(1), surface(2))
        guard !a.isEmpty, !b.isEmpty else { return nil }
        func directed(_ from: [SIMD3<Double>], _ to: [SIMD3<Double>]) -> Double {
            let nearest = from.map { p in
                to.map { q in
                    let d = p - q
                    return (d * d).sum().squareRoot()
                }.min()!
            }
            return StatisticsTests.naive(nearest, 0.95)
        }
        return max(directed(a, b), directed(b, a))
    }

    /// The same masks with the axes in another order.
    func permuted(_ order: [Int]) -> Masks {
        var result = Masks(
            GridSize(size[order[0]], size[order[1]], size[order[2]]),
            SIMD3(spacing[order[0]], spacing[order[1]], spacing[order[2]]))
        for z in 0..<size.z {
            for y in 0..<size.y {
                for x in 0..<size.x {
                    let old = [x, y, z]
                    result.set(at(x, y, z), old[order[0]], old[order[1]], old[order[2]])
                }
            }
        }
        return result
    }
}

@Suite struct SurfaceDistanceTests {
    @Test func equalsAllPairs() {
        var random = TestRandom(state: 21)
        var compared = 0
        for round in 0..<400 {
            let masks = Masks.random(&random)
            let (found, expected) = (masks.hd95, masks.naive)
            #expect((found == nil) == (expected == nil), "round \(round)")
            guard let found, let expected else { continue }
            compared += 1
            #expect((found - expected).magnitude <= 1e-12 * max(1, expected), "round \(round)")
        }
        #expect(compared > 300)
    }

    @Test func identicalMasksAreAtZero() {
        var random = TestRandom(state: 22)
        for _ in 0..<50 {
            var masks = Masks.random(&random)
            masks.bits = masks.bits.map { $0 & 1 == 0 ? 0 : 3 }
            masks.bits[0] = 3
            #expect(masks.hd95 == 0)
        }
    }

    /// One voxel moved by k along an axis is k times the spacing away, exactly.
    @Test(arguments: 0..<3) func shiftIsTimesSpacing(_ axis: Int) {
        let spacing = SIMD3<Double>(0.75, 1.5, 4.25)
        for k in 0..<8 {
            var masks = Masks(GridSize(9, 10, 11), spacing)
            var place = [1, 1, 1]
            masks.set(1, place[0], place[1], place[2])
            place[axis] += k
            masks.set(2, place[0], place[1], place[2])
            #expect(masks.hd95 == Double(k) * spacing[axis])
        }
    }

    @Test func axisOrderDoesNotMatter() {
        var random = TestRandom(state: 23)
        for _ in 0..<40 {
            let masks = Masks.random(&random)
            guard let expected = masks.hd95 else { continue }
            for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let found = masks.permuted(order).hd95!
                #expect((found - expected).magnitude <= 1e-12 * max(1, expected), "\(order)")
            }
        }
    }

    @Test func swappingTheMasksChangesNothing() {
        var random = TestRandom(state: 24)
        for _ in 0..<40 {
            var masks = Masks.random(&random)
            let before = masks.hd95
            masks.bits = masks.bits.map { $0 >> 1 | ($0 & 1) << 1 }
            #expect(masks.hd95 == before)
        }
    }
}
