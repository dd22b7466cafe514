import FlatGraph
import Ops

extension Session {
    /// Sums by share of the rows, exact, and one voxel of means for the volume or for each slice.
    func runGlobalPool(_ index: Int, _ parallel: some WorkPool) {
        guard hasBlockOps else { return }
        let step = steps[index]
        let extent = step.inputLayouts[0].extent
        let rows = file.globalPool(step.op).isPerSlice ? extent.height : extent.rows
        for first in stride(from: 0, to: extent.rows, by: rows) {
            clearPoolSums(step)
            share(.poolSums(index, first: first), rows: rows, parallel)
            timed(index, 0, voxels: 1) { writeMeans(step, row: first / rows, voxels: rows * extent.width) }
        }
    }

    private func poolSums(_ step: Step) -> UnsafeMutablePointer<Int64> {
        unsafe (arena + step.scratch!).assumingMemoryBound(to: Int64.self)
    }

    func clearPoolSums(_ step: Step) {
        guard hasBlockOps else { return }
        unsafe poolSums(step).initialize(repeating: 0, count: file.globalPool(step.op).channels * plan.threads)
    }

    /// Adds rows of the input to the sums of a thread.
    func addPoolSums(_ step: Step, _ rows: Range<Int>, _ thread: Int, input: UnsafeRawPointer) {
        guard hasBlockOps else { return }
        let pool = file.globalPool(step.op)
        unsafe pool.addSums(
            input: input, layout: step.inputLayouts[0], rows: rows, sums: poolSums(step) + thread * pool.channels)
    }

    /// - Parameters:
    ///   - row: of the output.
    ///   - voxels: that the finished sums are of.
    func writeMeans(_ step: Step, row: Int, voxels: Int) {
        guard hasBlockOps else { return }
        let pool = file.globalPool(step.op)
        let sums = unsafe poolSums(step)
        for thread in 1..<max(1, plan.threads) {
            for c in 0..<pool.channels { unsafe sums[c] += sums[thread * pool.channels + c] }
        }
        unsafe pool.write(
            sums: sums, count: voxels, parameters: file.channels(step.op), output: arena + step.output,
            layout: step.outputLayout, row: row)
    }
}
