import Foundation
import Testing
import Volume

@Suite struct StatisticsTests {
    /// NumPy's rule, spelled out on a sorted copy.
    static func naive(_ values: [Double], _ q: Double) -> Double {
        let sorted = values.sorted()
        let position = q * Double(sorted.count - 1)
        let lower = Int(position)
        let upper = min(lower + 1, sorted.count - 1)
        let t = position - Double(lower)
        let gap = sorted[upper] - sorted[lower]
        return t < 0.5 ? sorted[lower] + gap * t : sorted[upper] - gap * (1 - t)
    }

    static func values(_ datatype: Int, _ count: Int, _ random: inout TestRandom) -> [Double] {
        let limits: [Int: ClosedRange<Double>] = [
            2: 0...255, 256: -128...127, 4: -32768...32767, 512: 0...65535, 8: -2_147_483_648...2_147_483_647,
            768: 0...4_294_967_295, 16: -1e6...1e6, 64: -1e-3...1e9, 1024: -2_147_483_648...2_147_483_647,
            1280: 0...2_147_483_647,
        ]
        let isFloat = datatype == 16 || datatype == 64
        return (0..<count).map { index in
            // Many zeros and repeats, as images have.
            if index % 3 == 0 { return 0 }
            let value = Double.random(in: limits[datatype]!, using: &random)
            return isFloat ? Double(Float(value)) : value.rounded()
        }
    }

    @Test(arguments: VoxelType.allCases) func quantilesEqualASort(_ type: VoxelType) throws {
        let folder = TemporaryFolder()
        var random = TestRandom(state: UInt64(type.rawValue))
        for (size, slope) in [
            ([11, 13, 17], 0.0), ([11, 13, 17], -2.5), ([1, 1, 1], 1), ([2, 1, 1], 1), ([25, 8, 5], 0.1),
        ] {
            var file = NIfTIBytes(
                dim: [3] + size + [1, 1, 1, 1], datatype: type.rawValue, slope: slope, inter: 3)
            file.values = Self.values(type.rawValue, file.count, &random)
            let volume = try VoxelVolume.read(path: folder.write("a.nii", file.file()))
            let m: Double = slope == 0 ? 1 : Double(Float(slope))
            let b: Double = slope == 0 ? 0 : 3
            let real = file.values!.map { m * $0 + b }
            let fractions = [0, 0.02, 0.25, 0.5, 0.731, 0.98, 0.999, 1]
            #expect(volume.quantiles(fractions) == fractions.map { Self.naive(real, $0) })
            let found = volume.statistics()
            #expect(found.minimum == real.min() && found.maximum == real.max())
            let mean = real.reduce(0, +) / Double(real.count)
            var squares = 0.0
            for value in real { squares += (value - mean) * (value - mean) }
            let deviation = (squares / Double(real.count)).squareRoot()
            #expect(found.mean == mean && found.deviation == deviation)
            let nonzero = real.filter { $0 != 0 }
            #expect(found.nonzeroCount == nonzero.count)
            let nonzeroMean = nonzero.reduce(0, +) / Double(max(1, nonzero.count))
            #expect(
                (found.nonzeroMean - nonzeroMean).magnitude <= 1e-9
                    * max(found.maximum.magnitude, found.minimum.magnitude))
        }
    }

    @Test func floatOrderIncludesSmallAndSigned() throws {
        let folder = TemporaryFolder()
        var file = NIfTIBytes(dim: [3, 9, 1, 1, 1, 1, 1, 1], datatype: 16)
        file.values = [1e-45, -1e-45, 0, -0.0, 3e38, -3e38, 1, -1, 2]
        let volume = try VoxelVolume.read(path: folder.write("a.nii", file.file()))
        let sorted = file.values!.map { Double(Float($0)) }.sorted()
        #expect((0..<9).map { volume.quantiles([Double($0) / 8])[0] } == sorted)
    }

    @Test(.enabled(if: SharedData.has(SharedData.t1), "needs ../shared/data/mri/t1_crop.nii.gz"))
    func t1Quantiles() throws {
        let volume = try VoxelVolume.read(path: SharedData.t1)
        #expect(volume.header.axisCodes == "LIA" && volume.dims == GridSize(256, 256, 256))
        #expect(volume.header.warnings.isEmpty && volume.header.form == .sform)
        #expect(volume.quantiles([0.02, 0.98]) == [0, 127])
        let start = GridSize(80, 80, 80)
        #expect(
            volume.cropped(start: start, size: GridSize(96, 96, 96)).quantiles([0.02, 0.98]) == [12, 135])
        let larger = volume.cropped(start: GridSize(64, 64, 64), size: GridSize(128, 128, 128))
        #expect(larger.quantiles([0.02, 0.98]) == [0, 134])
    }

    @Test(.enabled(if: SharedData.has(SharedData.reference), "needs ../shared/data/meshnet/reference"))
    func referenceLabels() throws {
        let labels = try VoxelVolume.read(path: SharedData.reference).labels()
        let found = Agreement(reference: labels, prediction: labels, emptyRule: .skip)
        #expect(found.labels.map(\.referenceVoxels) == [15_523_278, 502_706, 751_232])
        #expect(found.meanForegroundDice == 1 && found.voxelAgreement == 1)
    }

    @Test(.enabled(if: SharedData.has(SharedData.ch2), "needs Debian's mricron-data"))
    func ch2IsRead() throws {
        let volume = try VoxelVolume.read(path: SharedData.ch2)
        #expect(volume.dims == GridSize(181, 217, 181) && volume.header.axisCodes == "RAS")
        #expect(volume.header.spacing == SIMD3(1, 1, 1))
    }
}
