import Foundation
import Testing
import Volume

/// A damaged or odd file and what must come of it.
struct FileCase: Sendable, CustomTestStringConvertible {
    let name: String
    /// File names and contents; the first is opened.
    let files: [(String, [UInt8])]
    let options: NIfTIOptions
    /// Part of the error message (refused) or of one warning (accepted; empty: no warning at all).
    let text: String

    var testDescription: String { name }

    init(_ name: String, _ text: String, options: NIfTIOptions = NIfTIOptions(), files: [(String, [UInt8])]) {
        self.name = name
        self.files = files
        self.options = options
        self.text = text
    }

    init(
        _ name: String, _ text: String, fileName: String = "a.nii", options: NIfTIOptions = NIfTIOptions(),
        change: (inout NIfTIBytes) -> Void = { _ in }, finish: ([UInt8]) -> [UInt8] = { $0 }
    ) {
        var made = NIfTIBytes()
        change(&made)
        self.init(name, text, options: options, files: [(fileName, finish(made.file()))])
    }
}

private func large(_ type: Int, _ values: Int) -> NIfTIBytes {
    NIfTIBytes(dim: [3, values, 100, 50, 1, 1, 1, 1], datatype: type)
}

/// Random bytes do not compress, so a flipped byte lies in stored data and only the checksum can see it.
private func noise(_ count: Int) -> [UInt8] {
    var random = TestRandom(state: 7)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
}

private func noisyFile() -> [UInt8] { NIfTIBytes(dim: [3, 64, 64, 128, 1, 1, 1, 1]).header() + [0, 0, 0, 0] + noise(64 * 64 * 128) }

private func flipped(_ bytes: [UInt8], at index: Int) -> [UInt8] {
    var result = bytes
    result[index] ^= 0x10
    return result
}

