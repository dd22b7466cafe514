/// The bytes of a plain or gzip-compressed file in order; which of the two it is, the first two bytes tell.
final class ByteSource {
    let file: InputFile
    let isCompressed: Bool
    private let gzip: GzipInput?
    private var ahead: ReadAhead?
    /// Uncompressed bytes delivered so far.
    private(set) var position = 0

    /// More than this many uncompressed bytes after the voxels are refused, so that a crafted file cannot keep us busy.
    static let trailingLimit = 256 << 20

    init(path: String) throws(VolumeError) {
        let file = try InputFile(path: path)
        self.file = file
        var mark: [UInt8] = [0, 0]
        var got = 0
        try unsafe mark.withUnsafeMutableBufferPointer { (buffer) throws(VolumeError) in
            got = try unsafe file.read(into: UnsafeMutableRawBufferPointer(buffer))
        }
        try file.seek(to: 0)
        isCompressed = got == 2 && mark == [0x1f, 0x8b]
        gzip = isCompressed ? try GzipInput(file: file) : nil
    }

    /// Inflates in a thread of its own from here on, where there is something to inflate and the system gives a thread.
    func readAhead() {
        if ahead == nil, let gzip { ahead = ReadAhead(gzip) }
    }

    /// An upper bound of the uncompressed size in bytes: exact for a plain file. Deflate cannot expand by more
    /// than 1032, so a small file that claims a large volume is known to lie before anything is allocated.
    var largestSize: Int {
        guard isCompressed else { return file.size }
        let (product, overflow) = file.size.multipliedReportingOverflow(by: 1032)
        return overflow ? Int.max : product
    }

    /// Fills `buffer`; returns fewer bytes only at the end of the data.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(VolumeError) -> Int {
        let got: Int
        if let ahead {
            got = try unsafe ahead.read(into: buffer)
        } else if let gzip {
            got = try unsafe gzip.read(into: buffer)
        } else {
            got = try unsafe file.read(into: buffer)
        }
        position += got
        return got
    }

    /// Up to `count` bytes as an array; shorter only at the end of the data.
    func bytes(_ count: Int) throws(VolumeError) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: count)
        var got = 0
        try unsafe result.withUnsafeMutableBufferPointer { (buffer) throws(VolumeError) in
            got = try unsafe read(into: UnsafeMutableRawBufferPointer(buffer))
        }
        result.removeLast(count - got)
        return result
    }

    /// Moves forward to an absolute uncompressed position.
    /// - Returns: false when the data end before it.
    func skip(to target: Int) throws(VolumeError) -> Bool {
        if !isCompressed {
            guard target <= file.size else { return false }
            try file.seek(to: target)
            position = target
            return true
        }
        while position < target {
            let step = min(target - position, 1 << 16)
            if try bytes(step).count < step { return false }
        }
        return true
    }

    /// Reads to the end of a gzip stream, so that its checksum is compared, and tells what follows the voxels.
    /// - Parameter expected: bytes that belong there (the volumes after the chosen one).
    /// - Returns: warnings.
    func finish(expected: Int) throws(VolumeError) -> [String] {
        let end = position
        var warnings: [String] = []
        if let gzip {
            let limit = end + expected + Self.trailingLimit
            do throws(VolumeError) {
                while !(try bytes(1 << 16).isEmpty) {
                    guard position <= limit else {
                        throw VolumeError.malformed(
                            file.path,
                            "more than \(Self.trailingLimit >> 20) MiB of data after the voxels (must end there)"
                        )
                    }
                }
            } catch {
                // Once the member with the last voxel is verified, what follows is garbage and harmless.
                ahead?.join()
                guard gzip.verifiedBytes >= end, position <= limit else { throw error }
                warnings.append("\(file.path): damaged data after the gzip stream ignored")
            }
            ahead?.join()
            if gzip.trailingGarbage { warnings.append("\(file.path): bytes after the gzip stream ignored") }
        } else {
            position = max(position, file.size)
        }
        let extra = position - end - expected
        if extra > 0 { warnings.append("\(file.path): \(extra) bytes after the voxels ignored") }
        return warnings
    }
}
