/// Reads one header and checks it field by field, before anything is allocated from what it says.
struct HeaderParser {
    let path: String
    let options: NIfTIOptions
    var warnings: [String] = []

    init(path: String, options: NIfTIOptions) {
        self.path = path
        self.options = options
    }

    func fail(_ message: String) -> VolumeError { .malformed(path, message) }
    mutating func warn(_ message: String) { warnings.append("\(path): \(message)") }

    mutating func parse() throws(VolumeError) -> NIfTIHeader {
        let lower = path.lowercased()
        if lower.hasSuffix(".nia") {
            throw fail("ASCII NIfTI is not supported (must be .nii, .nii.gz or .hdr/.img)")
        }
        let source = try ByteSource(path: headerPath(lower))
        let raw = try readRaw(source)
        let isPair = try checkMagic(raw)
        let type = try checkType(raw)
        let (dims, volumes) = try checkDims(raw)
        let index = try chooseVolume(volumes)
        let (slope, inter) = try checkScaling(raw)
        let data = try locateData(raw, isPair: isPair, header: source)
        try checkSize(
            dims: dims, volumes: volumes, type: type, offset: data.offset, available: data.available)
        let geometry = try readGeometry(raw, dims: dims)
        if !isPair { try checkExtensions(raw, source, offset: data.offset) }
        return NIfTIHeader(
            path: path, dims: dims, spacing: geometry.affine.spacing, datatype: type, slope: slope,
            inter: inter,
            affine: geometry.affine, form: geometry.form, axisCodes: geometry.affine.axisCodes,
            isNIfTI2: raw.version == 2, volumeCount: volumes, volumeIndex: index, warnings: warnings,
            raw: raw,
            qform: geometry.qform, dataPath: data.path, dataOffset: data.offset)
    }

    /// The half of a pair that holds the header, when the user named the other half.
    private func headerPath(_ lower: String) -> String {
        for (suffix, replacements) in [(".img", [".hdr", ".hdr.gz"]), (".img.gz", [".hdr.gz", ".hdr"])]
        where lower.hasSuffix(suffix) {
            let stem = String(path.dropLast(suffix.count))
            for replacement in replacements {
                for candidate in [stem + replacement, stem + replacement.uppercased()]
                where InputFile.exists(candidate) {
                    return candidate
                }
            }
        }
        return path
    }

    private func readRaw(_ source: ByteSource) throws(VolumeError) -> RawHeader {
        var bytes = try source.bytes(348)
        if bytes.starts(with: Array("<nifti_image".utf8)) {
            throw fail("ASCII NIfTI is not supported (must be .nii, .nii.gz or .hdr/.img)")
        }
        guard bytes.count >= 4 else {
            throw fail("size=\(bytes.count) bytes (must be at least 348: not a NIfTI file)")
        }
        guard let (version, isSwapped) = RawHeader.identify(bytes) else {
            let first = RawHeader(
                bytes: bytes + [UInt8](repeating: 0, count: 348 - bytes.count), version: 1, isSwapped: false)
            throw fail("sizeof_hdr=\(first.integer(.sizeofHdr)) (must be 348 or 540: not a NIfTI file)")
        }
        let length = RawHeader.length(version: version)
        if length > bytes.count { bytes += try source.bytes(length - bytes.count) }
        guard bytes.count == length else {
            throw fail("size=\(bytes.count) bytes (must be at least \(length): the header is cut short)")
        }
        return RawHeader(bytes: bytes, version: version, isSwapped: isSwapped)
    }

    /// - Returns: whether the voxels are in a second file.
    private mutating func checkMagic(_ raw: RawHeader) throws(VolumeError) -> Bool {
        let digit = raw.version == 1 ? "1" : "2"
        let magic = raw.string(.magic)
        if raw.version == 2 {
            let place = HeaderField.magic.place(version: 2)!
            let tail = Array(raw.bytes[place.offset + 4..<place.offset + 8])
            guard tail == [0x0d, 0x0a, 0x1a, 0x0a] else {
                throw fail("magic[4...7]=\(tail) (must be [13, 10, 26, 10]: damaged in a text-mode transfer)")
            }
        }
        let head = Array(magic.prefix(3))
        if magic.count == 3 {
            if head == Array("n+\(digit)".utf8) { return false }
            if head == Array("ni\(digit)".utf8) {
                let lower = path.lowercased()
                if [".hdr", ".hdr.gz", ".img", ".img.gz"].contains(where: lower.hasSuffix) { return true }
                warn("magic=ni\(digit) in a single file (must be n+\(digit)); read as a single file")
                return false
            }
        }
        let shown = magic.map { $0 >= 0x20 && $0 < 0x7f ? String(UnicodeScalar($0)) : "?" }.joined()
        throw fail(
            "magic=\"\(shown)\" (must be n+\(digit) or ni\(digit): without it the file has no geometry)")
    }