let refusedFiles: [FileCase] = [
    FileCase("data truncated", "what the file can hold", finish: { Array($0.dropLast(1)) }),
    FileCase("no data bytes", "what the file can hold", finish: { Array($0.prefix(352)) }),
    FileCase("vox_offset beyond the end", "vox_offset=10000", change: { $0.voxOffset = 10000 }),
    FileCase("gz truncated", "truncated", fileName: "a.nii.gz", finish: { Array(gzip($0).dropLast(12)) }),
    FileCase("gz with half the trailer", "truncated", fileName: "a.nii.gz", finish: { Array(gzip($0).dropLast(4)) }),
    FileCase("gz complete but voxels missing", "voxel data end after", fileName: "a.nii.gz", finish: { gzip(Array($0.dropLast(3))) }),
    FileCase("gz bad CRC", "data check", fileName: "a.nii.gz", finish: { let z = gzip($0); return flipped(z, at: z.count - 8) }),
    FileCase("gz bad length", "length check", fileName: "a.nii.gz", finish: { let z = gzip($0); return flipped(z, at: z.count - 4) }),
    FileCase("gz flipped byte in 512 kB", "gzip data damaged", files: [("a.nii.gz", { let z = gzip(noisyFile()); return flipped(z, at: z.count / 2) }())]),
    FileCase("592 bytes claim 18 GB", "what the file can hold", change: { $0.dim = [3, 2000, 3000, 1500, 1, 1, 1, 1]; $0.datatype = 4; $0.values = [Double](repeating: 0, count: 120) }),
    FileCase("gz of 592 bytes claims 18 GB", "what the file can hold", fileName: "a.nii.gz", change: { $0.dim = [3, 2000, 3000, 1500, 1, 1, 1, 1]; $0.datatype = 4; $0.values = [0] }, finish: gzip),
    FileCase("dims 32767^5", "dim[5]=32767", change: { $0.dim = [5, 32767, 32767, 32767, 32767, 32767, 1, 1]; $0.values = [0] }),
    FileCase("dims 32767^3 of float64, 4D", "what the file can hold", options: NIfTIOptions(volumeIndex: 0), change: { $0.dim = [4, 32767, 32767, 32767, 32767, 1, 1, 1]; $0.datatype = 64; $0.values = [0] }),
    FileCase("NIfTI-2 2^32 x 2^32 x 4", "dim[1]=4294967296", change: { $0.version = 2; $0.dim = [3, 1 << 32, 1 << 32, 4, 1, 1, 1, 1]; $0.values = [0] }),
    FileCase("NIfTI-2 2^31 cubed", "dim[1]=2147483648", change: { $0.version = 2; $0.dim = [3, 1 << 31, 1 << 31, 1 << 31, 1, 1, 1, 1]; $0.values = [0] }),
    FileCase("dim[0]=0", "dim[0]=0", change: { $0.dim[0] = 0 }),
    FileCase("dim[0]=9", "dim[0]=9", change: { $0.dim[0] = 9; $0.values = [0] }),
    FileCase("dim[0]=-3", "dim[0]=-3", change: { $0.dim[0] = -3; $0.values = [0] }),
    FileCase("dim[1]=0", "dim[1]=0 (must be 1...32767)", change: { $0.dim[1] = 0 }),
    FileCase("dim[1]=-1 (large-vector habit of one package)", "dim[1]=-1", change: { $0.dim[1] = -1 }),
    FileCase("NIfTI-2 dim[0]=200", "dim[0]=200", change: { $0.version = 2; $0.dim[0] = 200; $0.values = [0] }),
    FileCase("dim[2]=-5", "dim[2]=-5", change: { $0.dim[2] = -5 }),
    FileCase("dim[3]=0", "dim[3]=0", change: { $0.dim[3] = 0 }),
    FileCase("vox_offset -100", "vox_offset=-100", change: { $0.voxOffset = -100 }),
    FileCase("vox_offset 348", "vox_offset=348 (must be at least 352)", change: { $0.voxOffset = 348 }),
    FileCase("vox_offset NaN", "vox_offset=nan", change: { $0.voxOffset = .nan }),
    FileCase("vox_offset 1e30", "vox_offset=1e+30", change: { $0.voxOffset = 1e30 }),
    FileCase("vox_offset 352.5", "whole number", change: { $0.voxOffset = 352.5 }),
    FileCase("vox_offset 0 but no room", "what the file can hold", change: { $0.voxOffset = 0 }, finish: { Array($0.dropLast(2)) }),
    FileCase("NIfTI-2 vox_offset 352", "must be at least 544", change: { $0.version = 2; $0.voxOffset = 352 }),
    FileCase("magic xxxx", "magic=\"xxxx\"", change: { $0.magic = Array("xxxx".utf8) }),
    FileCase("no magic (ANALYZE)", "magic=\"\"", change: { $0.magic = [0, 0, 0, 0] }),
    FileCase("NIfTI-2 magic tail damaged", "text-mode", change: { $0.version = 2; $0.magic = Array("n+2\0\n\n".utf8) + [0x1a, 0x0a] }),
    FileCase("version 1 with magic n+2", "magic=\"n+2\"", change: { $0.magic = Array("n+2\0".utf8) }),
    FileCase("bitpix 16 for uint8", "bitpix=16 (must be 8", change: { $0.bitpix = 16 }),
    FileCase("NaN above the limit", "NaN or infinite (must be at most 1 %", change: { $0.datatype = 16; var v = $0.voxelValues; v[3] = .nan; $0.values = v }),
    FileCase("infinite above the limit", "NaN or infinite", change: { $0.datatype = 64; var v = $0.voxelValues; v[3] = -.infinity; $0.values = v }),
    FileCase("scl_inter NaN with a slope", "scl_inter=nan", change: { $0.slope = 2; $0.inter = .nan }),
    FileCase("pixdim 0, qform only", "pixdim[2]=0.0", change: { $0.pixdim[2] = 0; $0.sformCode = 0; $0.qformCode = 1 }),
    FileCase("pixdim NaN, qform only", "pixdim[1]=nan", change: { $0.pixdim[1] = .nan; $0.sformCode = 0; $0.qformCode = 1 }),
    FileCase("sform singular, no qform", "sform is singular", change: { $0.srow[0] = 0 }),
    FileCase("sform NaN, no qform", "srow_y[3]=nan", change: { $0.srow[7] = .nan }),
    FileCase("sform NaN, quaternion too long", "quatern_b^2", change: { $0.srow[7] = .nan; $0.qformCode = 1; $0.quatern[0] = 1.5 }),
    FileCase("quaternion too long", "quatern_b^2", change: { $0.sformCode = 0; $0.qformCode = 1; $0.quatern[1] = 1.2 }),
    FileCase("quaternion NaN", "quatern_c=nan", change: { $0.sformCode = 0; $0.qformCode = 1; $0.quatern[1] = .nan }),
    FileCase("codes 0 and 0", "--assume-orientation", change: { $0.sformCode = 0 }),
    FileCase("codes 0 and 0, bad assumption", "assumed orientation=RLA", options: NIfTIOptions(assumeOrientation: "RLA"), change: { $0.sformCode = 0 }),
    FileCase("RGB24", "unsupported datatype RGB24", change: { $0.datatype = 128; $0.bitpix = 24 }),
    FileCase("RGBA32", "RGBA32", change: { $0.datatype = 2304; $0.bitpix = 32 }),
    FileCase("complex64", "COMPLEX64", change: { $0.datatype = 32; $0.bitpix = 64 }),
    FileCase("float128", "FLOAT128", change: { $0.datatype = 1536; $0.bitpix = 128 }),
    FileCase("int64 beyond 32 bits", "voxel[7]=2147483648", change: { $0.datatype = 1024; var v = $0.voxelValues; v[7] = 2147483648; $0.values = v }),
    FileCase("uint64 beyond 32 bits", "voxel[0]=9007199254740992", change: { $0.datatype = 1280; var v = $0.voxelValues; v[0] = 9007199254740992; $0.values = v }),
    FileCase("DT_BINARY", "BINARY", change: { $0.datatype = 1; $0.bitpix = 1 }),
    FileCase("datatype 0", "datatype=0", change: { $0.datatype = 0 }),
    FileCase("datatype 999", "datatype=999", change: { $0.datatype = 999 }),
    FileCase("2D", "dim[0]=2", change: { $0.dim = [2, 5, 4, 1, 1, 1, 1, 1] }),
    FileCase("1D", "dim[0]=1", change: { $0.dim = [1, 5, 1, 1, 1, 1, 1, 1] }),
    FileCase("4D with two volumes", "use --volume N", change: { $0.dim = [4, 5, 4, 3, 2, 1, 1, 1] }),
    FileCase("volume out of range", "volume=2 (must be 0...1)", options: NIfTIOptions(volumeIndex: 2), change: { $0.dim = [4, 5, 4, 3, 2, 1, 1, 1] }),
    FileCase("4D, second volume missing", "what the file can hold", options: NIfTIOptions(volumeIndex: 1), change: { $0.dim = [4, 5, 4, 3, 2, 1, 1, 1]; $0.values = [Double](repeating: 1, count: 60) }),
    FileCase("5D", "dim[5]=3", change: { $0.dim = [5, 5, 4, 3, 1, 3, 1, 1] }),
    FileCase("CIFTI layout", "dim[5]=40", change: { $0.version = 2; $0.dim = [6, 1, 1, 1, 1, 40, 60, 1] }),
    FileCase("hdr without img", "no image file", files: [("a.hdr", NIfTIBytes(voxOffset: 0, magic: Array("ni1\0".utf8)).header())]),
    FileCase("hdr with short img", "what the file can hold", files: [("a.hdr", NIfTIBytes(voxOffset: 0, magic: Array("ni1\0".utf8)).header()), ("a.img", [1, 2, 3])]),
    FileCase("pair with negative offset", "vox_offset=-16", files: [("a.hdr", NIfTIBytes(voxOffset: -16, magic: Array("ni1\0".utf8)).header()), ("a.img", NIfTIBytes().voxels())]),
    FileCase("200 bytes", "must be at least 348", finish: { Array($0.prefix(200)) }),
    FileCase("NIfTI-2 cut at 400 bytes", "must be at least 540", change: { $0.version = 2 }, finish: { Array($0.prefix(400)) }),
    FileCase("empty", "size=0 bytes", finish: { _ in [] }),
    FileCase("empty gz stream", "size=0 bytes", finish: { _ in gzip([]) }),
    FileCase("not NIfTI at all", "not a NIfTI file", finish: { _ in noise(1000) }),
    FileCase("mgz-like", "sizeof_hdr=16777216", fileName: "a.mgz", finish: { _ in gzip([0, 0, 0, 1] + [UInt8](repeating: 0, count: 400)) }),
    FileCase("sizeof_hdr 349", "sizeof_hdr=349", change: { $0.sizeofHdr = 349 }),
    FileCase("ASCII by name", "ASCII NIfTI", fileName: "a.nia"),
    FileCase("ASCII by content", "ASCII NIfTI", finish: { _ in Array("<nifti_image\n  nifti_type = 'NIFTI-1A'\n".utf8) }),
    FileCase("only the gzip mark", "truncated", fileName: "a.nii.gz", finish: { _ in [0x1f, 0x8b] }),
    FileCase("gzip mark, then noise", "gzip data damaged", fileName: "a.nii.gz", finish: { _ in [0x1f, 0x8b] + noise(300) }),
    FileCase("gz bomb after the voxels", "more than 256 MiB", fileName: "a.nii.gz", finish: { gzip($0 + [UInt8](repeating: 0, count: 257 << 20)) }),
]

