import Foundation
import Testing
import Volume

@Suite struct CodingTests {
    static func volume(
        _ values: [Double], _ dim: [Int], datatype: Int = 2, slope: Double = 0, inter: Double = 0,
        srow: [Double]? = nil
    ) throws -> VoxelVolume {
        let folder = TemporaryFolder()
        var file = NIfTIBytes(dim: [3] + dim + [1, 1, 1, 1], datatype: datatype, slope: slope, inter: inter)
        file.values = values
        if let srow {
            file.srow = srow
            let spacing = Affine(rows: srow).spacing
            for axis in 0..<3 { file.pixdim[axis + 1] = spacing[axis] }
        }
        return try VoxelVolume.read(path: folder.write("a.nii", file.file()))
    }

    static func input<Code: InputCode>(
        _ volume: VoxelVolume, model: String, map: IntensityMap, scale: Double, zeroPoint: Code,
        spacing: Double = 0, size: GridSize = GridSize(0, 0, 0)
    ) throws -> ModelInput<Code> {
        let axes = try #require(AxisMap(stored: volume.header.axisCodes, model: model))
        let grid = try GridMap(
            path: volume.header.path, inputSize: axes.modelSize(of: volume.dims),
            inputSpacing: axes.modelSpacing(of: volume.header.spacing),
            modelSpacing: SIMD3(repeating: spacing), modelSize: size)
        return ModelInput(
            volume: volume, axisMap: axes, grid: grid,
            coder: VoxelCoder(map: map, scale: scale, zeroPoint: zeroPoint))
    }

    /// The definition in one line, on a value.
    static func reference<Code: InputCode>(
        _ v: Double, _ q: (Double, Double), _ scale: Double, _ zeroPoint: Code
    ) -> Code {
        let x = Float(min(max((v - q.0) / (q.1 - q.0 + 0.001), 0), 1))
        let code = (Double(x) / scale + 0.5).rounded(.down) + Double(zeroPoint)
        return Code(min(max(code, Double(Code.min)), Double(Code.max)))
    }

    @Test(arguments: VoxelType.allCases) func quantileCodesFollowTheDefinition(_ type: VoxelType) throws {
        try quantileCodes(type, scale: 1.0 / 200, zeroPoint: UInt8(13))
        // The largest codes, and some beyond the type.
        try quantileCodes(type, scale: 1.0 / 32767, zeroPoint: Int16(0))
        try quantileCodes(type, scale: 1.0 / 40000, zeroPoint: Int16(0))
    }

    private func quantileCodes<Code: InputCode>(_ type: VoxelType, scale: Double, zeroPoint: Code) throws {
        var random = TestRandom(state: 99)
        let values = StatisticsTests.values(type.rawValue, 7 * 6 * 5, &random)
        for slope in [0, -0.5] {
            let volume = try Self.volume(values, [7, 6, 5], datatype: type.rawValue, slope: slope, inter: 2)
            let real = (0..<values.count).map(volume.value)
            let q = (StatisticsTests.naive(real, 0.02), StatisticsTests.naive(real, 0.98))
            var warnings: [String] = []
            let map = IntensityMap(
                .quantile(low: 0.02, high: 0.98, epsilon: 0.001), of: volume, warnings: &warnings)
            var input = try Self.input(
                volume, model: volume.header.axisCodes, map: map, scale: scale, zeroPoint: zeroPoint)
            let codes = input.codes()
            #expect(codes == real.map { Self.reference($0, q, scale, zeroPoint) } && Set(codes).count > 1)
            #expect(warnings.isEmpty)
        }
    }

    @Test func codesArriveInModelOrder() throws {
        try codesArriveInModelOrder(UInt8.self) { UInt8($0) }
        try codesArriveInModelOrder(Int16.self) { Int16($0) * 100 }
    }

    private func codesArriveInModelOrder<Code: InputCode>(_ type: Code.Type, _ code: (Double) -> Code) throws {
        let scale = 1 / Double(code(1))
        // All 48 stored orders, in and out of the block size, against AxisMap's plain gather.
        for dim in [[3, 4, 5], [40, 33, 35]] {
            let count = dim.reduce(1, *)
            let values = (0..<count).map { Double($0 * 31 % 251) }
            for order in OrientationTests.codes {
                let volume = try Self.volume(values, dim, srow: OrientationTests.rows(order, [1, 1, 1]))
                var input = try Self.input(
                    volume, model: "RAS", map: IntensityMap(offset: 0), scale: scale, zeroPoint: Code(0))
                let expected = input.axisMap.forward(values.map(code), size: volume.dims)
                // Compared outside the macro, which would search for the smallest difference of long arrays.
                let isSame = input.codes() == expected
                #expect(isSame, "\(order)")
                // A band of planes, one lane of four.
                let size = input.grid.modelSize
                var part = [Code](repeating: .max, count: 2 * size.x * size.y * 4)
                var span = part.mutableSpan
                input.write(planes: 1..<3, into: &span, stride: 4, lane: 2)
                let band = Array(expected[size.x * size.y..<3 * size.x * size.y])
                let isBand = stride(from: 2, to: part.count, by: 4).map { part[$0] } == band
                #expect(isBand, "\(order)")
                #expect(stride(from: 0, to: part.count, by: 4).allSatisfy { part[$0] == .max })
                let back = LabelReturn(axisMap: input.axisMap, grid: input.grid).labels(from: expected)
                let returns = back == values.map(code)
                #expect(returns, "\(order)")
            }
        }
    }

