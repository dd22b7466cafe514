import Foundation
import MKRuntime
import Ops
import Testing

@testable import Volume

/// Codes and labels that wait on disk, and images read slice by slice, against the whole volume in memory.
@Suite struct StoreTests {
    /// The 48 orders and directions of three axes.
    static let orientations: [String] = AxisMap.permutations.flatMap { order in
        (0..<8).map { signs in
            String(
                order.enumerated().map { index, world in
                    Array(["RL", "AP", "SI"][world])[signs >> index & 1]
                })
        }
    }

    private func header(_ folder: TemporaryFolder, _ type: VoxelType, seed: UInt64) throws -> NIfTIHeader {
        var random = TestRandom(state: seed)
        var file = NIfTIBytes(dim: [3, 5, 6, 7, 1, 1, 1, 1], datatype: type.rawValue, slope: -0.5, inter: 3)
        file.values = StatisticsTests.values(type.rawValue, file.count, &random)
        return try NIfTIHeader.read(path: folder.write("image.nii", file.file()))
    }

    /// Their bytes.
    /// - Parameters:
    ///   - spacing: of the model's voxels, in units of the image's.
    ///   - size: of the model's grid; 0 for what the image has.
    private func grid(
        _ header: NIfTIHeader, _ map: AxisMap, spacing: Double = 1, size: GridSize = GridSize(0, 0, 0),
        rule: Normalization = .none
    ) throws -> ModelGrid {
        let own = map.modelSpacing(of: header.spacing)
        return ModelGrid(
            axisMap: map,
            grid: try GridMap(
                path: "x", inputSize: map.modelSize(of: header.dims), inputSpacing: own, modelSpacing: own * spacing,
                modelSize: size), normalization: rule)
    }

    private func codes(_ store: some CodeSource, _ extent: Extent, _ codeBytes: Int) -> [UInt8] {
        var all = [UInt8](repeating: 0, count: extent.voxels * codeBytes)
        all.withUnsafeMutableBufferPointer { all in
            for z in 0..<extent.depth {
                // In two parts, as tiles ask for them.
                let half = extent.height / 2
                for rows in [0..<half, half..<extent.height] where !rows.isEmpty {
                    let start = (z * extent.height + rows.lowerBound) * extent.width * codeBytes
                    #expect(store.read(channel: 0, z: z, rows: rows, into: all.baseAddress! + start))
                }
            }
        }
        return all
    }

    /// From the volume in memory, in its own type.
    private func expectedBytes(_ header: NIfTIHeader, _ grid: ModelGrid, _ coding: InputCoding) throws -> [UInt8] {
        var warnings: [String] = []
        let volume = try VoxelVolume.read(header)
        if coding.codeBytes == 1 {
            var input: ModelInput<UInt8> = grid.input(volume, coding, warnings: &warnings)
            return input.codes()
        }
        var input: ModelInput<Int16> = grid.input(volume, coding, warnings: &warnings)
        return input.codes().withUnsafeBytes { Array($0) }
    }

