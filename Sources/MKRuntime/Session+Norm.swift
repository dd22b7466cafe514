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
    func runGroupNorm(_ step: Step, _ parallel: some WorkPool) {
        let op = step.op
        let norm = file.norm(op)
        let scratch = NormScratch(channels: norm.channels, threads: plan.threads)
        let base = unsafe arena + step.scratch!
        let sums = unsafe base.assumingMemoryBound(to: NormSums.self)
        unsafe sums.initialize(repeating: NormSums(), count: norm.channels * plan.threads)
        let (input, inputLayout) = unsafe (arena + step.inputs[0], step.inputLayouts[0])
        splitRows(inputLayout.extent.rows, parallel) { rows, thread in
            unsafe norm.addSums(
                isa: isa, input: input, layout: inputLayout, rows: rows, sums: sums + thread * norm.channels)
        }
        for thread in 1..<max(1, plan.threads) {
            for c in 0..<norm.channels { unsafe sums[c] += sums[thread * norm.channels + c] }
        }
        let affines = unsafe (base + scratch.affineOffset).assumingMemoryBound(to: mk_affine.self)
        unsafe affines.initialize(repeating: mk_affine(), count: norm.channels + 3)
        unsafe norm.affines(sums: sums, parameters: { file.normChannel(op, $0) }, into: affines)
        let layout = plan.layouts[Int(op.output)]
        splitRows(layout.extent.rows, parallel) { rows, _ in
            unsafe norm.apply(
                isa: isa, affines: affines, input: input, inputLayout: inputLayout, output: arena + step.output,
                outputLayout: layout, rows: rows)
        }
    }
}
