/// Writes class probabilities on the grid of an input image: uint8 with slope 1 / 255, classes along the fourth axis, class after
/// class and slice after slice. Geometry and name rules are those of `LabelWriter`.
final class ProbabilityWriter {
    private let file: OutputFile
    private let gzip: GzipOutput?

    /// - Throws: exit 8 as `LabelWriter` does; the labels' file must be another one.
    init(
        path: String, like header: NIfTIHeader, classes: Int, description: String, overwrite: Bool, labels: String
    ) throws(VolumeError) {
        let lower = path.lowercased()
        let compresses = lower.hasSuffix(".nii.gz")
        guard compresses || lower.hasSuffix(".nii") else {
            throw .output(path, "name (must end in .nii or .nii.gz)")
        }
        guard path != labels else { throw .output(path, "probabilities and labels (must be two files)") }
        guard classes <= 32767 else { throw .output(path, "\(classes) classes (a NIfTI axis has at most 32767)") }
        file = try OutputFile(path: path, overwrite: overwrite, inputs: [header.path, header.dataPath, labels])
        gzip = compresses ? try GzipOutput(file: file, content: .values) : nil
        try put(
            LabelWriter.headerBytes(
                header, values: [255], isWide: false, name: "Probabilities", description: description,
                classes: classes))
    }

    private func put(_ bytes: [UInt8]) throws(VolumeError) {
        try unsafe bytes.withUnsafeBufferPointer { (buffer) throws(VolumeError) in
            if let gzip {
                try unsafe gzip.write(UnsafeRawBufferPointer(buffer))
            } else {
                try unsafe file.write(UnsafeRawBufferPointer(buffer))
            }
        }
    }

    /// Appends the next stored slice.
    func append(_ slice: Span<UInt8>) throws(VolumeError) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(slice.count)
        for index in 0..<slice.count { bytes.append(slice[index]) }
        do throws(VolumeError) {
            try put(bytes)
        } catch {
            file.discard()
            throw error
        }
    }

    func finish() throws(VolumeError) {
        do throws(VolumeError) {
            try gzip?.finish()
            try file.commit()
        } catch {
            file.discard()
            throw error
        }
    }
}
