import CNIfTI
import Foundation
import Testing
import Volume

/// What libnifti2, an independent reader, says about a file.
struct Oracle {
    let dims: GridSize
    let datatype: Int
    let values: [Double]
    let qform: [Double]
    let sform: [Double]
    let codes: [Int]
    let slope: Double
    let intent: Int

    init?(path: String) {
        nifti_set_debug_level(0)
        guard let image = unsafe nifti_image_read(path, 1) else { return nil }
        defer { unsafe nifti_image_free(image) }
        let found = unsafe image.pointee
        dims = unsafe GridSize(Int(found.nx), Int(found.ny), Int(found.nz))
        datatype = unsafe Int(found.datatype)
        slope = unsafe found.scl_slope
        intent = unsafe Int(found.intent_code)
        codes = unsafe [Int(found.qform_code), Int(found.sform_code)]
        qform = unsafe Self.rows(found.qto_xyz)
        sform = unsafe Self.rows(found.sto_xyz)
        let count = unsafe Int(found.nvox)
        let data = unsafe UnsafeRawPointer(found.data!)
        func all<T: BitwiseCopyable>(_ type: T.Type, _ convert: (T) -> Double) -> [Double] {
            (0..<count).map {
                unsafe convert(data.loadUnaligned(fromByteOffset: $0 * MemoryLayout<T>.size, as: type))
            }
        }
        switch datatype {
        case 2: values = all(UInt8.self, Double.init)
        case 4: values = all(Int16.self, Double.init)
        case 8: values = all(Int32.self, Double.init)
        case 16: values = all(Float.self, Double.init)
        case 64: values = all(Double.self, { $0 })
        case 256: values = all(Int8.self, Double.init)
        case 512: values = all(UInt16.self, Double.init)
        case 768: values = all(UInt32.self, Double.init)
        case 1024: values = all(Int64.self, Double.init)
        case 1280: values = all(UInt64.self, { Double($0) })
        default: return nil
        }
    }

    static func rows(_ matrix: nifti_dmat44) -> [Double] {
        unsafe withUnsafeBytes(of: matrix) { bytes in
            (0..<12).map { unsafe bytes.loadUnaligned(fromByteOffset: $0 * 8, as: Double.self) }
        }
    }
}

/// A well-formed file: every type, both versions, both byte orders, plain, compressed or a pair.
struct Format: Sendable, CustomTestStringConvertible {
    let datatype: Int
    let version: Int
    let bigEndian: Bool
    let packing: String
    var testDescription: String {
        "datatype \(datatype) v\(version) \(bigEndian ? "big" : "little")-endian \(packing)"
    }

    static let all: [Format] = VoxelType.allCases.flatMap { type in
        [1, 2].flatMap { version in
            [false, true].flatMap { big in
                ["nii", "nii.gz", "hdr"].map {
                    Format(datatype: type.rawValue, version: version, bigEndian: big, packing: $0)
                }
            }
        }
    }

    /// An oblique qform and another, oblique sform, so that a mix-up shows.
    func make() -> NIfTIBytes {
        var file = NIfTIBytes(
            version: version, bigEndian: bigEndian, datatype: datatype, qformCode: 1, sformCode: 2)
        file.pixdim = [-1, 0.9, 1.1, 2.5, 0, 0, 0, 0]
        file.quatern = [0.1, -0.2, 0.3, 11, -22, 33]
        file.srow = [0.8, 0.1, -0.2, 5, -0.1, 0.9, 0.3, 6, 0.2, -0.1, 2.2, 7]
        return file
    }

    func write(to folder: TemporaryFolder) -> String {
        var file = make()
        if packing == "hdr" {
            file.voxOffset = 0
            file.magic = version == 1 ? Array("ni1\0".utf8) : Array("ni2\0\r\n".utf8) + [0x1a, 0x0a]
            folder.write("a.img", file.voxels())
            return folder.write("a.hdr", file.header())
        }
        return folder.write("a.\(packing)", packing == "nii" ? file.file() : gzip(file.file()))
    }
}

@Suite struct OracleTests {
    @Test(arguments: Format.all) func readsLikeTheLibrary(_ format: Format) throws {
        let folder = TemporaryFolder()
        let path = format.write(to: folder)
        let volume = try VoxelVolume.read(path: path)
        let oracle = try #require(Oracle(path: path))
        #expect(volume.dims == oracle.dims)
        #expect(volume.header.datatype.rawValue == format.datatype)
        #expect((0..<volume.dims.count).map(volume.value) == oracle.values)
        #expect(volume.header.affine.rows == oracle.sform)
        #expect(volume.header.form == .sform)
        #expect(volume.header.isNIfTI2 == (format.version == 2))
        // And the geometry from the quaternion, when the sform is off.
        var onlyQ = format.make()
        onlyQ.sformCode = 0
        let header = try NIfTIHeader.read(path: folder.write("q.nii", onlyQ.file()))
        let other = try #require(Oracle(path: "\(folder.path)/q.nii"))
        #expect(header.affine.rows == other.qform)
        #expect(header.form == .qform)
        #expect((header.voxelVolumeMM3 - 0.9 * 1.1 * 2.5).magnitude < 1e-6)
    }

