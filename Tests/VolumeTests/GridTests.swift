import Foundation
import Testing
import Volume

@Suite struct GridTests {
    static func ras(_ spacing: [Double]) -> [Double] { OrientationTests.rows("RAS", spacing) }

    @Test func sameSpacingIsIdentity() throws {
        let grid = try GridMap(
            path: "a", inputSize: GridSize(10, 11, 12), inputSpacing: SIMD3(1.005, 0.995, 1),
            modelSpacing: SIMD3(1, 1, 1))
        #expect(grid.isIdentity && !grid.interpolates)
        let other = try GridMap(
            path: "a", inputSize: GridSize(10, 11, 12), inputSpacing: SIMD3(1.02, 1, 1),
            modelSpacing: SIMD3(1, 1, 1))
        #expect(!other.isIdentity && other.interpolates)
        #expect(other.modelSize == GridSize(10, 11, 12))
    }

    @Test func centrePadAndCrop() throws {
        // 5 -> 8 pads 1 before and 2 after, 6 -> 3 drops 1 before and 2 after; the way back restores what was inside.
        let values = (0..<5 * 6 * 2).map { Double($0 + 1) }
        let volume = try CodingTests.volume(values, [5, 6, 2], srow: Self.ras([1, 1, 1]))
        var input = try CodingTests.input(
            volume, model: "RAS", map: IntensityMap(offset: 0), scale: 1, zeroPoint: UInt8(3),
            size: GridSize(8, 3, 0))
        #expect(input.grid.modelSize == GridSize(8, 3, 2) && !input.grid.interpolates)
        let codes = input.codes()
        for z in 0..<2 {
            for y in 0..<3 {
                for x in 0..<8 {
                    let inside = (1...5).contains(x)
                    let expected = inside ? values[(z * 6 + y + 1) * 5 + x - 1] + 3 : 3
                    #expect(codes[(z * 3 + y) * 8 + x] == UInt8(expected))
                }
            }
        }
        let back = LabelReturn(axisMap: input.axisMap, grid: input.grid).labels(from: codes)
        for z in 0..<2 {
            for y in 0..<6 {
                for x in 0..<5 {
                    let index = (z * 6 + y) * 5 + x
                    #expect(back[index] == ((1...3).contains(y) ? UInt8(values[index] + 3) : 0))
                }
            }
        }
    }

    @Test func padAndCropInEveryOrientation() throws {
        let values = (0..<5 * 6 * 4).map { Double($0 + 1) }
        for code in OrientationTests.codes {
            let volume = try CodingTests.volume(
                values, [5, 6, 4], srow: OrientationTests.rows(code, [1, 1, 1]))
            var input = try CodingTests.input(
                volume, model: "RAS", map: IntensityMap(offset: 0), scale: 1, zeroPoint: UInt8(0),
                size: GridSize(9, 9, 9))
            let back = LabelReturn(axisMap: input.axisMap, grid: input.grid).labels(from: input.codes())
            #expect(back == values.map { UInt8($0) }, "\(code)")
        }
    }

    /// Trilinear interpolation straight from the definition, one voxel at a time.
    static func reference(_ volume: VoxelVolume, _ grid: GridMap, _ x: Int, _ y: Int, _ z: Int) -> Double {
        var base = [0, 0, 0]
        var share = [0.0, 0, 0]
        for (axis, index) in [x, y, z].enumerated() {
            let scale = grid.axes[axis]
            let position = Double(index) * scale.ratio + scale.offset
            if position < -0.5 || position > Double(scale.inputCount) - 0.5 { return 0 }
            let inside = min(max(position, 0), Double(scale.inputCount - 1))
            base[axis] = Int(inside)
            share[axis] = inside - Double(base[axis])
        }
        var sum = 0.0
        for corner in 0..<8 {
            var weight = 1.0
            var at = base
            for axis in 0..<3 {
                let up = corner >> axis & 1
                weight *= up == 1 ? share[axis] : 1 - share[axis]
                at[axis] = min(base[axis] + up, grid.axes[axis].inputCount - 1)
            }
            sum += weight * volume.value(at: (at[2] * volume.dims.y + at[1]) * volume.dims.x + at[0])
        }
        return sum
    }

