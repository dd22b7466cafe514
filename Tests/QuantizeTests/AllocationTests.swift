import AllocationFence
import FlatGraph
import GraphIR
import HostRuntime
import MKRuntime
import Ops
import TestSupport
import Testing

@testable import Quantize

/// Nothing is allocated once a session is open: every network, mode and number of threads, with the C library's allocating
/// functions counted on all threads that work.
@Suite(.serialized) struct AllocationTests {
    /// Puts the fence around what the pool's threads do.
    private struct FencedPool: WorkPool {
        let pool: ThreadPool

        private struct Fenced {
            let context: UnsafeRawPointer
            let body: @convention(c) (UnsafeRawPointer, Int) -> Void
        }

        func forEach(
            _ count: Int, _ context: UnsafeRawPointer, _ body: @convention(c) (UnsafeRawPointer, Int) -> Void
        ) {
            withUnsafePointer(to: Fenced(context: context, body: body)) { fenced in
                pool.forEach(count, fenced) { context, index in
                    mk_fence_enter()
                    let fenced = context.assumingMemoryBound(to: Fenced.self).pointee
                    fenced.body(fenced.context, index)
                    mk_fence_leave()
                }
            }
        }
    }

    private static var networks: [(name: String, bytes: [UInt8])] {
        var all: [(String, [UInt8])] = []
        var options = TestModels.Options()
        options.inputs = 4
        options.residual = true
        options.concat = true
        options.inputZeroPoint = 31
        options.hiddenZeroPoint = 128
        all.append(("all local ops", TestModels.bytes(options)))
        options = TestModels.Options()
        options.inputs = 3
        options.wideInput = true
        all.append(("16-bit image", TestModels.bytes(options)))
        options = TestModels.Options()
        options.norm = true
        options.headKernel = 3
        all.append(("statistics", TestModels.bytes(options)))
        options = TestModels.Options()
        options.excitation = .slice
        all.append(("means", TestModels.bytes(options)))
        if let model = try? KMambaIntegerTests.tinyModel() { all.append(("kmamba-tiny", model.bytes)) }
        return all
    }

    /// The fence itself: it must see an allocation, or the other test shows nothing.
    @Test func theFenceSeesAllocations() {
        mk_fence_reset()
        mk_fence_enter()
        let array = [Int](repeating: 1, count: Int.random(in: 1000...2000))
        mk_fence_leave()
        #expect(array.count >= 1000 && mk_fence_count() > 0)
    }

    @Test func nothingIsAllocatedAfterOpen() throws {
        var runs = 0
        for network in Self.networks {
            let memory = TestModels.Memory(network.bytes)
            let file = try memory.file()
            for mode in ExecutionMode.allCases {
                for threads in [1, 2, 5] {
                    guard let count = try allocations(file, mode, threads) else { continue }
                    #expect(count == 0, "\(network.name), \(mode.name), \(threads) threads")
                    runs += 1
                }
            }
        }
        // Five networks in the modes they have, with three numbers of threads.
        #expect(runs == 3 * (4 + 4 + 3 + 3 + 1))
    }

    /// Calls inside a run; nil where the network does not run in the mode.
    private func allocations(_ file: ModelFile, _ mode: ExecutionMode, _ threads: Int) throws -> Int? {
        let volume = Extent(depth: 32, height: 32, width: 32)
        let tile = Extent(depth: 16, height: 16, width: mode == .windows ? 32 : 16)
        guard
            let plan = try? RunPlan(
                file: file, volume: volume, mode: mode, threads: threads, tile: tile, probabilities: threads > 1)
        else { return nil }
        let arena = try #require(Arena(byteCount: plan.arenaBytes))
        let session = try Session(file: file, plan: plan, arena: arena.bytes, isa: .best)
        let pool = FencedPool(pool: ThreadPool(threads: threads))
        let channels = Int(file.tensor(Int(file.record.inputTensor)).channels)
        let codes = [UInt8](repeating: 3, count: volume.voxels * channels * file.codeBytes)
        var labels = [UInt8](repeating: 0, count: volume.voxels)
        return try codes.withUnsafeBufferPointer { codes in
            try labels.withUnsafeMutableBytes { labels in
                mk_fence_reset()
                mk_fence_enter()
                defer { mk_fence_leave() }
                try session.run(codes: codes, labels: labels, parallel: pool)
                return mk_fence_count()
            }
        }
    }
}
