/// Float activations `[channel][depth][height][width]`, contiguous.
public struct FloatTensor: Sendable {
    public let channels: Int
    public let size: Size3
    public var values: [Float]

    public init(channels: Int, size: Size3, values: [Float]) {
        precondition(values.count == channels * size.count, "values do not match the shape")
        self.channels = channels
        self.size = size
        self.values = values
    }

    /// Index of the largest channel of every voxel, the lowest on a tie.
    public func argmax() -> [UInt16] { FloatKernels.argmax(self, Parallel(threads: 1)) }

    public init(channels: Int, size: Size3) {
        self.init(channels: channels, size: size, values: [Float](repeating: 0, count: channels * size.count))
    }
}
