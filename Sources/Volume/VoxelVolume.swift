/// One volume in memory in its stored type. Immutable; x is fastest.
public struct VoxelVolume: Sendable {
    /// The header, with the warnings of reading the voxels added.
    public let header: NIfTIHeader
    let voxels: VoxelArray

    public var dims: GridSize { header.dims }

    init(header: NIfTIHeader, voxels: VoxelArray) {
        self.header = header
        self.voxels = voxels
    }

    /// The most bytes that `read` allocates: the stored voxels plus the buffers of the stream (under 1 MiB).
    public static func bytesNeeded(_ header: NIfTIHeader) -> Int {
        header.dims.count * header.datatype.storedByteCount + readBufferBytes
    }

    /// Upper bound of the compressed-side buffer, zlib's state and window, one slab, and a thread's ring.
    public static let readBufferBytes = 1 << 20

    /// Reads the chosen volume. A gzip stream is read to its end, so that checksum and length are verified.
    /// NaN and infinite voxels become a stored 0 and are counted in a warning.
    /// - Parameter ownThread: inflates in a thread of its own.
    /// - Throws: exit 3 when the file vanished; exit 4 for truncated or damaged data, for more than 1 % NaN or infinite
    ///   voxels, and for 64-bit integers that do not fit 32 bits.
    public static func read(_ header: NIfTIHeader, ownThread: Bool = false) throws(VolumeError) -> VoxelVolume {
        var reader = try VoxelReader(header: header, ownThread: ownThread)
        let voxels = try reader.read()
        var result = header
        result.warnings += reader.warnings
        return VoxelVolume(header: result, voxels: voxels)
    }

    /// Header and voxels in one call.
    public static func read(
        path: String, options: NIfTIOptions = NIfTIOptions(), ownThread: Bool = false
    ) throws(VolumeError) -> VoxelVolume {
        try read(NIfTIHeader.read(path: path, options: options), ownThread: ownThread)
    }

    /// The real value (slope and intercept applied) of the voxel with this linear index. For a few voxels only.
    public func value(at index: Int) -> Double {
        var visitor = OneVoxel(index: index)
        return header.slope * voxels.apply(&visitor) + header.inter
    }

    /// The voxels as label values.
    /// - Throws: exit 4 when a real value is not a whole number in 0...65535.
    public func labels() throws(VolumeError) -> [UInt16] {
        var visitor = LabelVisitor(slope: header.slope, inter: header.inter)
        let labels = voxels.apply(&visitor)
        if let bad = visitor.bad {
            throw .malformed(
                header.path,
                "voxel[\(bad.index)]=\(bad.value) (must be a whole number in 0...65535 in a label map)")
        }
        return labels
    }

    /// 1 where the real value is not 0, else 0.
    public func nonzeroMask() -> [UInt16] {
        var visitor = MaskVisitor(slope: header.slope, inter: header.inter)
        return voxels.apply(&visitor)
    }

    /// A part of the volume as a volume of its own: its statistics, its grid, its place in space.
    /// - Parameters:
    ///   - start: first voxel on each stored axis.
    ///   - size: at least 1 per axis; start + size within `dims`.
    public func cropped(start: GridSize, size: GridSize) -> VoxelVolume {
        for axis in 0..<3 {
            precondition(
                start[axis] >= 0 && size[axis] >= 1 && start[axis] + size[axis] <= dims[axis],
                "crop leaves the volume")
        }
        var result = header
        result.dims = size
        let shift = { (affine: Affine) in
            affine.position(Double(start.x), Double(start.y), Double(start.z))
        }
        let origin = shift(header.affine)
        let qOrigin = shift(header.qform)
        let sform = Affine(rows: (0..<12).map { header.raw.real(.srow, $0) })
        let sOrigin = shift(sform)
        for row in 0..<3 {
            result.affine[row, 3] = origin[row]
            result.qform[row, 3] = qOrigin[row]
            if header.raw.integer(.sformCode) > 0, sOrigin[row].isFinite {
                result.raw.set(.srow, row * 4 + 3, real: sOrigin[row])
            }
            if header.raw.integer(.qformCode) > 0, qOrigin[row].isFinite {
                result.raw.set(.quatern, 3 + row, real: qOrigin[row])
            }
            result.raw.set(.dim, 1 + row, size[row])
        }
        var visitor = CropVisitor(dims: dims, start: start, size: size)
        return VoxelVolume(header: result, voxels: voxels.apply(&visitor))
    }
}

private struct OneVoxel: VoxelVisitor {
    let index: Int
    func visit<T: VoxelScalar>(_ voxels: [T]) -> Double { voxels[index].real }
}

private struct LabelVisitor: VoxelVisitor {
    let slope: Double
    let inter: Double
    var bad: (index: Int, value: Double)?

    mutating func visit<T: VoxelScalar>(_ voxels: [T]) -> [UInt16] {
        var labels = [UInt16](repeating: 0, count: voxels.count)
        for index in voxels.indices {
            let value = slope * voxels[index].real + inter
            guard let label = UInt16(exactly: value) else {
                bad = (index, value)
                return []
            }
            labels[index] = label
        }
        return labels
    }
}

private struct MaskVisitor: VoxelVisitor {
    let slope: Double
    let inter: Double

    func visit<T: VoxelScalar>(_ voxels: [T]) -> [UInt16] {
        voxels.map { slope * $0.real + inter != 0 ? 1 : 0 }
    }
}

private struct CropVisitor: VoxelVisitor {
    let dims: GridSize
    let start: GridSize
    let size: GridSize

    func visit<T: VoxelScalar>(_ voxels: [T]) -> VoxelArray {
        var part: [T] = []
        part.reserveCapacity(size.count)
        for z in start.z..<start.z + size.z {
            for y in start.y..<start.y + size.y {
                let row = (z * dims.y + y) * dims.x + start.x
                part += voxels[row..<row + size.x]
            }
        }
        return wrap(part)
    }

    /// The case for this element type; every conforming type has one.
    private func wrap<T: VoxelScalar>(_ part: [T]) -> VoxelArray {
        switch part {
        case let part as [UInt8]: .uint8(part)
        case let part as [Int8]: .int8(part)
        case let part as [UInt16]: .uint16(part)
        case let part as [Int16]: .int16(part)
        case let part as [UInt32]: .uint32(part)
        case let part as [Int32]: .int32(part)
        case let part as [Float]: .float32(part)
        case let part as [Double]: .float64(part)
        default: preconditionFailure("voxel type without a case")
        }
    }
}
