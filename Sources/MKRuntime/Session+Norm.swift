import COps
import FlatGraph
import Ops

/// Scratch of a normalization: sums by thread and channel, then one affine map per channel.
struct NormScratch {
    let channels: Int
    let threads: Int

    var sumBytes: Int { channels * MemoryLayout<NormSums>.stride }
    var affineOffset: Int { (threads * sumBytes + 63) & ~63 }
    /// Kernels read the maps of whole blocks.
    var byteCount: Int { affineOffset + (channels + 3) * MemoryLayout<mk_affine>.stride }
}

extension Session {
    /// Sums by share of the rows, their reduction (exact, so the order does not matter), and the map.
    func runGroupNorm(_ index: Int, _ parallel: some WorkPool) {
        guard hasBlockOps else { return }
        let step = steps[index]
        let extent = step.outputLayout.extent
        let rows = file.norm(step.op).isPerSlice ? extent.height : extent.rows
        let areTaken = index > 0 && steps[index - 1].takesSums
        for first in stride(from: 0, to: extent.rows, by: rows) {
            if !areTaken {
                clearSums(step)
                share(.normSums(index, first: first), rows: rows, parallel)
            }
            reduceSums(step)
            share(.normRows(index, first: first), rows: rows, parallel)
        }
    }

    private func sums(_ step: Step) -> UnsafeMutablePointer<NormSums> {
        unsafe (arena + step.scratch!).assumingMemoryBound(to: NormSums.self)
    }

    private func affines(_ step: Step) -> UnsafeMutablePointer<mk_affine> {
        let scratch = NormScratch(channels: file.norm(step.op).channels, threads: plan.threads)
        return unsafe (arena + step.scratch! + scratch.affineOffset).assumingMemoryBound(to: mk_affine.self)
    }

    func clearSums(_ step: Step) {
        unsafe sums(step).initialize(repeating: NormSums(), count: file.norm(step.op).channels * plan.threads)
    }

    /// Adds rows of the input to the sums of a thread.
    func addSums(_ step: Step, _ rows: Range<Int>, _ thread: Int, input: UnsafeRawPointer) {
        guard hasBlockOps else { return }
        let norm = file.norm(step.op)
        unsafe norm.addSums(
            isa: isa, input: input, layout: step.inputLayouts[0], rows: rows, sums: sums(step) + thread * norm.channels)
    }

    /// One affine map per channel from the finished sums.
    func reduceSums(_ step: Step) {
        let norm = file.norm(step.op)
        let sums = unsafe sums(step)
        for thread in 1..<max(1, plan.threads) {
            for c in 0..<norm.channels { unsafe sums[c] += sums[thread * norm.channels + c] }
        }
        let affines = unsafe affines(step)
        unsafe affines.initialize(repeating: mk_affine(), count: norm.channels + 3)
        unsafe norm.affines(sums: sums, parameters: { file.normChannel(step.op, $0) }, into: affines)
    }

    func applyNorm(_ step: Step, _ rows: Range<Int>, input: UnsafeRawPointer, output: UnsafeMutableRawPointer) {
        guard hasBlockOps else { return }
        unsafe file.norm(step.op).apply(
            isa: isa, affines: affines(step), input: input, inputLayout: step.inputLayouts[0], output: output,
            outputLayout: step.outputLayout, rows: rows)
    }
}