    @Test(
        arguments: [VoxelType.uint8, .int16, .float32, .float64, .int64],
        [
            InputCoding(scale: 0.01, zeroPoint: 31),
            InputCoding(scale: 4.0 / 32767, zeroPoint: 0, codeBytes: 2),
        ])
    func slicesGiveTheCodesOfTheVolume(_ type: VoxelType, _ coding: InputCoding) throws {
        let folder = TemporaryFolder()
        let header = try header(folder, type, seed: UInt64(type.rawValue))
        let rules: [Normalization] = [
            .none, .quantile(low: 0.02, high: 0.98, epsilon: 0.001), .minMax, .zScore(nonzeroOnly: true, clip: 4),
        ]
        for (index, orientation) in Self.orientations.enumerated() {
            let map = try #require(AxisMap(stored: header.axisCodes, model: orientation))
            // The image's own size, and whole-voxel pad and crop.
            for size in [GridSize(0, 0, 0), GridSize(8, 4, 9)] {
                let grid = try grid(header, map, size: size, rule: rules[index % 4])
                func store(_ folder: String?) throws -> CodeStore {
                    try CodeStore(channels: 1, extent: grid.extent, coding: coding, folder: folder, path: "out")
                }
                var warnings: [String] = []
                let expected = try store(nil)
                try expected.fill(channel: 0, from: header, grid: grid, warnings: &warnings)
                let onDisk = try store(folder.path)
                try onDisk.fill(channel: 0, from: header, grid: grid, warnings: &warnings)
                let bySlices = try store(folder.path)
                try bySlices.fill(
                    channel: 0, slices: header, grid: grid, folder: folder.path, warnings: &warnings)
                let all = codes(expected, grid.extent, coding.codeBytes)
                #expect(Set(all).count > 1)
                #expect(try all == expectedBytes(header, grid, coding))
                #expect(codes(onDisk, grid.extent, coding.codeBytes) == all)
                #expect(codes(bySlices, grid.extent, coding.codeBytes) == all, "\(orientation), \(size)")
                let images = try CodedImages(
                    [header], grid: grid, coding: coding, ownThread: index % 2 == 1, warnings: &warnings,
                    progress: { _ in })
                #expect(codes(images, grid.extent, coding.codeBytes) == all, "when asked, \(orientation), \(size)")
            }
        }
        // Nameless files leave no trace.
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["image.nii"])
    }

    /// Labels delivered in tiles come back as those of the whole map, also where stored slices share a model plane.
    @Test(arguments: [1.0, 1.6]) func labelsComeBackFromDisk(_ spacing: Double) throws {
        let folder = TemporaryFolder()
        let header = try header(folder, .uint8, seed: 5)
        for orientation in Self.orientations {
            let map = try #require(AxisMap(stored: header.axisCodes, model: orientation))
            let grid = try grid(header, map, spacing: spacing)
            let extent = grid.extent
            let labels = (0..<extent.voxels).map { UInt16(truncatingIfNeeded: $0 &* 37 % 1000) }
            let expected = LabelReturn(axisMap: map, grid: grid.grid).labels(from: labels)
            for place in [nil, folder.path] {
                let store = try LabelStore(grid, labelBytes: 2, folder: place, path: "out")
                deliver(labels, extent, store)
                var found: [UInt16] = []
                try store.forEachSlice(UInt16.self) { k, slice throws(VolumeError) in
                    #expect(found.count == k * header.dims.x * header.dims.y)
                    for index in 0..<slice.count { found.append(slice[index]) }
                }
                #expect(found == expected, "\(orientation)")
            }
        }
    }

    private func deliver(_ labels: [UInt16], _ extent: Extent, _ store: LabelStore) {
        for z in (0..<extent.depth).reversed() {
            for x in [0..<(extent.width / 2), (extent.width / 2)..<extent.width] where !x.isEmpty {
                let part = (0..<extent.height).flatMap { y in
                    x.map { labels[(z * extent.height + y) * extent.width + $0] }
                }
                part.withUnsafeBytes {
                    #expect(store.take(LabelSlice(z: z, y: 0..<extent.height, x: x, labels: $0)))
                }
            }
        }
    }

    /// Planes that come whole and in order are written at once where the image lies like the model; the file is the same.
    @Test(arguments: [
        (GridSize(0, 0, 0), 1.0), (GridSize(8, 4, 9), 1.0), (GridSize(4, 5, 4), 1.0), (GridSize(0, 0, 0), 1.6),
    ])
    func slicesAreWrittenAsTheyArrive(_ size: GridSize, _ spacing: Double) throws {
        let folder = TemporaryFolder()
        let header = try header(folder, .uint8, seed: 6)
        var direct = 0
        for orientation in Self.orientations {
            let map = try #require(AxisMap(stored: header.axisCodes, model: orientation))
            let grid = try grid(header, map, spacing: spacing, size: size)
            let extent = grid.extent
            let area = extent.height * extent.width
            let labels = (0..<extent.voxels).map { UInt8(truncatingIfNeeded: $0 &* 37 % 7) }
            let values = (0..<7).map { UInt16($0) }
            let expected = LabelReturn(axisMap: map, grid: grid.grid).labels(from: labels)
            let (path, other) = ("\(folder.path)/a.nii.gz", "\(folder.path)/b.nii.gz")
            try LabelWriter.write(expected, to: other, like: header, values: values, overwrite: true)
            let isDirect = LabelReturn(axisMap: map, grid: grid.grid).followsPlanes
            direct += isDirect ? 1 : 0
            for ownThread in [false, true] {
                let store = try LabelStore(grid, labelBytes: 1, keepsLabels: !isDirect, folder: nil, path: path)
                let writer = try LabelWriter(
                    path: path, like: header, values: values, overwrite: true, ownThread: ownThread)
                let output = LabelOutput(
                    store, writer, labelBytes: 1, isDirect: isDirect, slices: header.dims.z, classes: 7)
                for z in 0..<extent.depth {
                    labels[(z * area)..<((z + 1) * area)].withUnsafeBytes {
                        #expect(output.take(LabelSlice(z: z, y: 0..<extent.height, x: 0..<extent.width, labels: $0)))
                    }
                }
                try output.finish { _ in }
                #expect(output.classVoxels == (0..<7).map { l in expected.count { Int($0) == l } })
                #expect(folder.bytes("a.nii.gz") == folder.bytes("b.nii.gz"), "\(orientation)")
            }
        }
        // The third axis in place and direction: two others in both orders and directions.
        #expect(direct == 8)
    }

    /// The output's own reason is told, and nothing stays.
    @Test func aFullDiskEndsTheRun() throws {
        let folder = TemporaryFolder()
        let header = try header(folder, .uint8, seed: 7)
        let map = try #require(AxisMap(stored: header.axisCodes, model: header.axisCodes))
        let grid = try grid(header, map)
        let store = try LabelStore(grid, labelBytes: 1, keepsLabels: false, folder: nil, path: "out")
        let writer = try LabelWriter(path: "\(folder.path)/out.nii", like: header, values: [0])
        let output = LabelOutput(
            store, writer, labelBytes: 1, isDirect: true, slices: header.dims.z, classes: 1)
        let full = unsafe open("/dev/full", O_WRONLY)
        dup2(full, writer.descriptor)
        close(full)
        let plane = [UInt8](repeating: 0, count: header.dims.x * header.dims.y)
        plane.withUnsafeBytes {
            #expect(!output.take(LabelSlice(z: 0, y: 0..<header.dims.y, x: 0..<header.dims.x, labels: $0)))
        }
        #expect(output.outputError?.exitCode == 8 && output.outputError?.message.contains("No space left") == true)
        #expect(folder.names == ["image.nii"])
    }
}