let acceptedFiles: [FileCase] = [
    FileCase("plain"), FileCase("NIfTI-2", change: { $0.version = 2 }), FileCase("big-endian", change: { $0.bigEndian = true; $0.datatype = 4 }),
    FileCase("big-endian NIfTI-2", change: { $0.bigEndian = true; $0.version = 2; $0.datatype = 64 }),
    FileCase("gz with trailing garbage", "after the gzip stream ignored", fileName: "a.nii.gz", finish: { gzip($0) + [1, 2, 3, 4, 5] }),
    FileCase("gz followed by a damaged member", "after the gzip stream ignored", fileName: "a.nii.gz", finish: { gzip($0) + [0x1f, 0x8b] + noise(40) }),
    FileCase("gz with 50 MB extra data", "52428800 bytes after the voxels ignored", fileName: "a.nii.gz", finish: { gzip($0 + [UInt8](repeating: 0, count: 50 << 20)) }),
    FileCase("gz in two members", fileName: "a.nii.gz", finish: { gzip(Array($0.prefix(370))) + gzip(Array($0.dropFirst(370))) }),
    FileCase("plain with extra data", "7 bytes after the voxels", finish: { $0 + [UInt8](repeating: 9, count: 7) }),
    FileCase("vox_offset 0", "vox_offset=0 taken as 352", change: { $0.voxOffset = 0 }),
    FileCase("NIfTI-2 vox_offset 0", "vox_offset=0 taken as 544", change: { $0.version = 2; $0.voxOffset = 0 }),
    FileCase("magic ni1 in a single file", "magic=ni1", change: { $0.magic = Array("ni1\0".utf8) }),
    FileCase("scl_slope 0, inter 5", change: { $0.inter = 5 }),
    FileCase("scl_slope NaN", "scl_slope=nan taken as 1", change: { $0.slope = .nan }),
    FileCase("pixdim 0 with a valid sform", "pixdim[2]=0.0", change: { $0.pixdim[2] = 0 }),
    FileCase("pixdim NaN with a valid sform", "the sform gives the voxel size", change: { $0.pixdim[3] = .nan }),
    FileCase("pixdim negative", "pixdim[1]=-1.0 is negative", change: { $0.pixdim[1] = -1 }),
    FileCase("sform singular, qform good", "qform used", change: { $0.srow[0] = 0; $0.qformCode = 1 }),
    FileCase("sform NaN, qform good", "srow_x[1]=nan (must be finite); qform used", change: { $0.srow[1] = .nan; $0.qformCode = 1 }),
    FileCase("sform and qform disagree", "sform and qform disagree", change: { $0.qformCode = 1 }),
    FileCase("pixdim and sform disagree", "pixdim[3]=4.0", change: { $0.pixdim[3] = 4 }),
    FileCase("sheared sform", "sheared", change: { $0.srow[1] = 1.2 }),
    FileCase("codes 0 and 0, assumed", "assumed LPS", options: NIfTIOptions(assumeOrientation: "lps"), change: { $0.sformCode = 0 }),
    FileCase("int64 in range", change: { $0.datatype = 1024 }), FileCase("uint64 in range", change: { $0.datatype = 1280 }),
    FileCase("4D with one volume", change: { $0.dim = [4, 5, 4, 3, 1, 1, 1, 1] }),
    FileCase("4D, volume chosen", options: NIfTIOptions(volumeIndex: 0), change: { $0.dim = [4, 5, 4, 3, 2, 1, 1, 1] }),
    FileCase("dims beyond dim[0] are noise", change: { $0.dim = [3, 5, 4, 3, 0, -7, 99, 0] }),
    FileCase("one voxel thick", change: { $0.dim = [3, 5, 4, 1, 1, 1, 1, 1] }),
    FileCase("extension size negative", "esize=-16", change: { $0.afterHeader = [1, 0, 0, 0] + $0.i32(-16) + $0.i32(6) + [UInt8](repeating: 0, count: 24) }),
    FileCase("extension size huge", "esize=1000000", change: { $0.afterHeader = [1, 0, 0, 0] + $0.i32(1_000_000) + [UInt8](repeating: 0, count: 28) }),
    FileCase("extension size not x16", "esize=20", change: { $0.afterHeader = [1, 0, 0, 0] + $0.i32(20) + [UInt8](repeating: 0, count: 28) }),
    FileCase("good extension", change: { $0.afterHeader = [1, 0, 0, 0] + $0.i32(32) + $0.i32(6) + [UInt8](repeating: 65, count: 24) }),
    FileCase("extension flag but none", "leaves no room", change: { $0.afterHeader = [1, 0, 0, 0] }),
    FileCase("gz named .nii", finish: gzip), FileCase("plain named .nii.gz", fileName: "a.nii.gz"),
    FileCase("upper case name", fileName: "A.NII"), FileCase("odd name", fileName: "ä b'\"c.nii"),
    FileCase("metres", "metre", change: { $0.units = 1 }),
    FileCase("pair", files: [("a.hdr", NIfTIBytes(voxOffset: 0, magic: Array("ni1\0".utf8)).header()), ("a.img", NIfTIBytes().voxels())]),
    FileCase("pair by its img, gz", files: [("a.img.gz", gzip([0, 0] + NIfTIBytes().voxels())), ("a.hdr.gz", gzip(NIfTIBytes(voxOffset: 2, magic: Array("ni1\0".utf8)).header()))]),
]

