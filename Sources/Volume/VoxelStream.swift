/// The voxels of one volume as a stream of stored slices: the file is read again for every pass, and memory holds one slice.
public struct VoxelStream: VoxelPasses, Sendable {
    public let header: NIfTIHeader
    private let ownThread: Bool

    /// - Parameter ownThread: every pass inflates in a thread of its own.
    public init(_ header: NIfTIHeader, ownThread: Bool = false) {
        self.header = header
        self.ownThread = ownThread
    }

    /// The most bytes that a pass allocates: one slice in its stored type and the buffers of the stream.
    public static func bytesNeeded(_ header: NIfTIHeader) -> Int {
        header.dims.x * header.dims.y * header.datatype.storedByteCount + VoxelVolume.readBufferBytes
    }

    /// The most bytes of counters that the statistics of a rule take.
    static func statisticsBytes(_ header: NIfTIHeader, _ rule: Normalization) -> Int {
        if case .none = rule { return 0 }
        // Extremes and two quantiles: two ranks each.
        return (header.datatype.storedByteCount > 2 ? 8 : 1) << 18
    }

    func forEachPart(_ body: (VoxelArray) -> Void) throws(VolumeError) {
        try forEachSlice { _, voxels in body(voxels) }
    }

    /// Calls `body(k, slice)` for every stored slice, from the first.
    /// - Returns: warnings of the reading (NaN voxels, bytes after the end).
    @discardableResult
    func forEachSlice(_ body: (Int, VoxelArray) throws(VolumeError) -> Void) throws(VolumeError) -> [String] {
        var reader = try VoxelReader(header: header, ownThread: ownThread)
        for slice in 0..<header.dims.z {
            try body(slice, reader.next(header.dims.x * header.dims.y))
        }
        try reader.finish()
        return reader.warnings
    }
}

/// The code of every voxel of a slice, in stored order.
struct SliceCoder<Code: InputCode>: VoxelVisitor {
    let coder: VoxelCoder<Code>
    let slope: Double
    let inter: Double
    /// Code of every possible stored value of a type of up to 16 bits; filled at the first slice.
    private var table: [Code] = []
    private(set) var codes: [Code]

    init(_ header: NIfTIHeader, _ coder: VoxelCoder<Code>) {
        self.coder = coder
        slope = header.slope
        inter = header.inter
        codes = [Code](repeating: 0, count: header.dims.x * header.dims.y)
    }

    mutating func visit<T: VoxelScalar>(_ voxels: [T]) {
        let (coder, slope, inter) = (coder, slope, inter)
        if table.isEmpty, T.keyBits <= 16 {
            table = (0..<(1 << T.keyBits)).map { coder.code(slope * T.fromKey(UInt64($0)).real + inter) }
        }
        // Moved out and back, so that the array is not copied.
        var held: [Code] = []
        swap(&held, &codes)
        defer { swap(&held, &codes) }
        var target = held.mutableSpan
        let table = table
        for index in voxels.indices {
            let voxel = voxels[index]
            target[index] = T.keyBits <= 16 ? table[Int(voxel.orderKey)] : coder.code(slope * voxel.real + inter)
        }
    }
}
