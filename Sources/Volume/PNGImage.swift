import CNIfTI

/// A small RGB picture and its PNG form (8 bits per channel, no filter, one data chunk).
package struct PNGImage {
    /// Red, green, blue.
    package typealias Colour = SIMD3<UInt8>

    package let width: Int
    package let height: Int
    private(set) var pixels: [UInt8]

    /// A black picture.
    package init(width: Int, height: Int) {
        self.width = width
        self.height = height
        pixels = [UInt8](repeating: 0, count: width * height * 3)
    }

    /// The pixel in column x and row y, counted from the top left corner. Writing outside does nothing.
    package subscript(x: Int, y: Int) -> Colour {
        get {
            let place = (y * width + x) * 3
            return Colour(pixels[place], pixels[place + 1], pixels[place + 2])
        }
        set {
            guard x >= 0, y >= 0, x < width, y < height else { return }
            for channel in 0..<3 { pixels[(y * width + x) * 3 + channel] = newValue[channel] }
        }
    }

    func write(to path: String, overwrite: Bool, inputs: [String] = []) throws(VolumeError) {
        let file = try OutputFile(path: path, overwrite: overwrite, inputs: inputs)
        try file.write(try encoded(path))
        try file.commit()
    }

    /// The bytes of the file; `path` is for messages.
    package func encoded(_ path: String) throws(VolumeError) -> [UInt8] {
        var rows: [UInt8] = []
        rows.reserveCapacity(height * (width * 3 + 1))
        for y in 0..<height {
            rows.append(0)
            rows += pixels[y * width * 3..<(y + 1) * width * 3]
        }
        var length = compressBound(UInt(rows.count))
        var packed = [UInt8](repeating: 0, count: Int(length))
        let status = unsafe compress2(&packed, &length, rows, UInt(rows.count), 9)
        guard status == Z_OK else { throw .output(path, "zlib cannot compress (status \(status))") }
        var file: [UInt8] = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]
        // Depth 8, colour type 2 (RGB), deflate, adaptive filters, not interlaced.
        file += Self.chunk("IHDR", Self.word(width) + Self.word(height) + [8, 2, 0, 0, 0])
        file += Self.chunk("IDAT", Array(packed[0..<Int(length)]))
        file += Self.chunk("IEND", [])
        return file
    }

    private static func word(_ value: Int) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    private static func chunk(_ name: String, _ data: [UInt8]) -> [UInt8] {
        let body = Array(name.utf8) + data
        let sum = unsafe crc32(0, body, UInt32(body.count))
        return word(data.count) + body + word(Int(sum))
    }
}
