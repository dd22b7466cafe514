/// The file of an image that is written from front to end: gzip-compressed when its name ends in `.gz`, under that name only when it
/// is complete.
final class ImageOutput {
    private let file: OutputFile
    private let gzip: GzipOutput?
    private let behind: WriteBehind?

    /// - Parameters:
    ///   - path: must end in `.nii` or `.nii.gz`.
    ///   - inputs: files that must not be the output.
    ///   - ownThread: compresses in a thread of its own, while the caller makes the next bytes. The file is the same.
    /// - Throws: exit 8 for another name and as `OutputFile` does.
    init(
        path: String, content: GzipOutput.Content, overwrite: Bool, inputs: [String], ownThread: Bool
    ) throws(VolumeError) {
        let lower = path.lowercased()
        let compresses = lower.hasSuffix(".nii.gz")
        guard compresses || lower.hasSuffix(".nii") else {
            throw .output(path, "name (must end in .nii or .nii.gz)")
        }
        file = try OutputFile(path: path, overwrite: overwrite, inputs: inputs)
        gzip = compresses ? try GzipOutput(file: file, content: content) : nil
        behind = ownThread ? gzip.flatMap { WriteBehind($0) } : nil
    }

    /// The most bytes that it allocates, almost all of them zlib's.
    static func bytesNeeded(ownThread: Bool) -> Int { (400 << 10) + (ownThread ? SlabRing.bytesNeeded : 0) }

    /// Appends bytes. After an error the file is gone.
    func write(_ bytes: UnsafeRawBufferPointer) throws(VolumeError) {
        do throws(VolumeError) {
            if let behind {
                try unsafe behind.write(bytes)
            } else if let gzip {
                try unsafe gzip.write(bytes)
            } else {
                try unsafe file.write(bytes)
            }
        } catch {
            file.discard()
            throw error
        }
    }

    func write(_ bytes: [UInt8]) throws(VolumeError) {
        try unsafe bytes.withUnsafeBufferPointer { (buffer) throws(VolumeError) in
            try unsafe write(UnsafeRawBufferPointer(buffer))
        }
    }

    /// Completes the file and gives it its name.
    func finish() throws(VolumeError) {
        do throws(VolumeError) {
            if let behind { try behind.finish() } else { try gzip?.finish() }
            try file.commit()
        } catch {
            file.discard()
            throw error
        }
    }

    /// The open file, for tests that make writing fail.
    var descriptor: Int32 { file.descriptor }
}
