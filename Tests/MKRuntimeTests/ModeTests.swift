import FlatGraph
import MKRuntime
import Ops
import TestSupport
import Testing

/// Execution modes of one network must write the same labels.
@Suite struct ModeTests {
    static let volumes = [
        Extent(depth: 20, height: 21, width: 37), Extent(depth: 1, height: 9, width: 16),
        Extent(depth: 3, height: 1, width: 5), Extent(depth: 9, height: 30, width: 1),
    ]

    static func tiles(_ volume: Extent) -> [Extent] {
        [
            volume, Extent(depth: volume.depth, height: 7, width: volume.width), Extent(depth: 8, height: 5, width: 11),
            Extent(depth: 3, height: 1, width: 1),
        ]
    }

    @Test(arguments: SessionTests.variants.indices) func linesAndTilesEqualTheWholeVolume(_ index: Int) throws {
        let runner = try Runner(SessionTests.variants[index])
        for volume in Self.volumes {
            let expected = try runner.labels(volume)
            for tile in Self.tiles(volume) {
                for mode in [ExecutionMode.lines, .tiles] {
                    #expect(try runner.labels(volume, mode: mode, tile: tile) == expected, "\(mode) \(volume) \(tile)")
                }
            }
        }
    }

    @Test func linesEqualTheWholeVolumeOnEveryISAAndThreadCount() throws {
        var options = SessionTests.variants[2]
        options.dilations = [1, 4, 2]
        let runner = try Runner(options)
        let volume = Self.volumes[0]
        let expected = try runner.labels(volume)
        for isa in ISA.allCases where isa.isSupported {
            for threads in 1...8 {
                let tile = Extent(depth: 1, height: 4 + threads, width: 30)
                #expect(try runner.labels(volume, mode: .lines, threads: threads, isa: isa, tile: tile) == expected)
            }
        }
    }

