/// One region of the arena: needed from step `first` to step `last` inclusive.
public struct PlannedBuffer: Equatable, Sendable {
    public enum Use: Equatable, Sendable {
        /// Activation tensor by index in the model file.
        case tensor(Int)
        /// The slices of a tensor that a slice-by-slice pass still needs.
        case ring(Int, segment: Int)
        /// A tensor of a state-space block, by the block's first op, for one chunk of tokens: several blocks may read one tensor.
        case chunk(Int, block: Int)
        /// What the backward scan at op index leaves for the forward pass.
        case backward(Int)
        /// Zero-point row of a convolution, sums of a normalization or states of a scan, by op index.
        case scratch(Int)
        /// Tables of a Kolmogorov-Arnold layer, by op index of its convolution: filled when a session opens.
        case spline(Int)
        /// Rows of a tensor between two ops of a chain, of each thread.
        case rows(Int)
        /// The whole tensor between two segments of a network with statistics over the volume.
        case volume
        /// Rows of one input plane, as the source delivers them.
        case inputRows
        /// Labels of one slice on their way out.
        case labelSlice
        /// Class probabilities of one slice, when asked for.
        case probabilitySlice
        /// One row of class scores per thread.
        case scoreRows
        /// Sums of weighted scores of the slices that a later window can still touch.
        case scoreSlab
    }

    public var use: Use
    public var bytes: Int
    public var first: Int
    public var last: Int
    public var offset = 0

    public init(use: Use, bytes: Int, first: Int, last: Int) {
        self.use = use
        self.bytes = bytes
        self.first = first
        self.last = last
    }

    func overlapsInTime(_ other: PlannedBuffer) -> Bool { first <= other.last && other.first <= last }
}

/// Lifetimes in, offsets out: largest buffer first, into the lowest gap that is free for its whole life.
public enum BufferPlanner {
    public static let alignment = 64

    /// Sets every offset and returns the arena size in bytes.
    public static func place(_ buffers: inout [PlannedBuffer]) -> Int {
        // Ties by index, so that the plan of a model is the same on every machine.
        let order = buffers.indices.sorted {
            (buffers[$1].bytes, $0) < (buffers[$0].bytes, $1)
        }
        var placed: [Int] = []
        var total = 0
        for index in order {
            let offset = lowestGap(for: buffers[index], among: placed.map { buffers[$0] })
            buffers[index].offset = offset
            let position = placed.firstIndex { buffers[$0].offset > offset } ?? placed.count
            placed.insert(index, at: position)
            total = max(total, offset + aligned(buffers[index].bytes))
        }
        return total
    }

    /// The largest sum of simultaneously live bytes: no placement can need less.
    public static func lowerBound(_ buffers: [PlannedBuffer]) -> Int {
        buffers.map { start in
            buffers.filter { $0.first <= start.first && start.first <= $0.last }.reduce(0) { $0 + aligned($1.bytes) }
        }.max() ?? 0
    }

    static func aligned(_ bytes: Int) -> Int { (bytes + alignment - 1) & ~(alignment - 1) }

    private static func lowestGap(for buffer: PlannedBuffer, among placed: [PlannedBuffer]) -> Int {
        var offset = 0
        for other in placed where other.overlapsInTime(buffer) {
            if offset + aligned(buffer.bytes) <= other.offset { break }
            offset = max(offset, other.offset + aligned(other.bytes))
        }
        return offset
    }
}