extension FileCase {
    /// An accepted file without warnings.
    init(_ name: String, fileName: String = "a.nii", options: NIfTIOptions = NIfTIOptions(), change: (inout NIfTIBytes) -> Void = { _ in }, finish: ([UInt8]) -> [UInt8] = { $0 }) {
        self.init(name, "", fileName: fileName, options: options, change: change, finish: finish)
    }
    init(_ name: String, files: [(String, [UInt8])]) { self.init(name, "", files: files) }
}

@Suite struct MalformedTests {
    @Test(arguments: refusedFiles) func refused(_ file: FileCase) throws {
        let folder = TemporaryFolder()
        for (name, bytes) in file.files { folder.write(name, bytes) }
        let path = "\(folder.path)/\(file.files[0].0)"
        let error = volumeError { () throws(VolumeError) in
            let volume = try VoxelVolume.read(path: path, options: file.options)
            try LabelWriter.write([UInt8](repeating: 0, count: volume.dims.count), to: "\(folder.path)/out.nii", like: volume.header, values: [0])
        }
        let found = try #require(error, "accepted")
        #expect(found.exitCode == 4)
        #expect(found.message.contains(file.text), "\(found)")
        #expect(found.description.hasPrefix("\(path): ") && !found.description.contains("\n"))
        #expect(folder.names == file.files.map(\.0).sorted())
    }

