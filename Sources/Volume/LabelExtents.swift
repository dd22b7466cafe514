/// Where each label of a map lies: its voxels and the smallest box around them, found in one pass.
struct LabelExtents {
    struct Box: Equatable {
        /// First and last voxel on each axis.
        var first: SIMD3<Int32>
        var last: SIMD3<Int32>

        mutating func join(_ other: Box) {
            first = pointwiseMin(first, other.first)
            last = pointwiseMax(last, other.last)
        }

        var start: GridSize { GridSize(Int(first.x), Int(first.y), Int(first.z)) }
        var size: GridSize {
            GridSize(Int(last.x - first.x) + 1, Int(last.y - first.y) + 1, Int(last.z - first.z) + 1)
        }
    }

    private(set) var counts: [UInt16: Int] = [:]
    private var boxes: [UInt16: Box] = [:]

    /// - Parameter labels: x fastest, `size.count` of them.
    init(_ labels: [UInt16], size: GridSize) {
        precondition(labels.count == size.count, "label map of another size")
        for z in 0..<size.z {
            for y in 0..<size.y {
                let row = (z * size.y + y) * size.x
                var x = 0
                // By runs of one label: the dictionaries are asked once per run, not once per voxel.
                while x < size.x {
                    let label = labels[row + x]
                    let from = x
                    while x < size.x && labels[row + x] == label { x += 1 }
                    add(label, from, x - 1, y, z)
                }
            }
        }
    }

    private mutating func add(_ label: UInt16, _ from: Int, _ to: Int, _ y: Int, _ z: Int) {
        counts[label, default: 0] += to - from + 1
        let run = Box(
            first: SIMD3(Int32(from), Int32(y), Int32(z)), last: SIMD3(Int32(to), Int32(y), Int32(z)))
        boxes[label, default: run].join(run)
    }

    func count(_ labels: [UInt16]) -> Int { labels.reduce(0) { $0 + (counts[$1] ?? 0) } }

    /// The box around all voxels with one of the labels; nil when there are none.
    func box(_ labels: [UInt16]) -> Box? {
        var result: Box?
        for label in labels {
            guard let box = boxes[label] else { continue }
            if result == nil { result = box } else { result!.join(box) }
        }
        return result
    }
}
