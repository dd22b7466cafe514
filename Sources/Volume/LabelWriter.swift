/// Writes a label map on the grid of an input image, slice by slice.
///
/// The header is the input's, in native byte order, with both spatial forms, their codes, pixdim and units untouched; only what
/// describes the values changes. A single file comes out, gzip-compressed when the name ends in `.gz`.
public final class LabelWriter {
    private let header: NIfTIHeader
    private let values: [UInt16]
    private let isWide: Bool
    /// Class indices are the labels.
    private let isIdentity: Bool
    private let output: ImageOutput
    private var slicesWritten = 0
    /// One slice in the output's type, native byte order.
    private var slice: [UInt8]

    /// Opens the output.
    /// - Parameters:
    ///   - path: must end in `.nii` or `.nii.gz`.
    ///   - header: of the input; gives grid and geometry, and its files must not be the output.
    ///   - values: label value of each class index; uint8 is stored when all fit, else uint16.
    ///   - name: intent name, at most 15 bytes are kept.
    ///   - description: at most 79 bytes are kept.
    ///   - ownThread: compresses in a thread of its own.
    /// - Throws: exit 8 when the name is not one of a NIfTI file, the file exists and `overwrite` is false, it is the
    ///   input, or the folder cannot be written.
    public init(
        path: String, like header: NIfTIHeader, values: [UInt16], name: String = "Labels",
        description: String = "",
        overwrite: Bool = false, ownThread: Bool = false
    ) throws(VolumeError) {
        precondition(!values.isEmpty, "a label map needs a value for class 0")
        self.header = header
        self.values = values
        isWide = values.contains { $0 > 255 }
        isIdentity = values.indices.allSatisfy { Int(values[$0]) == $0 }
        slice = [UInt8](repeating: 0, count: header.dims.x * header.dims.y * (isWide ? 2 : 1))
        output = try ImageOutput(
            path: path, content: .labels, overwrite: overwrite, inputs: [header.path, header.dataPath],
            ownThread: ownThread)
        try output.write(
            Self.headerBytes(header, values: values, isWide: isWide, name: name, description: description))
    }

    /// The most bytes that a writer allocates: one slice and its output.
    public static func bytesNeeded(_ header: NIfTIHeader, values: [UInt16], ownThread: Bool = false) -> Int {
        header.dims.x * header.dims.y * (values.contains { $0 > 255 } ? 2 : 1)
            + ImageOutput.bytesNeeded(ownThread: ownThread)
    }

    static func headerBytes(
        _ header: NIfTIHeader, values: [UInt16], isWide: Bool, name: String, description: String, classes: Int? = nil
    ) -> [UInt8] {
        var raw = header.raw
        raw.set(.datatype, 0, (isWide ? VoxelType.uint16 : .uint8).rawValue)
        raw.set(.bitpix, 0, isWide ? 16 : 8)
        raw.set(.dim, 0, 3)
        for axis in 0..<3 { raw.set(.dim, axis + 1, header.dims[axis]) }
        for axis in 4...7 { raw.set(.dim, axis, 1) }
        raw.set(.voxOffset, 0, raw.firstDataOffset)
        raw.set(.sclSlope, real: 1)
        raw.set(.sclInter, real: 0)
        raw.set(.calMin, real: 0)
        raw.set(.calMax, real: Double(values.max()!))
        // NIFTI_INTENT_LABEL: viewers choose a label rendering by it.
        raw.set(.intentCode, 0, 1002)
        if let classes {
            // Probabilities of the classes along the fourth axis: no labels.
            raw.set(.dim, 0, 4)
            raw.set(.dim, 4, classes)
            raw.set(.sclSlope, real: 1 / 255)
            raw.set(.calMax, real: 1)
            raw.set(.intentCode, 0, 0)
        }
        raw.set(.intentName, text: name)
        raw.set(.descrip, text: description)
        raw.setSingleFileMagic()
        return raw.bytes + [0, 0, 0, 0]
    }

    /// Appends the next stored slice.
    /// - Parameter classes: dims.x * dims.y class indices, x fastest, each < `values.count`.
    /// - Throws: exit 8 when the disk is full and the like; the temporary file is then gone.
    @_specialize(where T == UInt8)
    @_specialize(where T == UInt16)
    public func append<T: FixedWidthInteger & BitwiseCopyable>(_ classes: Span<T>) throws(VolumeError) {
        precondition(slicesWritten < header.dims.z, "more slices than the grid has")
        precondition(classes.count == header.dims.x * header.dims.y, "slice of another size")
        remap(classes)
        try output.write(slice)
        slicesWritten += 1
    }

    /// Fills `slice` with the label values.
    @inline(__always)
    private func remap<T: FixedWidthInteger & BitwiseCopyable>(_ classes: Span<T>) {
        let values = values
        if isIdentity, !isWide, T.self == UInt8.self {
            return unsafe slice.withUnsafeMutableBytes { target in
                unsafe classes.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
            }
        }
        // One access to the property for the whole slice; per byte it would cost ten times the copy.
        var target = slice.mutableSpan
        for index in 0..<classes.count {
            let value = values[Int(classes[index])]
            if isWide {
                // Native byte order, which the header has too.
                let bytes = value.littleEndian
                target[2 * index] = UInt8(truncatingIfNeeded: bytes)
                target[2 * index + 1] = UInt8(truncatingIfNeeded: bytes >> 8)
            } else {
                target[index] = UInt8(truncatingIfNeeded: value)
            }
        }
    }

    /// Completes the file and gives it its name. Every slice must have been appended.
    public func finish() throws(VolumeError) {
        precondition(slicesWritten == header.dims.z, "\(slicesWritten) of \(header.dims.z) slices written")
        try output.finish()
    }

    /// Writes a whole map: class indices on the stored grid, x fastest.
    public static func write<T: FixedWidthInteger & BitwiseCopyable>(
        _ classes: [T], to path: String, like header: NIfTIHeader, values: [UInt16], name: String = "Labels",
        description: String = "", overwrite: Bool = false, ownThread: Bool = false
    ) throws(VolumeError) {
        precondition(classes.count == header.dims.count, "label map of another size")
        let writer = try LabelWriter(
            path: path, like: header, values: values, name: name, description: description,
            overwrite: overwrite, ownThread: ownThread)
        let area = header.dims.x * header.dims.y
        for z in 0..<header.dims.z { try writer.append(classes.span.extracting(z * area..<(z + 1) * area)) }
        try writer.finish()
    }

    /// The open file, for tests that make writing fail.
    package var descriptor: Int32 { output.descriptor }
}
