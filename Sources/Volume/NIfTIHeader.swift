/// How a voxel is stored. Raw values are those of the NIfTI field `datatype`.
public enum VoxelType: Int, Sendable, CaseIterable {
    case uint8 = 2
    case int16 = 4
    case int32 = 8
    case float32 = 16
    case float64 = 64
    case int8 = 256
    case uint16 = 512
    case uint32 = 768
    case int64 = 1024
    case uint64 = 1280

    /// Bytes per voxel in the file.
    public var byteCount: Int {
        switch self {
        case .uint8, .int8: 1
        case .int16, .uint16: 2
        case .int32, .uint32, .float32: 4
        case .float64, .int64, .uint64: 8
        }
    }

    /// Bytes per voxel in memory: 64-bit integers must fit 32 bits and are kept so.
    public var storedByteCount: Int { self == .int64 || self == .uint64 ? 4 : byteCount }
}

/// Choices of the user that decide whether some odd files can be used.
public struct NIfTIOptions: Sendable {
    /// Which volume of a 4D file to take, from 0. Without it only files with one volume are accepted.
    public var volumeIndex: Int?
    /// Axis codes such as "RAS" for a file that does not tell its orientation (both codes 0).
    public var assumeOrientation: String?

    public init(volumeIndex: Int? = nil, assumeOrientation: String? = nil) {
        self.volumeIndex = volumeIndex
        self.assumeOrientation = assumeOrientation
    }
}

/// What a NIfTI file says about its one 3D volume, checked: every promise below holds once `read` has returned.
public struct NIfTIHeader: Sendable {
    /// Which of the file's statements about orientation is used.
    public enum Form: String, Sendable { case sform, qform, assumed }

    /// The file as the user named it.
    public let path: String
    /// 1...32767 each; the byte count of the volume fits in `Int`.
    public internal(set) var dims: GridSize
    /// Distance between neighbouring voxels in mm along the stored axes, positive: the column lengths of `affine`.
    public let spacing: SIMD3<Double>
    public let datatype: VoxelType
    /// Real value = stored * slope + inter. Finite, slope not 0 (an unset slope reads as 1, 0).
    public let slope: Double
    public let inter: Double
    /// Voxel index to mm; finite and invertible.
    public internal(set) var affine: Affine
    public let form: Form
    /// Direction of each stored axis, "LIA" = first right to left, second superior to inferior, third posterior to anterior.
    public let axisCodes: String
    public let isNIfTI2: Bool
    /// Number of volumes in the file and the one to read.
    public let volumeCount: Int
    public let volumeIndex: Int
    /// Complete lines for the user, each beginning with the file name.
    public internal(set) var warnings: [String]

    /// Header bytes in native order, for the output to copy.
    var raw: RawHeader
    /// Both forms as the library derives them; a crop moves them.
    var qform: Affine
    /// The file that holds the voxels (another one for a pair), and where the first volume begins in it.
    let dataPath: String
    let dataOffset: Int

    /// The header as stored, 348 or 540 bytes, in native byte order.
    public var rawBytes: [UInt8] { raw.bytes }
    /// Volume of one voxel in cubic millimetres.
    public var voxelVolumeMM3: Double { affine.determinant.magnitude }
    /// Bytes of one volume in the file.
    var volumeBytes: Int { dims.count * datatype.byteCount }

    /// Reads and checks the header of a single file (`.nii`, `.nii.gz`; the content decides, not the name) or of a
    /// `.hdr`/`.img` pair, either byte order, version 1 or 2. No voxel is read and nothing large is allocated.
    /// - Throws: exit 3 when the file is missing, unreadable or not a regular file; exit 4 when it is malformed or unsupported.
    public static func read(path: String, options: NIfTIOptions = NIfTIOptions()) throws(VolumeError)
        -> NIfTIHeader
    {
        var parser = HeaderParser(path: path, options: options)
        return try parser.parse()
    }
}