    @Test func flatImagesGiveTheZeroCode() throws {
        let rules: [Normalization] = [
            .quantile(low: 0.02, high: 0.98, epsilon: 0), .quantile(low: 0.02, high: 0.98, epsilon: 0.001),
            .minMax, .zScore(nonzeroOnly: false, clip: 5), .zScore(nonzeroOnly: true, clip: 0),
        ]
        for value in [0.0, 7] {
            for type in [2, 16] {
                let volume = try Self.volume(
                    [Double](repeating: value, count: 60), [5, 4, 3], datatype: type)
                for rule in rules {
                    var warnings: [String] = []
                    let map = IntensityMap(rule, of: volume, warnings: &warnings)
                    var input = try Self.input(volume, model: "RAS", map: map, scale: 0.01, zeroPoint: UInt8(31))
                    #expect(input.codes() == [UInt8](repeating: 31, count: 60))
                    #expect(warnings.count == 1 && warnings[0].contains("constant image"))
                }
            }
        }
        // One odd voxel: the quantiles agree, so without epsilon there is nothing to divide by.
        var values = [Double](repeating: 0, count: 60 * 60)
        values[5] = 9
        var warnings: [String] = []
        let map = try IntensityMap(rules[0], of: Self.volume(values, [60, 60, 1]), warnings: &warnings)
        #expect(map.number(9) == 0 && warnings.count == 1 && warnings[0].contains("no contrast"))
    }

    @Test func zScoreAndMinMax() throws {
        let volume = try Self.volume([0, 0, 10, 20], [4, 1, 1])
        var warnings: [String] = []
        let all = IntensityMap(.zScore(nonzeroOnly: false, clip: 1), of: volume, warnings: &warnings)
        #expect(
            all.number(7.5) == 0 && all.number(20) == 1 && all.number(0) == Float(-7.5 / 68.75.squareRoot()))
        let masked = IntensityMap(.zScore(nonzeroOnly: true, clip: 0), of: volume, warnings: &warnings)
        #expect(masked.number(0) == 0 && masked.number(10) == -1 && masked.number(20) == 1)
        let range = IntensityMap(.minMax, of: volume, warnings: &warnings)
        #expect(range.number(5) == 0.25 && range.number(-1) == 0 && range.number(99) == 1)
        #expect(warnings.isEmpty)
    }

    @Test func extremeValuesNeitherTrapNorGiveNaN() {
        let coder = VoxelCoder<UInt8>(
            map: IntensityMap(offset: -1e308, divisor: 1e-300), scale: 1e-300, zeroPoint: 128)
        let wide = VoxelCoder<Int16>(
            map: IntensityMap(offset: -1e308, divisor: 1e-300), scale: 1e-300, zeroPoint: 0)
        for value in [
            -1e308, 1e308, 0, .greatestFiniteMagnitude, -.greatestFiniteMagnitude, .infinity, -.infinity,
            .nan,
        ] { _ = (coder.code(value), wide.code(value)) }
        #expect(coder.code(1e308) == 255 && wide.code(1e308) == 32767)
        let plain = IntensityMap(offset: 0)
        #expect(VoxelCoder<UInt8>(map: plain, scale: 1, zeroPoint: 128).code(-.greatestFiniteMagnitude) == 0)
        #expect(VoxelCoder<UInt8>(map: plain, scale: 1, zeroPoint: 7).code(.nan) == 7)
        #expect(VoxelCoder<Int16>(map: plain, scale: 1, zeroPoint: 0).code(-.greatestFiniteMagnitude) == -32768)
        #expect(VoxelCoder<Int16>(map: plain, scale: 1, zeroPoint: 0).code(.nan) == 0)
    }

    @Test func roundsHalfUp() {
        let coder = VoxelCoder<UInt8>(map: IntensityMap(offset: 0), scale: 1, zeroPoint: 100)
        #expect([-1.5, -0.5, 0.5, 1.5, 2.49].map(coder.code) == [99, 100, 101, 102, 102])
        let wide = VoxelCoder<Int16>(map: IntensityMap(offset: 0), scale: 1, zeroPoint: 0)
        #expect([-1.5, -0.5, 0.5, 1.5, 2.49, -999.7].map(wide.code) == [-1, 0, 1, 2, 2, -1000])
    }
}
