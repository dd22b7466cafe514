import FlatGraph
import GraphIR
import HostRuntime
import Ops
import TestSupport
import Testing

@testable import MKRuntime
@testable import Quantize

/// State-space blocks in chunks of tokens: the same bits as with whole tensors, for both plans, every chunk length and every
/// instruction set.
@Suite struct BlockStreamingTests {
    /// A word of every tensor that exists whole in both runs, by op.
    private func checksums(
        _ file: ModelFile, _ streaming: BlockStreaming?, isa: ISA, threads: Int = 1,
        fusion: Fusion = .none, chainBytes: Int = 1 << 16, pool: some WorkPool = BackwardsPool()
    ) throws -> [Int: UInt64] {
        let volume = Extent(cube: 32)
        let plan = try RunPlan(
            file: file, volume: volume, mode: .whole, threads: threads, materializeScores: true, streaming: streaming,
            fusion: fusion, chainBytes: chainBytes)
        #expect((plan.tableLayerCount > 0) == (fusion == .tables))
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.arenaBytes, alignment: 64)
        defer { arena.deallocate() }
        // What was there before must not matter.
        arena.initializeMemory(as: UInt8.self, repeating: 0x5A)
        let session = try Session(file: file, plan: plan, arena: arena, isa: isa)
        let channels = Int(file.tensor(Int(file.record.inputTensor)).channels)
        let count = volume.voxels * channels * file.codeBytes
        let codes = (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 17) }
        var labels = [UInt8](repeating: 0, count: volume.voxels)
        var seen: [Int: UInt64] = [:]
        try codes.withUnsafeBufferPointer { codes in
            try labels.withUnsafeMutableBytes { labels in
                try session.run(
                    codes: codes, labels: labels, parallel: pool,
                    observer: { op, layout, tensor in seen[op] = Self.hash(layout, tensor) })
            }
        }
        return seen
    }

    private static func hash(_ layout: TensorLayout, _ tensor: UnsafeRawPointer) -> UInt64 {
        var hash: UInt64 = 14_695_981_039_346_656_037
        for block in 0..<layout.blocks {
            for row in 0..<layout.extent.rows {
                let start = tensor + layout.rowOffset(block: block, z: 0, y: row)
                for x in 0..<layout.extent.width {
                    hash = (hash ^ UInt64(start.load(fromByteOffset: 4 * x, as: UInt32.self))) &* 1_099_511_628_211
                }
            }
        }
        return hash
    }

    private struct BackwardsPool: WorkPool {
        func forEach(
            _ count: Int, _ context: UnsafeRawPointer, _ body: @convention(c) (UnsafeRawPointer, Int) -> Void
        ) {
            for index in (0..<count).reversed() { body(context, index) }
        }
    }

    @Test func everyChunkLengthAndPlanGivesTheSameBits() throws {
        let memory = TestModels.Memory(try KMambaIntegerTests.tinyModel().bytes)
        let file = try memory.file()
        let expected = try checksums(file, nil, isa: .best)
        for keeps in [true, false] {
            // 1 and a prime on the fastest kernels only: a chunk costs a call of every op of the block.
            for chunk in [1, 7, 64, 127, 1000, 4096, 100_000] {
                let streaming = BlockStreaming(chunk: chunk, keepsBackwardOutput: keeps)
                let found = try checksums(file, streaming, isa: .best)
                #expect(found.count > 10 && found.count < expected.count, "blocks must run as one")
                for (op, hash) in found {
                    #expect(hash == expected[op], "op \(op), chunk \(chunk), plan \(keeps ? "M" : "R")")
                }
            }
            for isa in ISA.allCases where isa.isSupported {
                for threads in [1, 3] {
                    let streaming = BlockStreaming(chunk: 300, keepsBackwardOutput: keeps)
                    let found = try checksums(file, streaming, isa: isa, threads: threads)
                    for (op, hash) in found { #expect(hash == expected[op], "op \(op), \(isa), \(threads) threads") }
                }
            }
        }
    }

    /// 16 bits inside and around the blocks.
    @Test func wideLayersGiveTheSameBits() throws {
        let memory = TestModels.Memory(try KMambaIntegerTests.tinyModel(wide: .all).bytes)
        let file = try memory.file()
        let expected = try checksums(file, nil, isa: .portable)
        for isa in ISA.allCases where isa.isSupported {
            let whole = try checksums(file, nil, isa: isa, threads: 2)
            #expect(whole == expected, "\(isa)")
            let found = try checksums(file, BlockStreaming(chunk: 300, keepsBackwardOutput: false), isa: isa)
            #expect(found.count > 10 && found.count < expected.count, "blocks must run as one")
            for (op, hash) in found { #expect(hash == expected[op], "op \(op), \(isa)") }
        }
    }

    /// One direction, and a third one whose order of tokens only whole tensors can change.
    @Test(arguments: ["kmamba-tiny-batch", "kmamba-tiny-slices"]) func otherDirectionsGiveTheSameBits(
        _ name: String
    ) throws {
        let memory = TestModels.Memory(try KMambaIntegerTests.tinyModel(name).bytes)
        let file = try memory.file()
        let expected = try checksums(file, nil, isa: .best)
        for keeps in [true, false] {
            for chunk in [61, 1000] {
                let found = try checksums(file, BlockStreaming(chunk: chunk, keepsBackwardOutput: keeps), isa: .best)
                #expect(found.count > 10 && found.count < expected.count, "blocks must run as one")
                for (op, hash) in found { #expect(hash == expected[op], "op \(op), chunk \(chunk), \(keeps)") }
            }
        }
    }

    /// Chains of ops some rows at a time, and Kolmogorov-Arnold layers by tables: every tensor that still exists is the same.
    @Test(arguments: [Fusion.rows, .tables]) func chainsGiveTheSameBits(_ fusion: Fusion) throws {
        let memory = TestModels.Memory(try KMambaIntegerTests.tinyModel().bytes)
        let file = try memory.file()
        let expected = try checksums(file, nil, isa: .portable)
        // One row at a time, a number of rows that divides nothing, all rows.
        for bytes in [1, 100_000, 1 << 30] {
            for isa in ISA.allCases where isa.isSupported {
                let found = try checksums(file, nil, isa: isa, threads: 2, fusion: fusion, chainBytes: bytes)
                for (op, hash) in found { #expect(hash == expected[op], "op \(op), \(isa), \(bytes)") }
                let inner = Set(expected.keys).subtracting(found.keys).map { file.op($0).kind }
                for kind in [OpRecord.Kind.kanBasis, .groupNorm, .layerNorm, .addWide] {
                    #expect(inner.contains(kind), "none of \(kind) begins or continues a chain")
                }
            }
        }
        let streaming = BlockStreaming(chunk: 61, keepsBackwardOutput: false)
        for (op, hash) in try checksums(file, streaming, isa: .best, fusion: fusion, chainBytes: 4096) {
            #expect(hash == expected[op], "op \(op) beside chunks")
        }
        // Too few voxels in layers this deep for tables to be fetched for.
        _ = try checksums(file, nil, isa: .best, fusion: .tablesWhereFaster)
    }

    /// Threads are at different ops of a chain at the same time: what one holds between two ops lies where no other holds anything.
    @Test(arguments: [2, 3, 8]) func threadsOfAChainShareNothing(_ threads: Int) throws {
        let memory = TestModels.Memory(try KMambaIntegerTests.tinyModel().bytes)
        let file = try memory.file()
        let expected = try checksums(file, nil, isa: .best)
        let pool = ThreadPool(threads: threads)
        for bytes in [1, 20_000] {
            let plan = try RunPlan(
                file: file, volume: Extent(cube: 32), mode: .whole, threads: threads, fusion: .rows, chainBytes: bytes)
            var compared = 0
            for chain in plan.chains {
                let inner = chain.ops.dropLast().map { Int(file.op($0).output) }
                let buffers = plan.buffers.filter { buffer in
                    if case .rows(let tensor) = buffer.use { inner.contains(tensor) } else { false }
                }
                #expect(buffers.count == inner.count)
                for (index, a) in buffers.enumerated() {
                    for b in buffers[(index + 1)...] {
                        #expect(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset, "\(a.use), \(b.use)")
                        compared += 1
                    }
                }
            }
            #expect(compared > 5)
            for _ in 0..<5 {
                let found = try checksums(
                    file, nil, isa: .best, threads: threads, fusion: .rows, chainBytes: bytes, pool: pool)
                for (op, hash) in found { #expect(hash == expected[op], "op \(op), \(threads) threads") }
            }
        }
    }

    /// The tensors of a block shrink to a chunk, plan R keeps less than plan M, and the arena never grows.
    @Test func chunksNeedLessMemory() throws {
        let memory = TestModels.Memory(try KMambaIntegerTests.tinyModel().bytes)
        let file = try memory.file()
        func plan(_ streaming: BlockStreaming?) throws -> (arena: Int, all: Int) {
            let plan = try RunPlan(
                file: file, volume: Extent(cube: 64), mode: .whole, threads: 1, streaming: streaming)
            return (plan.arenaBytes, plan.buffers.reduce(0) { $0 + $1.bytes })
        }
        let whole = try plan(nil)
        let outputs = try plan(BlockStreaming(chunk: 512, keepsBackwardOutput: true))
        let states = try plan(BlockStreaming(chunk: 512, keepsBackwardOutput: false))
        #expect(states.arena <= outputs.arena && outputs.arena <= whole.arena)
        #expect(states.all < outputs.all && outputs.all < whole.all * 9 / 10)
    }
}