    private func checkType(_ raw: RawHeader) throws(VolumeError) -> VoxelType {
        let code = raw.integer(.datatype)
        guard let type = VoxelType(rawValue: code) else {
            let known = [
                1: "BINARY", 32: "COMPLEX64", 128: "RGB24", 1536: "FLOAT128", 1792: "COMPLEX128",
                2048: "COMPLEX256", 2304: "RGBA32",
            ]
            if let name = known[code] {
                throw fail("datatype=\(code): unsupported datatype \(name) (must be integer or float)")
            }
            throw fail("datatype=\(code) (must be a NIfTI integer or float type)")
        }
        let bits = raw.integer(.bitpix)
        guard bits == type.byteCount * 8 else {
            throw fail("bitpix=\(bits) (must be \(type.byteCount * 8) for datatype \(code))")
        }
        return type
    }

    private func checkDims(_ raw: RawHeader) throws(VolumeError) -> (GridSize, volumes: Int) {
        let rank = raw.integer(.dim)
        guard (1...7).contains(rank) else { throw fail("dim[0]=\(rank) (must be 3 or 4)") }
        guard rank >= 3 else { throw fail("dim[0]=\(rank) (must be 3 or 4: not a volume)") }
        var lengths = [1, 1, 1, 1, 1, 1, 1]
        for axis in 1...rank {
            let length = raw.integer(.dim, axis)
            guard (1...32767).contains(length) else {
                throw fail("dim[\(axis)]=\(length) (must be 1...32767)")
            }
            lengths[axis - 1] = length
        }
        for axis in 5...7 where lengths[axis - 1] > 1 {
            throw fail(
                "dim[\(axis)]=\(lengths[axis - 1]) (must be 1: more than four dimensions are not supported)")
        }
        return (GridSize(lengths[0], lengths[1], lengths[2]), lengths[3])
    }

    private func chooseVolume(_ volumes: Int) throws(VolumeError) -> Int {
        guard let index = options.volumeIndex else {
            guard volumes == 1 else { throw fail("dim[4]=\(volumes) (must be 1, or use --volume N)") }
            return 0
        }
        guard (0..<volumes).contains(index) else {
            throw fail("volume=\(index) (must be 0...\(volumes - 1))")
        }
        return index
    }

    private mutating func checkScaling(_ raw: RawHeader) throws(VolumeError) -> (slope: Double, inter: Double) {
        let slope = raw.real(.sclSlope)
        let inter = raw.real(.sclInter)
        if slope == 0 { return (1, 0) }
        guard slope.isFinite else {
            warn("scl_slope=\(raw.text(.sclSlope)) taken as 1")
            return (1, 0)
        }
        guard inter.isFinite else {
            throw fail("scl_inter=\(raw.text(.sclInter)) (must be finite when scl_slope is set)")
        }
        return (slope, inter)
    }

    /// Checked product of everything the file claims to hold against what it can hold.
    private func checkSize(
        dims: GridSize, volumes: Int, type: VoxelType, offset: Int, available: Int
    ) throws(VolumeError) {
        var bytes = offset
        var overflow = false
        var product = type.byteCount
        for factor in [dims.x, dims.y, dims.z, volumes] {
            let next = product.multipliedReportingOverflow(by: factor)
            product = next.partialValue
            overflow = overflow || next.overflow
        }
        let sum = bytes.addingReportingOverflow(product)
        bytes = sum.partialValue
        overflow = overflow || sum.overflow
        guard !overflow, bytes <= available else {
            let claimed = overflow ? "more than 2^63" : "\(bytes)"
            throw fail(
                "dim=\(dims)x\(volumes) of \(type.byteCount) bytes needs \(claimed) bytes (must be at most \(available), what the file can hold)"
            )
        }
    }
}
