import Volume

/// Odd files that are read all the same, and part of the warning they give.
let acceptedFiles: [FileCase] = [
    FileCase("plain"), FileCase("NIfTI-2", change: { $0.version = 2 }),
    FileCase(
        "big-endian",
        change: {
            $0.bigEndian = true; $0.datatype = 4
        }),
    FileCase(
        "big-endian NIfTI-2",
        change: {
            $0.bigEndian = true; $0.version = 2; $0.datatype = 64
        }),
    FileCase(
        "gz with trailing garbage", "after the gzip stream ignored", fileName: "a.nii.gz",
        finish: { gzip($0) + [1, 2, 3, 4, 5] }),
    FileCase(
        "gz followed by a damaged member", "after the gzip stream ignored", fileName: "a.nii.gz",
        finish: { gzip($0) + [0x1f, 0x8b] + noise(40) }),
    FileCase(
        "gz with 50 MB extra data", "52428800 bytes after the voxels ignored", fileName: "a.nii.gz",
        finish: { gzip($0 + [UInt8](repeating: 0, count: 50 << 20)) }),
    FileCase(
        "gz in two members", fileName: "a.nii.gz",
        finish: { gzip(Array($0.prefix(370))) + gzip(Array($0.dropFirst(370))) }),
    FileCase(
        "plain with extra data", "7 bytes after the voxels", finish: { $0 + [UInt8](repeating: 9, count: 7) }),
    FileCase("vox_offset 0", "vox_offset=0 taken as 352", change: { $0.voxOffset = 0 }),
    FileCase(
        "NIfTI-2 vox_offset 0", "vox_offset=0 taken as 544",
        change: {
            $0.version = 2; $0.voxOffset = 0
        }),
    FileCase("magic ni1 in a single file", "magic=ni1", change: { $0.magic = Array("ni1\0".utf8) }),
    FileCase("scl_slope 0, inter 5", change: { $0.inter = 5 }),
    FileCase("scl_slope NaN", "scl_slope=nan taken as 1", change: { $0.slope = .nan }),
    FileCase("pixdim 0 with a valid sform", "pixdim[2]=0.0", change: { $0.pixdim[2] = 0 }),
    FileCase(
        "pixdim NaN with a valid sform", "the sform gives the voxel size", change: { $0.pixdim[3] = .nan }),
    FileCase("pixdim negative", "pixdim[1]=-1.0 is negative", change: { $0.pixdim[1] = -1 }),
    FileCase(
        "sform singular, qform good", "qform used",
        change: {
            $0.srow[0] = 0; $0.qformCode = 1
        }),
    FileCase(
        "sform NaN, qform good", "srow_x[1]=nan (must be finite); qform used",
        change: {
            $0.srow[1] = .nan; $0.qformCode = 1
        }),
    FileCase("sform and qform disagree", "sform and qform disagree", change: { $0.qformCode = 1 }),
    FileCase("pixdim and sform disagree", "pixdim[3]=4.0", change: { $0.pixdim[3] = 4 }),
    FileCase("sheared sform", "sheared", change: { $0.srow[1] = 1.2 }),
    FileCase(
        "codes 0 and 0, assumed", "assumed LPS", options: NIfTIOptions(assumeOrientation: "lps"),
        change: { $0.sformCode = 0 }),
    FileCase("int64 in range", change: { $0.datatype = 1024 }),
    FileCase("uint64 in range", change: { $0.datatype = 1280 }),
    FileCase("4D with one volume", change: { $0.dim = [4, 5, 4, 3, 1, 1, 1, 1] }),
    FileCase(
        "4D, volume chosen", options: NIfTIOptions(volumeIndex: 0),
        change: { $0.dim = [4, 5, 4, 3, 2, 1, 1, 1] }),
    FileCase("dims beyond dim[0] are noise", change: { $0.dim = [3, 5, 4, 3, 0, -7, 99, 0] }),
    FileCase("one voxel thick", change: { $0.dim = [3, 5, 4, 1, 1, 1, 1, 1] }),
    FileCase(
        "extension size negative", "esize=-16",
        change: {
            $0.afterHeader = [1, 0, 0, 0] + $0.i32(-16) + $0.i32(6) + [UInt8](repeating: 0, count: 24)
        }),
    FileCase(
        "extension size huge", "esize=1000000",
        change: { $0.afterHeader = [1, 0, 0, 0] + $0.i32(1_000_000) + [UInt8](repeating: 0, count: 28) }),
    FileCase(
        "extension size not x16", "esize=20",
        change: { $0.afterHeader = [1, 0, 0, 0] + $0.i32(20) + [UInt8](repeating: 0, count: 28) }),
    FileCase(
        "good extension",
        change: {
            $0.afterHeader = [1, 0, 0, 0] + $0.i32(32) + $0.i32(6) + [UInt8](repeating: 65, count: 24)
        }),
    FileCase("extension flag but none", "leaves no room", change: { $0.afterHeader = [1, 0, 0, 0] }),
    FileCase("gz named .nii", finish: gzip), FileCase("plain named .nii.gz", fileName: "a.nii.gz"),
    FileCase("upper case name", fileName: "A.NII"), FileCase("odd name", fileName: "ä b'\"c.nii"),
    FileCase("metres", "metre", change: { $0.units = 1 }),
    FileCase(
        "pair",
        files: [
            ("a.hdr", NIfTIBytes(voxOffset: 0, magic: Array("ni1\0".utf8)).header()),
            ("a.img", NIfTIBytes().voxels()),
        ]),
    FileCase(
        "pair by its img, gz",
        files: [
            ("a.img.gz", gzip([0, 0] + NIfTIBytes().voxels())),
            ("a.hdr.gz", gzip(NIfTIBytes(voxOffset: 2, magic: Array("ni1\0".utf8)).header())),
        ]),
]