    /// A network without padding: the border stays background in every mode that can run it.
    @Test func linesWithoutPadding() throws {
        var options = TestModels.Options()
        options.valid = true
        options.hiddenZeroPoint = 9
        let runner = try Runner(options)
        let volume = Extent(depth: 13, height: 15, width: 30)
        for tile in Self.tiles(volume) {
            #expect(try runner.labels(volume, mode: .lines, tile: tile) == runner.labels(volume))
        }
        #expect(throws: RuntimeError.self) {
            try RunPlan(file: runner.file, volume: volume, mode: .tiles, threads: 1)
        }
    }

    /// Statistics over the volume: two passes per normalization, the stored volume overwritten in place.
    @Test(arguments: [0, 5]) func linesWithStatisticsEqualTheWholeVolume(_ zeroPoint: UInt8) throws {
        var options = TestModels.Options()
        options.norm = true
        options.dilations = [1, 3, 2, 1]
        options.hiddenZeroPoint = zeroPoint
        let runner = try Runner(options)
        for volume in Self.volumes {
            let expected = try runner.labels(volume)
            #expect(volume.voxels < 1000 || Set(expected).count > 1, "a trivial label map shows nothing")
            for threads in [1, 3] {
                for isa in ISA.allCases where isa.isSupported {
                    #expect(try runner.labels(volume, mode: .lines, threads: threads, isa: isa) == expected)
                }
            }
        }
        let plan = try RunPlan(file: runner.file, volume: Self.volumes[0], mode: .lines, threads: 1)
        #expect(plan.recomputePerMille > 1900 && plan.recomputePerMille < 2000)
        #expect(throws: RuntimeError.self) {
            try RunPlan(file: runner.file, volume: Self.volumes[0], mode: .tiles, threads: 1)
        }
    }

    /// Means over the volume, or over each slice: those of slices also run slice by slice.
    @Test(arguments: [VoxelSpan.volume, .slice], [0, 9]) func meansAreTheSameInEveryMode(
        _ span: VoxelSpan, _ zeroPoint: UInt8
    ) throws {
        var options = TestModels.Options()
        (options.excitation, options.hiddenZeroPoint, options.channels) = (span, zeroPoint, 6)
        let runner = try Runner(options)
        #expect(RunPlan.isGlobal(runner.file))
        for volume in Self.volumes + [Extent(depth: 3, height: 5, width: 300)] {
            let expected = try runner.labels(volume)
            #expect(volume.voxels < 1000 || Set(expected).count > 1, "a trivial label map shows nothing")
            if span == .volume, volume.voxels < 2000 {
                #expect(runner.reference(volume, codes: runner.codes(volume)) == expected.map { Int($0) })
            }
            for isa in ISA.allCases where isa.isSupported {
                for threads in [1, 3, 8] {
                    #expect(try runner.labels(volume, threads: threads, isa: isa) == expected)
                    guard span == .slice else { continue }
                    let tile = Extent(depth: 1, height: 4, width: 7)
                    #expect(
                        try runner.labels(volume, mode: .lines, threads: threads, isa: isa, tile: tile) == expected)
                }
            }
            for mode in [ExecutionMode.tiles, .lines] where mode == .tiles || span == .volume {
                let error = try #require(throws: RuntimeError.self) {
                    try RunPlan(file: runner.file, volume: volume, mode: mode, threads: 1)
                }
                #expect(error.reason == (mode == .tiles ? .tilesUnsupported : .linesUnsupported) && error.index == 1)
            }
        }
        let window = Extent(cube: 16)
        #expect(try runner.labels(window, mode: .windows) == runner.labels(window))
        let volume = Self.volumes[0]
        let expected = try runner.labels(volume, mode: .windows)
        #expect(try runner.labels(volume, mode: .windows, threads: 3, isa: .best) == expected)
    }

    /// A mean counts all voxels: one that changes, far away, changes labels.
    @Test func oneVoxelIsSeenEverywhere() throws {
        let volume = Extent(depth: 4, height: 10, width: 40)
        /// Labels in the left half that change when the last quarter is black. Convolutions alone look five voxels far.
        func changed(_ excitation: VoxelSpan?, _ seed: UInt64) throws -> Int {
            var options = TestModels.Options()
            (options.excitation, options.seed) = (excitation, seed)
            let runner = try Runner(options)
            var codes = runner.codes(volume)
            let before = try runner.labels(volume, codes: codes)
            for i in codes.indices where i % 40 >= 30 { codes[i] = 0 }
            let after = try runner.labels(volume, codes: codes)
            return (0..<volume.voxels).count { $0 % 40 < 20 && before[$0] != after[$0] }
        }
        // Random scores, of which one may win everywhere.
        #expect(try (1...20).contains { seed throws in try changed(.volume, seed) > 0 })
        #expect(try (1...20).allSatisfy { seed throws in try changed(nil, seed) == 0 })
    }

    /// Strips of label rows recompute windows, and nothing else changes.
    @Test(arguments: [WindowScheme.monai, .nnunet], [false, true])
    func windowStripsChangeNoLabel(_ scheme: WindowScheme, _ wideInput: Bool) throws {
        var options = TestModels.Options()
        options.scheme = scheme
        (options.wideInput, options.inputs) = (wideInput, wideInput ? 3 : 1)
        options.patch = 12
        let runner = try Runner(options)
        let volume = Extent(depth: 20, height: 33, width: 25)
        let expected = try runner.labels(volume, mode: .windows)
        for rows in [1, 5, 16, 32, 40] {
            let tile = Extent(depth: 20, height: rows, width: 25)
            #expect(try runner.labels(volume, mode: .windows, tile: tile) == expected, "\(rows) rows")
        }
    }

    /// Rows of an image of 16 bits take two bytes per voxel, and slices of it as many words as two channels of bytes.
    @Test(arguments: [ExecutionMode.whole, .lines, .tiles, .windows])
    func buffersOfWideImages(_ mode: ExecutionMode) throws {
        func bytes(_ wide: Bool, _ use: (PlannedBuffer.Use) -> Bool) throws -> Int {
            var options = TestModels.Options()
            (options.wideInput, options.inputs) = (wide, 3)
            let runner = try Runner(options)
            let plan = try RunPlan(file: runner.file, volume: Self.volumes[0], mode: mode, threads: 1)
            return plan.buffers.filter { use($0.use) }.reduce(0) { $0 + $1.bytes }
        }
        #expect(try bytes(true) { $0 == .inputRows } == 2 * bytes(false) { $0 == .inputRows })
        let isInput = { (use: PlannedBuffer.Use) in use == .tensor(0) || use == .ring(0, segment: 0) }
        let (wide, narrow) = (try bytes(true, isInput), try bytes(false, isInput))
        #expect(wide - TensorLayout.slack == 2 * (narrow - TensorLayout.slack) && narrow > TensorLayout.slack)
    }

    /// Probabilities of a whole volume: `[class][depth][height][width]`.
    private final class Collector: LabelSink {
        let extent: Extent
        let classes: Int
        var labels: [UInt8]
        var probabilities: [UInt8]

        init(_ extent: Extent, classes: Int) {
            self.extent = extent
            self.classes = classes
            labels = [UInt8](repeating: 0, count: extent.voxels)
            probabilities = [UInt8](repeating: 0, count: extent.voxels * classes)
        }

        private func forEach(_ slice: LabelSlice, _ body: (Int, Int) -> Void) {
            for (row, y) in slice.y.enumerated() {
                for (column, x) in slice.x.enumerated() {
                    body((slice.z * extent.height + y) * extent.width + x, row * slice.x.count + column)
                }
            }
        }

        func take(_ slice: LabelSlice) -> Bool {
            forEach(slice) { labels[$0] = slice.labels[$1] }
            return true
        }

        func takeProbabilities(_ slice: LabelSlice) -> Bool {
            for c in 0..<classes {
                let plane = c * slice.y.count * slice.x.count
                forEach(slice) { probabilities[c * extent.voxels + $0] = slice.labels[plane + $1] }
            }
            return true
        }
    }

    private func collect(
        _ runner: Runner, _ volume: Extent, _ mode: ExecutionMode, threads: Int = 1, isa: ISA = .best,
        tile: Extent? = nil
    ) throws -> Collector {
        let plan = try RunPlan(
            file: runner.file, volume: volume, mode: mode, threads: threads, tile: tile, probabilities: true)
        #expect(overlaps(plan.buffers).isEmpty)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.arenaBytes, alignment: 64)
        defer { arena.deallocate() }
        arena.initializeMemory(as: UInt8.self, repeating: 0xC3)
        let session = try Session(file: runner.file, plan: plan, arena: arena, isa: isa)
        let result = Collector(volume, classes: runner.file.classCount)
        try runner.codes(volume).withUnsafeBufferPointer {
            try session.run(
                from: CodeVolume($0, extent: volume, channels: 1), to: result, parallel: BackwardsPool())
        }
        return result
    }

    /// Every voxel's add up to 255, the label has the largest, and no mode, tile, thread or instruction set changes one.
    @Test func probabilitiesAreThoseOfTheLabelsInEveryMode() throws {
        let runner = try Runner()
        let volume = Self.volumes[0]
        let expected = try collect(runner, volume, .whole, isa: .portable)
        #expect(try expected.labels == runner.labels(volume))
        let found = [
            try collect(runner, volume, .whole, threads: 3), try collect(runner, volume, .lines, threads: 2),
            try collect(runner, volume, .lines, tile: Extent(depth: 1, height: 6, width: 10)),
            try collect(runner, volume, .tiles, tile: Extent(depth: 7, height: 8, width: 9)),
        ]
        for other in found {
            #expect(other.labels == expected.labels && other.probabilities == expected.probabilities)
        }
        let windows = try collect(runner, volume, .windows)
        #expect(try windows.labels == runner.labels(volume, mode: .windows))
        let strips = try collect(runner, volume, .windows, threads: 3, tile: Extent(depth: 32, height: 5, width: 64))
        #expect(strips.probabilities == windows.probabilities)
        for result in [expected, windows] {
            for voxel in 0..<volume.voxels {
                let all = (0..<result.classes).map { Int(result.probabilities[$0 * volume.voxels + voxel]) }
                #expect(all.reduce(0, +) == 255 && all[Int(result.labels[voxel])] == all.max()!)
            }
        }
    }

    /// Random layouts of random plans: rings, volumes and slabs never overlap (the checker of `PlannerTests`), and a ring of
    /// a chain has 2 · dilation + 1 slices.
    @Test func ringsAreAsSmallAsTheirConvolutions() throws {
        var options = TestModels.Options()
        options.lookupAfter = nil
        options.dilations = [1, 5, 2]
        let runner = try Runner(options)
        let plan = try RunPlan(file: runner.file, volume: Self.volumes[0], mode: .lines, threads: 1)
        let slice = { (slots: Int, pad: Int, channels: Int) in
            TensorLayout(
                channels: channels, extent: Extent(depth: slots, height: 21, width: 37), element: .u8, padX: pad
            ).byteCount
        }
        let rings = plan.buffers.compactMap { if case .ring = $0.use { $0.bytes } else { nil } }
        #expect(rings.sorted() == [slice(3, 1, 1), slice(11, 5, 5), slice(5, 2, 5), slice(1, 0, 5)].sorted())
    }
}
