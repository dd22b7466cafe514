import Dispatch
import Glibc

/// Runs independent pieces of work on several threads. Piece i is done by worker i mod `threads`, so results do not
/// depend on the number of threads as long as the pieces do not.
struct Parallel {
    let threads: Int

    /// Processors that this machine has online.
    static var processorCount: Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

    /// - Parameter body: worker and piece; pieces of one worker run one after the other.
    func forEach(_ count: Int, _ body: @Sendable (_ worker: Int, _ piece: Int) -> Void) {
        let workers = min(threads, count)
        guard workers > 1 else {
            for piece in 0..<count { body(0, piece) }
            return
        }
        DispatchQueue.concurrentPerform(iterations: workers) { worker in
            for piece in stride(from: worker, to: count, by: workers) { body(worker, piece) }
        }
    }
}

/// A buffer that several workers write, each its own part.
@safe struct SharedBuffer: @unchecked Sendable {
    private let base: UnsafeMutablePointer<Float>
    let count: Int

    init(_ buffer: UnsafeMutableBufferPointer<Float>) {
        unsafe base = buffer.baseAddress!
        count = buffer.count
    }

    /// The elements from `start` on; the caller stays within `size` of them.
    @unsafe func part(_ start: Int, _ size: Int) -> UnsafeMutablePointer<Float> {
        precondition(start >= 0 && size >= 0 && start <= count - size, "part leaves the buffer")
        return unsafe base + start
    }
}