    @Test(arguments: acceptedFiles) func accepted(_ file: FileCase) throws {
        let folder = TemporaryFolder()
        for (name, bytes) in file.files { folder.write(name, bytes) }
        let path = "\(folder.path)/\(file.files[0].0)"
        let volume = try VoxelVolume.read(path: path, options: file.options)
        let warnings = volume.header.warnings
        if file.text.isEmpty {
            #expect(warnings.isEmpty)
        } else {
            #expect(warnings.contains { $0.contains(file.text) && $0.hasPrefix(path) && !$0.contains("\n") }, "\(warnings)")
        }
        // The builder's voxels, whatever the packing was: the first and the last.
        let wide = file.name.contains("int64") || file.name.contains("endian")
        #expect(volume.value(at: 1) == (wide && !file.name.contains("uint64") ? -3 : 37))
        let last = volume.dims.count - 1
        #expect(volume.value(at: last) == Double(last * 37 % 100) - (wide && !file.name.contains("uint64") ? 40 : 0))
    }

    @Test func fewNaNsAreCounted() throws {
        var file = NIfTIBytes(dim: [3, 20, 20, 20, 1, 1, 1, 1], datatype: 16)
        var values = file.voxelValues
        for index in [5, 77, 4000] { values[index] = [.nan, .infinity, -.infinity][index % 3] }
        file.values = values
        let folder = TemporaryFolder()
        let volume = try VoxelVolume.read(path: folder.write("a.nii", file.file()))
        #expect(volume.header.warnings.count == 1)
        #expect(volume.header.warnings[0].contains("3 voxels are NaN or infinite, taken as 0"))
        #expect([5, 77, 4000].map(volume.value) == [0, 0, 0])
        #expect(volume.value(at: 6) == values[6])
    }

