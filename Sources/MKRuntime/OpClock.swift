import FlatGraph
import Ops

/// Where the time of a run goes, op by op. The runtime has no clock: the host lends one, and memory for the counts. Without one a
/// run pays a comparison for each share of rows.
@safe public struct OpClock {
    /// Any unit, only forward; called by every thread.
    public var now: @convention(c) () -> UInt64
    /// `[threads][slots]`, added to.
    public var counts: UnsafeMutablePointer<Count>

    public struct Count: Equatable, Sendable {
        /// Units of the clock, of one thread.
        public var time: UInt64 = 0
        /// Words (voxels) of the op's output that were computed, more than there are where a plan computes some twice.
        public var voxels: UInt64 = 0

        public init() {}
    }

    public init(now: @escaping @convention(c) () -> UInt64, counts: UnsafeMutablePointer<Count>) {
        self.now = now
        unsafe self.counts = counts
    }

    /// The slots after those of the ops: codes that go into the input tensor and copies between buffers; sums of window scores.
    public static func copies(_ file: ModelFile) -> Int { file.opCount }
    public static func windowSums(_ file: ModelFile) -> Int { file.opCount + 1 }
    public static func slots(_ file: ModelFile) -> Int { file.opCount + 2 }
}

extension Session {
    /// Runs `body` on the account of a slot.
    @inline(__always)
    func timed(_ slot: Int, _ thread: Int, voxels: Int = 0, _ body: () -> Void) {
        guard let clock else { return body() }
        let start = clock.now()
        body()
        let end = clock.now()
        unsafe clock.counts[thread * OpClock.slots(file) + slot].time += end &- start
        unsafe clock.counts[thread * OpClock.slots(file) + slot].voxels += UInt64(voxels)
    }

    /// The same for work that can fail, on the calling thread.
    @inline(__always)
    func timedCopy<Failure: Error>(_ body: () throws(Failure) -> Void) throws(Failure) {
        guard let clock else { return try body() }
        let start = clock.now()
        try body()
        unsafe clock.counts[OpClock.copies(file)].time += clock.now() &- start
    }
}

extension RunPlan {
    /// Bytes that lie between the uses of a byte by an op: its tensors where it runs over all of them at once, everything where slices
    /// or chunks of all ops alternate.
    public func workingSet(_ file: ModelFile, op index: Int) -> Int {
        guard mode != .lines, streamedBlock(index) == nil, index < file.opCount else { return arenaBytes }
        let op = file.op(index)
        let chain = chain(index)
        func bytes(_ tensor: Int) -> Int { (chain?.layout(tensor, file) ?? layouts[tensor]).byteCount }
        if spline(conv: index) >= 0 {
            let layer = splines[spline(conv: index)]
            return layer.tables.byteCount + bytes(layer.input) + bytes(Int(op.output))
        }
        return (0..<Int(op.operandCount)).reduce(bytes(Int(op.output))) { $0 + bytes(file.operand(op, $1)) }
    }
}
