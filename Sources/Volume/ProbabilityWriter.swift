/// Writes class probabilities on the grid of an input image: uint8 with slope 1 / 255, classes along the fourth axis, class after
/// class and slice after slice. Geometry and name rules are those of `LabelWriter`.
final class ProbabilityWriter {
    private let output: ImageOutput

    /// - Throws: exit 8 as `LabelWriter` does; the labels' file must be another one.
    init(
        path: String, like header: NIfTIHeader, classes: Int, description: String, overwrite: Bool, labels: String,
        ownThread: Bool = false
    ) throws(VolumeError) {
        guard path != labels else { throw .output(path, "probabilities and labels (must be two files)") }
        guard classes <= 32767 else { throw .output(path, "\(classes) classes (a NIfTI axis has at most 32767)") }
        output = try ImageOutput(
            path: path, content: .values, overwrite: overwrite, inputs: [header.path, header.dataPath, labels],
            ownThread: ownThread)
        try output.write(
            LabelWriter.headerBytes(
                header, values: [255], isWide: false, name: "Probabilities", description: description,
                classes: classes))
    }

    /// Appends the next stored slice.
    func append(_ slice: Span<UInt8>) throws(VolumeError) {
        try unsafe slice.withUnsafeBytes { (bytes) throws(VolumeError) in try unsafe output.write(bytes) }
    }

    func finish() throws(VolumeError) { try output.finish() }
}
