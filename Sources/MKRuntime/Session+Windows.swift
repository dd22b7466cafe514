import FlatGraph
import Ops

extension Session {
    /// Overlapping windows in slice order. The slab holds `patch.depth` slices of class sums, slice z at z mod depth;
    /// before a window row starts, the slices below it are final: they become labels and are cleared.
    func runWindows(
        _ codes: UnsafeBufferPointer<UInt8>, _ labels: UnsafeMutableRawBufferPointer, _ parallel: some WorkPool,
        _ progress: ProgressReport
    ) throws(RuntimeError) {
        let classes = file.classCount
        let slab = unsafe (arena + plan.offset(of: .scoreSlab)).assumingMemoryBound(to: Int32.self)
        let slice = plan.volume.height * plan.volume.width
        unsafe slab.initialize(repeating: 0, count: classes * plan.extent.depth * slice)
        let (zAxis, yAxis, xAxis) = (plan.windows[0], plan.windows[1], plan.windows[2])
        var finished = 0
        var done = 0
        for (row, z) in zAxis.starts.enumerated() {
            for y in yAxis.starts {
                for x in xAxis.starts {
                    unsafe try runWindow(codes, slab, origin: (z, y, x), parallel)
                    done += 1
                    guard progress(done, plan.windowCount) else { throw RuntimeError(.cancelled) }
                }
            }
            let next = row + 1 < zAxis.starts.count ? zAxis.starts[row + 1] : plan.volume.depth
            unsafe finishSlices(finished..<next, slab, labels, parallel)
            finished = next
        }
    }

    private func runWindow(
        _ codes: UnsafeBufferPointer<UInt8>, _ slab: UnsafeMutablePointer<Int32>, origin: (Int, Int, Int),
        _ parallel: some WorkPool
    ) throws(RuntimeError) {
        unsafe loadInput(codes, origin: origin, parallel)
        for index in 0..<plan.tail { unsafe try runOp(index, parallel, nil) }
        unsafe forEachScoreRow(parallel) { row, scores, layout in
            unsafe accumulate(row, scores, layout, slab, origin)
        }
        try checkGuards(after: plan.tail)
    }

    /// Adds one row of weighted scores to the slab.
    private func accumulate(
        _ row: Int, _ scores: UnsafeRawPointer, _ layout: TensorLayout, _ slab: UnsafeMutablePointer<Int32>,
        _ origin: (Int, Int, Int)
    ) {
        let z = row / plan.extent.height
        let y = row % plan.extent.height
        let volume = plan.volume
        guard (0..<volume.depth).contains(origin.0 + z), (0..<volume.height).contains(origin.1 + y) else { return }
        let zy = unsafe Int32(file.windowTable(2)[z]) * Int32(file.windowTable(1)[y])
        let xTable = unsafe file.windowTable(0)
        let from = max(0, -origin.2)
        let to = min(plan.extent.width, volume.width - origin.2)
        let slice = volume.height * volume.width
        let offset = ((origin.0 + z) % plan.extent.depth) * slice + (origin.1 + y) * volume.width + origin.2
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

    /// Labels of slices that no later window touches; their sums are cleared for the slices that take their place.
    private func finishSlices(
        _ slices: Range<Int>, _ slab: UnsafeMutablePointer<Int32>, _ labels: UnsafeMutableRawBufferPointer,
        _ parallel: some WorkPool
    ) {
        let volume = plan.volume
        let classStride = plan.extent.depth * volume.height * volume.width
        let wide = Argmax(classes: file.classCount).labelBytes == 2
        splitRows(slices.count * volume.height, parallel) { rows, _ in
            for row in rows {
                let z = slices.lowerBound + row / volume.height
                let y = row % volume.height
                let sums = unsafe slab + ((z % plan.extent.depth) * volume.height + y) * volume.width
                let first = (z * volume.height + y) * volume.width
                for x in 0..<volume.width {
                    let winner = unsafe takeWinner(sums + x, classStride)
                    if wide {
                        unsafe labels.storeBytes(of: UInt16(winner), toByteOffset: (first + x) * 2, as: UInt16.self)
                    } else {
                        unsafe labels.storeBytes(of: UInt8(winner), toByteOffset: first + x, as: UInt8.self)
                    }
                }
            }
        }
    }

    private func takeWinner(_ sums: UnsafeMutablePointer<Int32>, _ stride: Int) -> Int {
        var best = unsafe sums[0]
        var winner = 0
        unsafe sums[0] = 0
        for channel in 1..<max(1, file.classCount) {
            let sum = unsafe sums[channel * stride]
            unsafe sums[channel * stride] = 0
            if sum > best {
                best = sum
                winner = channel
            }
        }
        return winner
    }
}