    @Test(arguments: [4, 16]) func interpolatesRealValues(_ type: Int) throws {
        // Half a code of rounding, and that of x to float32: of 104 at most, half of 2^-17 of it.
        try interpolates(type, scale: 0.5, UInt8(0), most: 0.5 + 1e-4)
        try interpolates(type, scale: 0x1p-8, Int16(0), most: 0.5 + 1e-3)
    }

    private func interpolates<Code: InputCode>(
        _ type: Int, scale: Double, _ zeroPoint: Code, most: Double
    ) throws {
        var random = TestRandom(state: 5)
        let values = (0..<9 * 8 * 7).map { _ in Double.random(in: 0...200, using: &random).rounded() }
        let volume = try CodingTests.volume(
            values, [9, 8, 7], datatype: type, slope: 0.5, inter: 4, srow: Self.ras([0.8, 1.3, 2]))
        for size in [GridSize(0, 0, 0), GridSize(12, 12, 12), GridSize(5, 4, 20)] {
            var input = try CodingTests.input(
                volume, model: "RAS", map: IntensityMap(offset: 0), scale: scale, zeroPoint: zeroPoint, spacing: 1,
                size: size)
            #expect(input.grid.interpolates)
            let codes = input.codes()
            let model = input.grid.modelSize
            var worst = 0.0
            for z in 0..<model.z {
                for y in 0..<model.y {
                    for x in 0..<model.x {
                        let expected = Self.reference(volume, input.grid, x, y, z) / scale
                        worst = max(
                            worst, (expected - Double(codes[(z * model.y + y) * model.x + x])).magnitude)
                    }
                }
            }
            #expect(worst <= most && Set(codes).count > 50)
        }
    }

    @Test func interpolationFollowsTheOrientation() throws {
        // The same anatomy stored in another order gives the same model input.
        let size = GridSize(6, 7, 8)
        let values = (0..<size.count).map { Double($0 * 29 % 211) }
        let plain = try CodingTests.volume(values, [6, 7, 8], srow: Self.ras([0.7, 1.4, 2]))
        var first = try CodingTests.input(
            plain, model: "RAS", map: IntensityMap(offset: 0), scale: 1, zeroPoint: UInt8(0), spacing: 1)
        let expected = first.codes()
        for code in OrientationTests.codes {
            let map = try #require(AxisMap(stored: "RAS", model: code))
            let moved = map.forward(values, size: size)
            let dims = map.modelSize(of: size)
            let spacing = map.modelSpacing(of: SIMD3(0.7, 1.4, 2))
            let volume = try CodingTests.volume(
                moved, [dims.x, dims.y, dims.z],
                srow: OrientationTests.rows(code, [spacing.x, spacing.y, spacing.z]))
            var input = try CodingTests.input(
                volume, model: "RAS", map: IntensityMap(offset: 0), scale: 1, zeroPoint: UInt8(0), spacing: 1)
            #expect(input.codes() == expected, "\(code)")
        }
    }

    @Test func labelsComeBackToTheInputGrid() throws {
        // A box labelled on a coarse grid keeps its place and size in mm on the fine one.
        let volume = try CodingTests.volume(
            [Double](repeating: 1, count: 40 * 40 * 40), [40, 40, 40], srow: Self.ras([0.5, 0.5, 0.5]))
        let input = try CodingTests.input(
            volume, model: "RAS", map: IntensityMap(offset: 0), scale: 1, zeroPoint: UInt8(0), spacing: 1)
        #expect(input.grid.modelSize == GridSize(20, 20, 20))
        var labels = [UInt8](repeating: 0, count: 8000)
        for z in 5..<10 { for y in 6..<9 { for x in 3..<15 { labels[(z * 20 + y) * 20 + x] = 2 } } }
        let back = LabelReturn(axisMap: input.axisMap, grid: input.grid).labels(from: labels)
        for z in 0..<40 {
            for y in 0..<40 {
                for x in 0..<40 {
                    let inside = (10..<20).contains(z) && (12..<18).contains(y) && (6..<30).contains(x)
                    #expect(back[(z * 40 + y) * 40 + x] == (inside ? 2 : 0))
                }
            }
        }
    }

    @Test func absurdGridsAreRefused() {
        let error = volumeError { () throws(VolumeError) in
            _ = try GridMap(
                path: "a.nii", inputSize: GridSize(100, 100, 100), inputSpacing: SIMD3(1e9, 1, 1),
                modelSpacing: SIMD3(1, 1, 1))
        }
        #expect(error?.exitCode == 4 && error?.description.contains("must be 1...32767") == true)
    }
}
