import FlatGraph
import Ops

/// Where work is done. The runtime has no threads of its own: the host passes a pool, bare metal `SerialPool`.
public protocol WorkPool {
    /// Calls `body(context, 0) … body(context, count - 1)`, in any order or at the same time, and returns when all are done.
    ///
    /// A function and a pointer, because a closure that another thread sees would have to be allocated.
    func forEach(_ count: Int, _ context: UnsafeRawPointer, _ body: @convention(c) (UnsafeRawPointer, Int) -> Void)
}

public struct SerialPool: WorkPool {
    public init() {}
    public func forEach(
        _ count: Int, _ context: UnsafeRawPointer, _ body: @convention(c) (UnsafeRawPointer, Int) -> Void
    ) {
        for index in 0..<count { unsafe body(context, index) }
    }
}

/// Work on rows (or groups of channels) that threads share.
enum RowJob {
    /// Output rows of steps[i].
    case op(Int)
    /// Channel groups of the scan steps[i].
    case scan(Int)
    /// Channel groups of the scan steps[i] over positions of a chunk.
    case chunkScan(Int, tokens: Range<Int>)
    /// Input rows of the normalization steps[i] from `first` on, then its output rows.
    case normSums(Int, first: Int)
    case normRows(Int, first: Int)
    /// Input rows of the pooling steps[i] from `first` on.
    case poolSums(Int, first: Int)
    /// Rows of labels of slice z, from its row `first` on; probabilities of these columns.
    case labels(z: Int, first: Int, rows: Int, columns: Range<Int>)
    /// Rows of the scores of a window at `origin`, into the slab.
    case windowScores(strip: Range<Int>, origin: (Int, Int, Int))
    /// Rows of labels of slice z of a strip, out of the slab.
    case windowLabels(strip: Range<Int>, z: Int)
    /// Rows of slice z of lineSteps[i]: an op, the sums of a normalization, the labels of a tile.
    case slice(Int, z: Int)
    case sliceSums(Int, z: Int)
    case sliceLabels(Int, z: Int, box: LinesPlan.Region)
}

extension Session {
    private struct Work {
        let session: Session
        let job: RowJob
        let rows: Int

        func run(_ thread: Int) {
            let threads = session.plan.threads
            let range = (rows * thread / threads)..<(rows * (thread + 1) / threads)
            if !range.isEmpty { session.perform(job, range, thread) }
        }
    }

    /// Even contiguous shares of rows, one per thread: every row is computed by the same arithmetic whoever does it, so
    /// the result does not depend on the number of threads.
    func share(_ job: RowJob, rows: Int, _ parallel: some WorkPool) {
        let work = Work(session: self, job: job, rows: rows)
        unsafe withUnsafePointer(to: work) { pointer in
            unsafe parallel.forEach(plan.threads, UnsafeRawPointer(pointer)) { context, thread in
                unsafe context.assumingMemoryBound(to: Work.self).pointee.run(thread)
            }
        }
    }

    private func perform(_ job: RowJob, _ rows: Range<Int>, _ thread: Int) {
        switch job {
        case .op(let index): runChain(index, rows, thread)
        case .scan(let index):
            let step = steps[index]
            let tokens = 0..<step.outputLayout.extent.voxels
            timed(index, thread, voxels: rows.lowerBound == 0 ? tokens.count : 0) {
                scanGroups(step, rows, thread, tokens: tokens)
            }
        case .chunkScan(let index, let tokens):
            timed(index, thread, voxels: rows.lowerBound == 0 ? tokens.count : 0) {
                scanChunk(steps[index], tokens, rows, thread)
            }
        case .normSums(let index, let first):
            let step = steps[index]
            let rows = (first + rows.lowerBound)..<(first + rows.upperBound)
            timed(index, thread) { unsafe addSums(step, rows, thread, input: arena + step.inputs[0]) }
        case .normRows(let index, let first):
            runChain(index, (first + rows.lowerBound)..<(first + rows.upperBound), thread)
        case .poolSums(let index, let first):
            let step = steps[index]
            let rows = (first + rows.lowerBound)..<(first + rows.upperBound)
            timed(index, thread) { unsafe addPoolSums(step, rows, thread, input: arena + step.inputs[0]) }
        case .labels(let z, let first, let count, let columns): labelRows(z, first, count, columns, rows, thread)
        case .windowScores(let strip, let origin):
            unsafe forEachScoreRow(rows, thread) { row, scores, layout in
                timed(OpClock.windowSums(file), thread, voxels: layout.extent.width) {
                    unsafe accumulate(row, scores, layout, strip, origin)
                }
            }
        case .windowLabels(let strip, let z):
            timed(file.opCount - 1, thread, voxels: rows.count * plan.volume.width) { finishRows(z, strip, rows) }
        case .slice(let index, let z):
            let line = lineSteps[index]
            timed(line.index, thread, voxels: rows.count * line.step.outputLayout.extent.width) {
                sliceRows(line, z, rows)
            }
        case .sliceSums(let index, let z):
            timed(lineSteps[index].index, thread) { sliceSums(lineSteps[index], z, rows, thread) }
        case .sliceLabels(let index, let z, let box): tileLabels(lineSteps[index], z, rows, thread, box)
        }
    }
}
