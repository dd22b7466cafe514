import FlatGraph
import HostRuntime
import MKRuntime
import Ops

/// Times a plan on made-up codes: no image, no files, and nothing of what comes before and after the network.
public struct Benchmark {
    public struct Op: Sendable {
        /// Index of the op; nil for what is no op: copies of codes, sums of window scores.
        public var index: Int?
        public var name: String
        /// Of one thread; with several, their mean.
        public var seconds: Double
        /// Voxels of the output that were computed, by all threads.
        public var voxels: Double
        public var work: OpWork?
        /// Seconds of one thread at the limit of instructions and at that of bandwidth; nil without limits.
        public var limit: (instructions: Double, bandwidth: Double)?

        public var multiplyAdds: Double { voxels * Double(work?.multiplyAdds ?? 0) }
        public var bytes: Double { voxels * (work?.bytes ?? 0) }
        /// Of the limit that binds; nil where none is known.
        public var fraction: Double? {
            guard let limit, seconds > 0 else { return nil }
            return max(limit.instructions, limit.bandwidth) / seconds
        }
        public var isBoundByInstructions: Bool { limit.map { $0.instructions >= $0.bandwidth } ?? true }
    }

    /// Of each round.
    public let seconds: [Double]
    /// Of the fastest round, empty unless asked for: ops in their order, then copies and sums of window scores.
    public let ops: [Op]
    public let limits: MachineLimits?

    public var best: Double { seconds.min() ?? 0 }
    public var median: Double { seconds.sorted()[seconds.count / 2] }

    /// - Parameters:
    ///   - rounds: 1 or more, after one that is not counted.
    ///   - progress: rounds done, of all.
    /// - Throws: `RuntimeError`; `BudgetError` when the system has not the memory.
    public static func run(
        _ model: MappedModel, plan: SegmentationPlan, isa: ISA, pool: ThreadPool, rounds: Int, perOp: Bool,
        progress: (Int, Int) -> Void
    ) throws -> Benchmark {
        let file = model.file
        guard let arena = Arena(byteCount: plan.run.arenaBytes) else {
            throw BudgetError(file: model.path, limit: plan.totalBytes, needs: [plan.need])
        }
        var session = try unsafe Session(file: file, plan: plan.run, arena: arena.bytes, isa: isa)
        let codes = MadeUpCodes(rowBytes: plan.run.volume.width * file.codeBytes)
        let slots = OpClock.slots(file)
        let counts = UnsafeMutableBufferPointer<OpClock.Count>.allocate(capacity: plan.run.threads * slots)
        defer { unsafe counts.deallocate() }
        let limits = perOp ? MachineLimits(isa) : nil
        var seconds: [Double] = []
        var fastest: [OpClock.Count] = []
        for round in 0...rounds {
            unsafe counts.initialize(repeating: OpClock.Count())
            if perOp {
                unsafe session.clock = OpClock(now: HostClock.nanoseconds, counts: counts.baseAddress!)
                limits?.refresh()
            }
            let start = HostClock.nanoseconds()
            unsafe try session.run(from: codes, to: NoLabels(), parallel: pool)
            let taken = Double(HostClock.nanoseconds() - start) * 1e-9
            progress(round + 1, rounds + 1)
            guard round > 0 else { continue }
            if taken < seconds.min() ?? .infinity { fastest = unsafe Array(counts) }
            seconds.append(taken)
        }
        let ops = perOp ? ops(file, plan.run, fastest, limits) : []
        return Benchmark(seconds: seconds, ops: ops, limits: limits)
    }

    private static func ops(
        _ file: ModelFile, _ plan: RunPlan, _ counts: [OpClock.Count], _ limits: MachineLimits?
    ) -> [Op] {
        let slots = OpClock.slots(file)
        func op(_ slot: Int, name: String, work: OpWork?) -> Op {
            let all = (0..<plan.threads).map { counts[$0 * slots + slot] }
            let voxels = all.reduce(0.0) { $0 + Double($1.voxels) }
            let time = all.reduce(0.0) { $0 + Double($1.time) }
            let limit = work.flatMap { work in
                limits.map {
                    work.seconds(voxels / Double(plan.threads), $0, workingSet: plan.workingSet(file, op: slot))
                }
            }
            return Op(
                index: work == nil ? nil : slot, name: name, seconds: time * 1e-9 / Double(plan.threads),
                voxels: voxels,
                work: work, limit: limit)
        }
        let copies = op(OpClock.copies(file), name: "copies of codes", work: nil)
        let sums = op(OpClock.windowSums(file), name: "sums of window scores", work: nil)
        return (0..<file.opCount).map { op($0, name: file.string(file.op($0).name), work: OpWork(file, plan, op: $0)) }
            + [copies, sums].filter { $0.seconds > 0 }
    }
}

/// Bytes without a pattern that a network would notice, made of nothing.
private struct MadeUpCodes: CodeSource {
    private let noise: [UInt8]

    init(rowBytes: Int) {
        var state: UInt64 = 1
        noise = (0..<(rowBytes + 4096)).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 56)
        }
    }

    func read(channel: Int, z: Int, rows: Range<Int>, into target: UnsafeMutablePointer<UInt8>) -> Bool {
        let rowBytes = noise.count - 4096
        unsafe noise.withUnsafeBufferPointer { noise in
            for (index, y) in rows.enumerated() {
                let start = (channel * 1181 + z * 613 + y * 251) % 4096
                unsafe (target + index * rowBytes).update(from: noise.baseAddress! + start, count: rowBytes)
            }
        }
        return true
    }
}

private struct NoLabels: LabelSink {
    func take(_ slice: LabelSlice) -> Bool { true }
}