    @Test func unreadableInputs() throws {
        let folder = TemporaryFolder()
        let loop = "\(folder.path)/loop.nii"
        try FileManager.default.createSymbolicLink(atPath: loop, withDestinationPath: loop)
        let fifo = "\(folder.path)/fifo.nii"
        let made = unsafe mkfifo(fifo, 0o600)
        #expect(made == 0)
        for (path, text) in [("\(folder.path)/none.nii", "cannot open"), (folder.path, "not a regular file"), (fifo, "not a regular file"), (loop, "cannot open"), ("-", "cannot open")] {
            let error = volumeError { () throws(VolumeError) in _ = try NIfTIHeader.read(path: path) }
            #expect(error?.exitCode == 3 && error?.message.contains(text) == true, "\(path): \(String(describing: error))")
        }
    }

    @Test func noCrashOnAnyHeaderByte() throws {
        // Every single byte of a good header is set to a few values: the reader must return or throw, never trap.
        let folder = TemporaryFolder()
        for version in [1, 2] {
            let good = NIfTIBytes(version: version, datatype: 4, qformCode: 1).file()
            for index in 0..<(version == 1 ? 352 : 544) {
                for value in [0x00, 0x01, 0x7f, 0x80, 0xff] as [UInt8] {
                    var bytes = good
                    bytes[index] = value
                    let path = folder.write("a.nii", bytes)
                    _ = volumeError { () throws(VolumeError) in
                        let volume = try VoxelVolume.read(path: path)
                        let isFinite = volume.header.affine.rows.allSatisfy(\.isFinite)
                        #expect(isFinite)
                    }
                }
            }
        }
    }
}
