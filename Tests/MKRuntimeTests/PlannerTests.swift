import FlatGraph
import MKRuntime
import Ops
import TestSupport
import Testing

/// Written from the promise alone: no two buffers that live at the same time share a byte.
func overlaps(_ buffers: [PlannedBuffer]) -> [(PlannedBuffer, PlannedBuffer)] {
    var found: [(PlannedBuffer, PlannedBuffer)] = []
    for (i, a) in buffers.enumerated() {
        for b in buffers[(i + 1)...] {
            let inTime = max(a.first, b.first) <= min(a.last, b.last)
            let inSpace = max(a.offset, b.offset) < min(a.offset + a.bytes, b.offset + b.bytes)
            if inTime && inSpace { found.append((a, b)) }
        }
    }
    return found
}

@Suite struct PlannerTests {
    @Test func randomLifetimesNeverOverlap() {
        var generator = SplitMix64(3)
        for _ in 0..<300 {
            var buffers = (0..<Int.random(in: 1...30, using: &generator)).map { index in
                let first = Int.random(in: 0...20, using: &generator)
                return PlannedBuffer(
                    use: .tensor(index), bytes: Int.random(in: 1...100_000, using: &generator), first: first,
                    last: first + Int.random(in: 0...8, using: &generator))
            }
            let bytes = BufferPlanner.place(&buffers)
            #expect(overlaps(buffers).isEmpty)
            #expect(buffers.allSatisfy { $0.offset % 64 == 0 && $0.offset + $0.bytes <= bytes })
            #expect(bytes >= BufferPlanner.lowerBound(buffers))
        }
    }

    /// A chain of equal layers needs two of them at a time, and the planner finds that.
    @Test func aChainReachesItsLowerBound() throws {
        var options = TestModels.Options()
        options.lookupAfter = nil
        options.dilations = [1, 1, 1, 1, 1, 1]
        let memory = TestModels.Memory(TestModels.bytes(options))
        let file = try memory.file()
        let plan = try RunPlan(file: file, volume: Extent(depth: 9, height: 10, width: 11), mode: .whole, threads: 1)
        #expect(plan.arenaBytes == plan.lowerBoundBytes)
        let layer = TensorLayout(channels: 5, extent: plan.volume, element: .u8, padX: 1).byteCount
        #expect(plan.arenaBytes == 2 * ((layer + 63) & ~63))
    }

    @Test func lookupsRunInPlace() throws {
        let memory = TestModels.Memory(TestModels.bytes())
        let file = try memory.file()
        let plan = try RunPlan(file: file, volume: Extent(cube: 8), mode: .whole, threads: 1)
        let planned = plan.buffers.compactMap { if case .tensor(let t) = $0.use { t } else { nil } }
        let lookup = file.op(2)
        #expect(lookup.kind == .lookup && !planned.contains(Int(lookup.output)))
        #expect(overlaps(plan.buffers).isEmpty)
    }

    @Test func tooSmallArenaSaysWhatItNeeds() throws {
        let memory = TestModels.Memory(TestModels.bytes())
        let file = try memory.file()
        let plan = try RunPlan(file: file, volume: Extent(cube: 8), mode: .whole, threads: 2)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.arenaBytes, alignment: 64)
        defer { arena.deallocate() }
        #expect(throws: RuntimeError(.arenaTooSmall, need: plan.arenaBytes, have: plan.arenaBytes - 1)) {
            try Session(
                file: file, plan: plan, arena: UnsafeMutableRawBufferPointer(rebasing: arena.dropLast(1)),
                isa: .portable)
        }
        _ = try Session(file: file, plan: plan, arena: arena, isa: .portable)
    }

    @Test func impossibleVolumesAreRefused() throws {
        let memory = TestModels.Memory(TestModels.bytes())
        let file = try memory.file()
        for extent in [
            Extent(depth: 0, height: 1, width: 1), Extent(depth: 1, height: 40_000, width: 1),
            Extent(depth: 30_000, height: 30_000, width: 30_000),
        ] {
            #expect(throws: RuntimeError.self) {
                try RunPlan(file: file, volume: extent, mode: .whole, threads: 1)
            }
        }
    }
}

@Suite struct WindowGridTests {
    /// Known answers of the two projects' rules for a 256-wide axis and others.
    @Test func startsFollowTheSchemes() {
        func starts(_ n: Int, _ p: Int, _ overlap: Int, _ scheme: WindowScheme) -> [Int] {
            WindowAxis(size: n, patch: p, overlapPerMille: overlap, scheme: scheme).starts
        }
        #expect(starts(256, 96, 500, .nnunet) == [0, 40, 80, 120, 160])
        #expect(starts(256, 96, 250, .monai) == [0, 72, 144, 160])
        #expect(starts(155, 64, 500, .nnunet) == [0, 30, 61, 91])
        #expect(starts(64, 64, 500, .monai) == [0])
        #expect(starts(65, 64, 500, .monai) == [0, 1])
        #expect(starts(50, 64, 500, .nnunet) == [-7])
        // 5 starts over a span of 10: 2.5 and 7.5 are ties and go to the even neighbour.
        #expect(starts(18, 8, 650, .nnunet) == [0, 2, 5, 8, 10])
    }

    @Test func everyVoxelIsCovered() {
        for size in 1...200 {
            for (patch, overlap) in [(16, 500), (31, 250), (64, 750), (64, 0)] {
                for scheme in [WindowScheme.monai, .nnunet] {
                    let axis = WindowAxis(size: size, patch: patch, overlapPerMille: overlap, scheme: scheme)
                    let covered = Set(axis.starts.flatMap { $0..<($0 + patch) })
                    #expect(covered.isSuperset(of: 0..<size), "\(size) \(patch) \(overlap) \(scheme)")
                    #expect(axis.starts == axis.starts.sorted())
                }
            }
        }
    }
}
