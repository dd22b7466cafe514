import Volume

/// Every damaged file and part of its error message.
let refusedFiles: [FileCase] = [
    FileCase("data truncated", "what the file can hold", finish: { Array($0.dropLast(1)) }),
    FileCase("no data bytes", "what the file can hold", finish: { Array($0.prefix(352)) }),
    FileCase("vox_offset beyond the end", "vox_offset=10000", change: { $0.voxOffset = 10000 }),
    FileCase("gz truncated", "truncated", fileName: "a.nii.gz", finish: { Array(gzip($0).dropLast(12)) }),
    FileCase(
        "gz with half the trailer", "truncated", fileName: "a.nii.gz", finish: { Array(gzip($0).dropLast(4)) }
    ),
    FileCase(
        "gz complete but voxels missing", "voxel data end after", fileName: "a.nii.gz",
        finish: { gzip(Array($0.dropLast(3))) }),
    FileCase(
        "gz bad CRC", "data check", fileName: "a.nii.gz",
        finish: {
            let z = gzip($0); return flipped(z, at: z.count - 8)
        }),
    FileCase(
        "gz bad length", "length check", fileName: "a.nii.gz",
        finish: {
            let z = gzip($0); return flipped(z, at: z.count - 4)
        }),
    FileCase(
        "gz flipped byte in 512 kB", "gzip data damaged",
        files: [
            (
                "a.nii.gz",
                {
                    let z = gzip(noisyFile()); return flipped(z, at: z.count / 2)
                }()
            )
        ]),
    FileCase(
        "592 bytes claim 18 GB", "what the file can hold",
        change: {
            $0.dim = [3, 2000, 3000, 1500, 1, 1, 1, 1]; $0.datatype = 4;
            $0.values = [Double](repeating: 0, count: 120)
        }),
    FileCase(
        "gz of 592 bytes claims 18 GB", "what the file can hold", fileName: "a.nii.gz",
        change: {
            $0.dim = [3, 2000, 3000, 1500, 1, 1, 1, 1]; $0.datatype = 4; $0.values = [0]
        }, finish: gzip),
    FileCase(
        "dims 32767^5", "dim[5]=32767",
        change: {
            $0.dim = [5, 32767, 32767, 32767, 32767, 32767, 1, 1]; $0.values = [0]
        }),
    FileCase(
        "dims 32767^3 of float64, 4D", "what the file can hold", options: NIfTIOptions(volumeIndex: 0),
        change: {
            $0.dim = [4, 32767, 32767, 32767, 32767, 1, 1, 1]; $0.datatype = 64; $0.values = [0]
        }),
    FileCase(
        "NIfTI-2 2^32 x 2^32 x 4", "dim[1]=4294967296",
        change: {
            $0.version = 2; $0.dim = [3, 1 << 32, 1 << 32, 4, 1, 1, 1, 1]; $0.values = [0]
        }),
    FileCase(
        "NIfTI-2 2^31 cubed", "dim[1]=2147483648",
        change: {
            $0.version = 2; $0.dim = [3, 1 << 31, 1 << 31, 1 << 31, 1, 1, 1, 1]; $0.values = [0]
        }),
    FileCase("dim[0]=0", "dim[0]=0", change: { $0.dim[0] = 0 }),
    FileCase(
        "dim[0]=9", "dim[0]=9",
        change: {
            $0.dim[0] = 9; $0.values = [0]
        }),
    FileCase(
        "dim[0]=-3", "dim[0]=-3",
        change: {
            $0.dim[0] = -3; $0.values = [0]
        }),
    FileCase("dim[1]=0", "dim[1]=0 (must be 1...32767)", change: { $0.dim[1] = 0 }),
    FileCase("dim[1]=-1 (large-vector habit of one package)", "dim[1]=-1", change: { $0.dim[1] = -1 }),
    FileCase(
        "NIfTI-2 dim[0]=200", "dim[0]=200",
        change: {
            $0.version = 2; $0.dim[0] = 200; $0.values = [0]
        }),
    FileCase("dim[2]=-5", "dim[2]=-5", change: { $0.dim[2] = -5 }),
    FileCase("dim[3]=0", "dim[3]=0", change: { $0.dim[3] = 0 }),
    FileCase("vox_offset -100", "vox_offset=-100", change: { $0.voxOffset = -100 }),
    FileCase("vox_offset 348", "vox_offset=348 (must be at least 352)", change: { $0.voxOffset = 348 }),
    FileCase("vox_offset NaN", "vox_offset=nan", change: { $0.voxOffset = .nan }),
    FileCase("vox_offset 1e30", "vox_offset=1e+30", change: { $0.voxOffset = 1e30 }),
    FileCase("vox_offset 352.5", "whole number", change: { $0.voxOffset = 352.5 }),
    FileCase(
        "vox_offset 0 but no room", "what the file can hold", change: { $0.voxOffset = 0 },
        finish: { Array($0.dropLast(2)) }),
    FileCase(
        "NIfTI-2 vox_offset 352", "must be at least 544",
        change: {
            $0.version = 2; $0.voxOffset = 352
        }),
    FileCase("magic xxxx", "magic=\"xxxx\"", change: { $0.magic = Array("xxxx".utf8) }),
    FileCase("no magic (ANALYZE)", "magic=\"\"", change: { $0.magic = [0, 0, 0, 0] }),
    FileCase(
        "NIfTI-2 magic tail damaged", "text-mode",
        change: {
            $0.version = 2; $0.magic = Array("n+2\0\n\n".utf8) + [0x1a, 0x0a]
        }),
    FileCase("version 1 with magic n+2", "magic=\"n+2\"", change: { $0.magic = Array("n+2\0".utf8) }),
    FileCase("bitpix 16 for uint8", "bitpix=16 (must be 8", change: { $0.bitpix = 16 }),
    FileCase(
        "NaN above the limit", "NaN or infinite (must be at most 1 %",
        change: {
            $0.datatype = 16; var v = $0.voxelValues; v[3] = .nan; $0.values = v
        }),
    FileCase(
        "infinite above the limit", "NaN or infinite",
        change: {
            $0.datatype = 64; var v = $0.voxelValues; v[3] = -.infinity; $0.values = v
        }),
    FileCase(
        "scl_inter NaN with a slope", "scl_inter=nan",
        change: {
            $0.slope = 2; $0.inter = .nan
        }),
    FileCase(
        "pixdim 0, qform only", "pixdim[2]=0.0",
        change: {
            $0.pixdim[2] = 0; $0.sformCode = 0; $0.qformCode = 1
        }),
    FileCase(
        "pixdim NaN, qform only", "pixdim[1]=nan",
        change: {
            $0.pixdim[1] = .nan; $0.sformCode = 0; $0.qformCode = 1
        }),
    FileCase("sform singular, no qform", "sform is singular", change: { $0.srow[0] = 0 }),
    FileCase("sform NaN, no qform", "srow_y[3]=nan", change: { $0.srow[7] = .nan }),
    FileCase(
        "sform NaN, quaternion too long", "quatern_b^2",
        change: {
            $0.srow[7] = .nan; $0.qformCode = 1; $0.quatern[0] = 1.5
        }),
    FileCase(
        "quaternion too long", "quatern_b^2",
        change: {
            $0.sformCode = 0; $0.qformCode = 1; $0.quatern[1] = 1.2
        }),
    FileCase(
        "quaternion NaN", "quatern_c=nan",
        change: {
            $0.sformCode = 0; $0.qformCode = 1; $0.quatern[1] = .nan
        }),
    FileCase("codes 0 and 0", "--assume-orientation", change: { $0.sformCode = 0 }),
    FileCase(
        "codes 0 and 0, bad assumption", "assumed orientation=RLA",
        options: NIfTIOptions(assumeOrientation: "RLA"), change: { $0.sformCode = 0 }),
    FileCase(
        "RGB24", "unsupported datatype RGB24",
        change: {
            $0.datatype = 128; $0.bitpix = 24
        }),
    FileCase(
        "RGBA32", "RGBA32",
        change: {
            $0.datatype = 2304; $0.bitpix = 32
        }),
    FileCase(
        "complex64", "COMPLEX64",
        change: {
            $0.datatype = 32; $0.bitpix = 64
        }),
    FileCase(
        "float128", "FLOAT128",
        change: {
            $0.datatype = 1536; $0.bitpix = 128
        }),
    FileCase(
        "int64 beyond 32 bits", "voxel[7]=2147483648",
        change: {
            $0.datatype = 1024; var v = $0.voxelValues; v[7] = 2147483648; $0.values = v
        }),
    FileCase(
        "uint64 beyond 32 bits", "voxel[0]=9007199254740992",
        change: {
            $0.datatype = 1280; var v = $0.voxelValues; v[0] = 9007199254740992; $0.values = v
        }),
    FileCase(
        "DT_BINARY", "BINARY",
        change: {
            $0.datatype = 1; $0.bitpix = 1
        }),
    FileCase("datatype 0", "datatype=0", change: { $0.datatype = 0 }),
    FileCase("datatype 999", "datatype=999", change: { $0.datatype = 999 }),
    FileCase("2D", "dim[0]=2", change: { $0.dim = [2, 5, 4, 1, 1, 1, 1, 1] }),
    FileCase("1D", "dim[0]=1", change: { $0.dim = [1, 5, 1, 1, 1, 1, 1, 1] }),
    FileCase("4D with two volumes", "use --volume N", change: { $0.dim = [4, 5, 4, 3, 2, 1, 1, 1] }),
    FileCase(
        "volume out of range", "volume=2 (must be 0...1)", options: NIfTIOptions(volumeIndex: 2),
        change: { $0.dim = [4, 5, 4, 3, 2, 1, 1, 1] }),
    FileCase(
        "4D, second volume missing", "what the file can hold", options: NIfTIOptions(volumeIndex: 1),
        change: {
            $0.dim = [4, 5, 4, 3, 2, 1, 1, 1]; $0.values = [Double](repeating: 1, count: 60)
        }),
    FileCase("5D", "dim[5]=3", change: { $0.dim = [5, 5, 4, 3, 1, 3, 1, 1] }),
    FileCase(
        "CIFTI layout", "dim[5]=40",
        change: {
            $0.version = 2; $0.dim = [6, 1, 1, 1, 1, 40, 60, 1]
        }),
    FileCase(
        "hdr without img", "no image file",
        files: [("a.hdr", NIfTIBytes(voxOffset: 0, magic: Array("ni1\0".utf8)).header())]),
    FileCase(
        "hdr with short img", "what the file can hold",
        files: [
            ("a.hdr", NIfTIBytes(voxOffset: 0, magic: Array("ni1\0".utf8)).header()), ("a.img", [1, 2, 3]),
        ]),
    FileCase(
        "pair with negative offset", "vox_offset=-16",
        files: [
            ("a.hdr", NIfTIBytes(voxOffset: -16, magic: Array("ni1\0".utf8)).header()),
            ("a.img", NIfTIBytes().voxels()),
        ]),
    FileCase("200 bytes", "must be at least 348", finish: { Array($0.prefix(200)) }),
    FileCase(
        "NIfTI-2 cut at 400 bytes", "must be at least 540", change: { $0.version = 2 },
        finish: { Array($0.prefix(400)) }),
    FileCase("empty", "size=0 bytes", finish: { _ in [] }),
    FileCase("empty gz stream", "size=0 bytes", finish: { _ in gzip([]) }),
    FileCase("not NIfTI at all", "not a NIfTI file", finish: { _ in noise(1000) }),
    FileCase(
        "mgz-like", "sizeof_hdr=16777216", fileName: "a.mgz",
        finish: { _ in gzip([0, 0, 0, 1] + [UInt8](repeating: 0, count: 400)) }),
    FileCase("sizeof_hdr 349", "sizeof_hdr=349", change: { $0.sizeofHdr = 349 }),
    FileCase("ASCII by name", "ASCII NIfTI", fileName: "a.nia"),
    FileCase(
        "ASCII by content", "ASCII NIfTI",
        finish: { _ in Array("<nifti_image\n  nifti_type = 'NIFTI-1A'\n".utf8) }),
    FileCase("only the gzip mark", "truncated", fileName: "a.nii.gz", finish: { _ in [0x1f, 0x8b] }),
    FileCase(
        "gzip mark, then noise", "gzip data damaged", fileName: "a.nii.gz",
        finish: { _ in [0x1f, 0x8b] + noise(300) }),
    FileCase(
        "gz bomb after the voxels", "more than 256 MiB", fileName: "a.nii.gz",
        finish: { gzip($0 + [UInt8](repeating: 0, count: 257 << 20)) }),
]
