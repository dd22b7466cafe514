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
        unsafe (arena + plan.offset(of: .scoreSlab)).assumingMemoryBound(to: Int32.self)
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
            for x in from..<to { unsafe weights[x] &+= WindowWeightRule.weight(zy, xTable[x]) }
        }
        for channel in 0..<file.classCount {
            let sums = unsafe slab + channel * plan.extent.depth * slice + offset
            if layout.element == .i16 {
                let source = unsafe (scores + (channel / 2) * layout.blockStride + (channel % 2) * 2)
                    .assumingMemoryBound(to: Int16.self)
                for x in from..<to {
                    unsafe sums[x] &+= WindowWeightRule.weight(zy, xTable[x]) &* Int32(source[x * 2])
                }
            } else {
                let source = unsafe (scores + (channel / 4) * layout.blockStride + channel % 4)
                    .assumingMemoryBound(to: UInt8.self)
                for x in from..<to {
                    unsafe sums[x] &+= WindowWeightRule.weight(zy, xTable[x]) &* Int32(source[x * 4])
                }
            }
        }
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
        let bytes = Argmax(classes: file.classCount).labelBytes
        let labels = unsafe arena + plan.offset(of: .labelSlice)
        for row in rows {
            let sums = unsafe slab + ((z % plan.extent.depth) * strip.count + row) * width
            for x in 0..<width {
                let winner = unsafe winner(sums + x, classStride)
                if plan.probabilities {
                    unsafe meanProbabilities(
                        sums + x, classStride, winner, probabilitySlice + (row * width + x), strip.count * width)
                }
                unsafe clear(sums + x, classStride)
                let at = row * width + x
                if bytes == 2 {
                    unsafe labels.storeBytes(of: UInt16(winner), toByteOffset: at * 2, as: UInt16.self)
                } else {
                    unsafe labels.storeBytes(of: UInt8(winner), toByteOffset: at, as: UInt8.self)
                }
            }
        }
    }

    private func winner(_ sums: UnsafePointer<Int32>, _ stride: Int) -> Int {
        var best = unsafe sums[0]
        var winner = 0
        for channel in 1..<max(1, file.classCount) {
            let sum = unsafe sums[channel * stride]
            if sum > best {
                best = sum
                winner = channel
            }
        }
        return winner
    }

    private func clear(_ sums: UnsafeMutablePointer<Int32>, _ stride: Int) {
        for plane in 0..<(file.classCount + (plan.probabilities ? 1 : 0)) { unsafe sums[plane * stride] = 0 }
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