    @Test(arguments: Format.all) func labelsKeepTheGeometry(_ format: Format) throws {
        let folder = TemporaryFolder()
        let path = format.write(to: folder)
        let header = try NIfTIHeader.read(path: path)
        let input = try #require(Oracle(path: path))
        let classes = (0..<header.dims.count).map { UInt8($0 * 7 % 4) }
        for values in [[0, 1, 2, 4], [0, 10, 300, 65535]] as [[UInt16]] {
            for name in ["out.nii", "out.nii.gz"] {
                let out = "\(folder.path)/\(name)"
                try LabelWriter.write(
                    classes, to: out, like: header, values: values, description: "test", overwrite: true)
                let read = try #require(Oracle(path: out))
                #expect(read.qform == input.qform && read.sform == input.sform && read.codes == input.codes)
                #expect(read.values == classes.map { Double(values[Int($0)]) })
                #expect(read.datatype == (values[3] > 255 ? 512 : 2))
                #expect(read.slope == 1 && read.intent == 1002)
                let again = try VoxelVolume.read(path: out)
                #expect(
                    again.header.warnings.filter { !$0.contains("disagree") && !$0.contains("pixdim") }
                        .isEmpty)
                #expect(try again.labels() == classes.map { values[Int($0)] })
                #expect(again.header.isNIfTI2 == header.isNIfTI2)
            }
        }
    }

    @Test func onlyTheNamedHeaderFieldsChange() throws {
        for version in [1, 2] {
            let folder = TemporaryFolder()
            var file = NIfTIBytes(version: version, datatype: 4, slope: 3, inter: -7, qformCode: 1)
            file.dim = [4, 5, 4, 3, 1, 1, 1, 1]
            // Bytes nobody interprets must come through as well.
            var bytes = file.file()
            let free = version == 1 ? Array(4..<40) + Array(228..<252) : Array(320..<344) + Array(525..<540)
            for index in free where index != 32 { bytes[index] = UInt8(index % 251) }
            let header = try NIfTIHeader.read(path: folder.write("a.nii", bytes))
            try LabelWriter.write(
                [UInt8](repeating: 1, count: 60), to: "\(folder.path)/b.nii", like: header, values: [0, 9],
                name: "Tissue", description: "d")
            let out = folder.bytes("b.nii")
            let changed: [Range<Int>] =
                version == 1
                ? [40..<56, 68..<74, 108..<120, 124..<132, 148..<228, 328..<348]
                : [4..<80, 168..<208, 240..<320, 504..<524]
            for index in 0..<file.headerLength where !changed.contains(where: { $0.contains(index) }) {
                #expect(out[index] == bytes[index], "byte \(index) of version \(version)")
            }
            #expect(out.count == file.headerLength + 4 + 60)
            let name = version == 1 ? 328 : 508
            #expect(Array(out[name..<name + 7]) == Array("Tissue\0".utf8))
        }
    }

    @Test func slopeIsAppliedByUs() throws {
        let folder = TemporaryFolder()
        let file = NIfTIBytes(datatype: 4, slope: -2, inter: 5)
        let volume = try VoxelVolume.read(path: folder.write("a.nii", file.file()))
        #expect((0..<60).map(volume.value) == file.voxelValues.map { -2 * $0 + 5 })
    }

    @Test func choosesOneVolumeOfFour() throws {
        let folder = TemporaryFolder()
        let file = NIfTIBytes(dim: [4, 5, 4, 3, 4, 1, 1, 1], datatype: 4)
        for (name, bytes) in [("a.nii", file.file()), ("a.nii.gz", gzip(file.file()))] {
            let path = folder.write(name, bytes)
            for index in 0..<4 {
                let volume = try VoxelVolume.read(path: path, options: NIfTIOptions(volumeIndex: index))
                #expect(volume.header.warnings.isEmpty && volume.header.volumeCount == 4)
                #expect((0..<60).map(volume.value) == Array(file.voxelValues[index * 60..<index * 60 + 60]))
            }
        }
    }

    @Test func assumedOrientationCentresTheGrid() throws {
        let folder = TemporaryFolder()
        let path = folder.write("a.nii", NIfTIBytes(sformCode: 0).file())
        for codes in ["RAS", "LIA", "PSR"] {
            let header = try NIfTIHeader.read(path: path, options: NIfTIOptions(assumeOrientation: codes))
            #expect(header.axisCodes == codes && header.form == .assumed)
            #expect(header.affine.position(2, 1.5, 1) == SIMD3(0, 0, 0))
            #expect(header.spacing == SIMD3(1, 1.5, 2))
        }
    }

    @Test func cropMovesTheOrigin() throws {
        let folder = TemporaryFolder()
        let format = Format(datatype: 4, version: 1, bigEndian: true, packing: "nii")
        let volume = try VoxelVolume.read(path: format.write(to: folder))
        let part = volume.cropped(start: GridSize(1, 2, 1), size: GridSize(3, 2, 2))
        #expect(part.value(at: 0) == volume.value(at: 1 + 5 * (2 + 4)))
        #expect(part.value(at: 11) == volume.value(at: 3 + 5 * (3 + 4 * 2)))
        try LabelWriter.write(
            [UInt8](repeating: 0, count: 12), to: "\(folder.path)/out.nii", like: part.header, values: [0])
        let oracle = try #require(Oracle(path: "\(folder.path)/out.nii"))
        let whole = try #require(Oracle(path: "\(folder.path)/a.nii"))
        for (form, original) in [(oracle.qform, whole.qform), (oracle.sform, whole.sform)] {
            let expected = Affine(rows: original).position(1, 2, 1)
            for row in 0..<3 { #expect((form[row * 4 + 3] - expected[row]).magnitude < 1e-5) }
        }
    }
}
