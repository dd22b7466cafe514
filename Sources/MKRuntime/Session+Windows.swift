import FlatGraph
import Ops

extension Session {
    /// Overlapping windows in slice order, for one strip of label rows after the other. The slab holds `patch.depth` slices
    /// of class sums, slice z at z mod depth; before a window row starts, the slices below it are final: they become labels
    /// and are cleared.
    func runWindows(
        _ source: some CodeSource, _ sink: some LabelSink, _ parallel: some WorkPool, _ progress: ProgressReport
    ) throws(RuntimeError) {
        let (zAxis, yAxis, xAxis) = (plan.windows[0], plan.windows[1], plan.windows[2])
        var done = 0
        for strip in plan.strips {
            let slice = strip.rows.count * plan.volume.width
            let planes = file.classCount + (plan.probabilities ? 1 : 0)
            unsafe slab.initialize(repeating: 0, count: planes * plan.extent.depth * slice)
            var finished = 0
            for (row, z) in zAxis.starts.enumerated() {
                for y in strip.windows {
                    for x in xAxis.starts {
                        try runWindow(source, strip.rows, origin: (z, yAxis.starts[y], x), parallel)
                        done += 1
                        guard progress(done, plan.windowCount) else { throw RuntimeError(.cancelled) }
                    }
                }
                let next = row + 1 < zAxis.starts.count ? zAxis.starts[row + 1] : plan.volume.depth
                for z in finished..<next { try finishSlice(z, strip.rows, sink, parallel) }
                finished = next
            }
        }
    }

    private var slab: UnsafeMutablePointer<Int32> {
        unsafe (arena + slabOffset).assumingMemoryBound(to: Int32.self)
    }

    private func runWindow(
        _ source: some CodeSource, _ strip: Range<Int>, origin: (Int, Int, Int),
        _ parallel: some WorkPool
    ) throws(RuntimeError) {
        try loadInput(source, origin: origin)
        for index in 0..<plan.tail { unsafe try runOp(index, parallel, nil) }
        share(.windowScores(strip: strip, origin: origin), rows: plan.extent.rows, parallel)
        try checkGuards(after: plan.tail)
    }

    /// Adds one row of weighted scores to the slab.
    func accumulate(
        _ row: Int, _ scores: UnsafeRawPointer, _ layout: TensorLayout, _ strip: Range<Int>, _ origin: (Int, Int, Int)
    ) {
        let z = row / plan.extent.height
        let y = row % plan.extent.height
        let volume = plan.volume
        guard (0..<volume.depth).contains(origin.0 + z), strip.contains(origin.1 + y) else { return }
        let zy = unsafe Int32(file.windowTable(2)[z]) * Int32(file.windowTable(1)[y])
        let xTable = unsafe file.windowTable(0)
        let from = max(0, -origin.2)
        let to = min(plan.extent.width, volume.width - origin.2)
        let slice = strip.count * volume.width
        let slab = unsafe slab
        let offset =
            ((origin.0 + z) % plan.extent.depth) * slice + (origin.1 + y - strip.lowerBound) * volume.width + origin.2
        if plan.probabilities {
            let weights = unsafe slab + file.classCount * plan.extent.depth * slice + offset
            for x in from..<to { unsafe weights[x] &+= WindowSums.weight(zy, xTable[x]) }
        }
        unsafe WindowSums(classes: file.classCount).add(
            isa: isa, scores: scores + 4 * from, layout: layout, table: xTable + from, zy: zy,
            sums: slab + (offset + from), plane: plan.extent.depth * slice, width: to - from)
    }

    /// Labels of a slice that no later window touches; its sums are cleared for the slice that takes its place.
    private func finishSlice(
        _ z: Int, _ strip: Range<Int>, _ sink: some LabelSink, _ parallel: some WorkPool
    ) throws(RuntimeError) {
        share(.windowLabels(strip: strip, z: z), rows: strip.count, parallel)
        unsafe try give(sink, z: z, y: strip, x: 0..<plan.volume.width, arena + plan.offset(of: .labelSlice))
    }

    func finishRows(_ z: Int, _ strip: Range<Int>, _ rows: Range<Int>) {
        let width = plan.volume.width
        let classStride = plan.extent.depth * strip.count * width
        let (sums, bytes) = (WindowSums(classes: file.classCount), Argmax(classes: file.classCount).labelBytes)
        let planes = file.classCount + (plan.probabilities ? 1 : 0)
        let labels = unsafe arena + plan.offset(of: .labelSlice)
        for row in rows {
            let first = unsafe slab + ((z % plan.extent.depth) * strip.count + row) * width
            let target = unsafe labels + row * width * bytes
            unsafe sums.labels(isa: isa, sums: first, plane: classStride, labels: target, width: width)
            for x in 0..<width where plan.probabilities {
                let winner =
                    unsafe bytes == 1
                    ? Int(target.load(fromByteOffset: x, as: UInt8.self))
                    : Int(target.load(fromByteOffset: 2 * x, as: UInt16.self))
                unsafe meanProbabilities(
                    first + x, classStride, winner, probabilitySlice + (row * width + x), strip.count * width)
            }
            for plane in 0..<planes { unsafe (first + plane * classStride).update(repeating: 0, count: width) }
        }
    }

    /// Probabilities of the weighted mean of the scores, rounded to whole units.
    private func meanProbabilities(
        _ sums: UnsafePointer<Int32>, _ stride: Int, _ winner: Int, _ output: UnsafeMutablePointer<UInt8>, _ plane: Int
    ) {
        let weight = unsafe max(1, Int64(sums[file.classCount * stride]))
        softmax.run(
            winner: winner,
            score: { c in
                let sum = unsafe Int64(sums[c * stride]) * 2 + weight
                // Rounded down, also below zero.
                let mean = sum >= 0 ? sum / (2 * weight) : -((2 * weight - 1 - sum) / (2 * weight))
                return Int32(truncatingIfNeeded: mean)
            },
            store: { c, value in unsafe output[c * plane] = value })
    }
}
