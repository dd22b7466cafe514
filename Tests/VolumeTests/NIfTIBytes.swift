import CNIfTI
import Foundation
import Volume

/// Crafts NIfTI files byte by byte, independent of the code under test: offsets are those of the format's documents.
struct NIfTIBytes {
    var version = 1
    var bigEndian = false
    var dim = [3, 5, 4, 3, 1, 1, 1, 1]
    var datatype = 2
    var bitpix: Int?
    var pixdim: [Double] = [1, 1, 1.5, 2, 0, 0, 0, 0]
    var voxOffset: Double?
    var slope = 0.0
    var inter = 0.0
    var qformCode = 0
    var sformCode = 1
    /// b, c, d, offset x, y, z
    var quatern: [Double] = [0, 0, 0, 10, 20, 30]
    var srow: [Double] = [1, 0, 0, -2, 0, 1.5, 0, -3, 0, 0, 2, -4]
    var units = 2
    var magic: [UInt8]?
    var sizeofHdr: Int?
    /// The four bytes after the header and whatever lies before the voxels.
    var afterHeader: [UInt8] = [0, 0, 0, 0]
    var values: [Double]?

    static let widths = [2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8]
    var width: Int { Self.widths[datatype] ?? 4 }
    var count: Int { dim[1...max(1, min(dim[0], 7))].reduce(1) { $0 * max(1, $1) } }

    func put<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        let word = bigEndian ? value.bigEndian : value.littleEndian
        return unsafe withUnsafeBytes(of: word) { unsafe Array($0) }
    }
    func i16(_ value: Int) -> [UInt8] { put(Int16(truncatingIfNeeded: value)) }
    func i32(_ value: Int) -> [UInt8] { put(Int32(truncatingIfNeeded: value)) }
    func i64(_ value: Int) -> [UInt8] { put(Int64(value)) }
    func f32(_ value: Double) -> [UInt8] { put(Float(value).bitPattern) }
    func f64(_ value: Double) -> [UInt8] { put(value.bitPattern) }

    var headerLength: Int { version == 1 ? 348 : 540 }

    func header() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: headerLength)
        func at(_ offset: Int, _ part: [UInt8]) {
            bytes.replaceSubrange(offset..<offset + part.count, with: part)
        }
        let bits = bitpix ?? width * 8
        let offset = voxOffset ?? Double(headerLength + afterHeader.count)
        if version == 1 {
            at(0, i32(sizeofHdr ?? 348))
            at(40, dim.flatMap(i16))
            at(70, i16(datatype) + i16(bits))
            at(76, pixdim.flatMap(f32))
            at(108, f32(offset) + f32(slope) + f32(inter))
            at(123, [UInt8(units)])
            at(148, Array("made by a test".utf8))
            at(252, i16(qformCode) + i16(sformCode))
            at(256, quatern.flatMap(f32) + srow.flatMap(f32))
            at(344, magic ?? Array("n+1\0".utf8))
        } else {
            at(0, i32(sizeofHdr ?? 540))
            at(4, magic ?? Array("n+2\0\r\n".utf8) + [0x1a, 0x0a])
            at(12, i16(datatype) + i16(bits))
            at(16, dim.flatMap(i64))
            at(104, pixdim.flatMap(f64))
            at(168, i64(Int(offset)))
            at(176, f64(slope) + f64(inter))
            at(344, i32(qformCode) + i32(sformCode))
            at(352, quatern.flatMap(f64) + srow.flatMap(f64))
            at(500, i32(units))
        }
        return bytes
    }

    func encode(_ value: Double) -> [UInt8] {
        switch datatype {
        case 2: put(UInt8(value))
        case 4: put(Int16(value))
        case 8: put(Int32(value))
        case 16: f32(value)
        case 64: f64(value)
        case 256: put(Int8(value))
        case 512: put(UInt16(value))
        case 768: put(UInt32(value))
        case 1024: put(Int64(value))
        case 1280: put(UInt64(value))
        default: [0, 0, 0, 0]
        }
    }

    /// Different voxels for every index, signed where the type allows.
    var voxelValues: [Double] {
        if let values { return values }
        let signed = [4, 8, 16, 64, 256, 1024].contains(datatype)
        return (0..<count).map { Double($0 * 37 % 100) - (signed ? 40 : 0) }
    }
    func voxels() -> [UInt8] { voxelValues.flatMap(encode) }
    func file() -> [UInt8] { header() + afterHeader + voxels() }
}

/// One gzip member, made with zlib.
func gzip(_ bytes: [UInt8]) -> [UInt8] {
    var stream = unsafe z_stream()
    var output = [UInt8](repeating: 0, count: bytes.count + 1024)
    unsafe deflateInit2_(
        &stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    var input = bytes
    let made = unsafe input.withUnsafeMutableBufferPointer { source in
        unsafe output.withUnsafeMutableBufferPointer { target in
            unsafe stream.next_in = source.baseAddress
            unsafe stream.avail_in = UInt32(source.count)
            unsafe stream.next_out = target.baseAddress
            unsafe stream.avail_out = UInt32(target.count)
            unsafe deflate(&stream, Z_FINISH)
            return unsafe target.count - Int(stream.avail_out)
        }
    }
    unsafe deflateEnd(&stream)
    return Array(output[0..<made])
}

/// A folder that disappears with the object.
final class TemporaryFolder {
    let path: String

    init() {
        // In memory where that is possible: thousands of small files are slow on a busy disk.
        let isFast = FileManager.default.isWritableFile(atPath: "/dev/shm")
        path = (isFast ? "/dev/shm/" : NSTemporaryDirectory()) + "volume-tests-\(UUID().uuidString)"
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        _ = unsafe chmod(path, 0o755)
        try? FileManager.default.removeItem(atPath: path)
    }

    var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }

    @discardableResult
    func write(_ name: String, _ bytes: [UInt8]) -> String {
        let file = "\(path)/\(name)"
        _ = FileManager.default.createFile(atPath: file, contents: Data(bytes))
        return file
    }

    func bytes(_ name: String) -> [UInt8] {
        [UInt8](FileManager.default.contents(atPath: "\(path)/\(name)") ?? Data())
    }
}

/// A small repeatable generator (splitmix64).
struct TestRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// Data that not every machine has. Tests that need a file name it in their trait, so that a skip is visible.
enum SharedData {
    /// The package root is three levels above this file.
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path
    static let t1 = "\(root)/../shared/data/mri/t1_crop.nii.gz"
    static let reference = "\(root)/../shared/data/meshnet/reference/model5_gw_ae_t1_crop_full.nii.gz"
    static let ch2 = "/usr/share/mricron/templates/ch2.nii.gz"
    static let ch2bet = "/usr/share/mricron/templates/ch2bet.nii.gz"

    static func has(_ path: String) -> Bool { FileManager.default.isReadableFile(atPath: path) }
}

/// Runs `body` and returns the error it throws, nil when it succeeds.
func volumeError(_ body: () throws(VolumeError) -> Void) -> VolumeError? {
    do throws(VolumeError) {
        try body()
        return nil
    } catch {
        return error
    }
}
