import CNIfTI
import Foundation
import Testing
import Volume

@Suite struct OutputTests {
    static func header(_ folder: TemporaryFolder, _ file: NIfTIBytes = NIfTIBytes()) throws -> NIfTIHeader {
        try NIfTIHeader.read(path: folder.write("in.nii", file.file()))
    }

    static func attempt(_ header: NIfTIHeader, _ path: String, overwrite: Bool = false) -> VolumeError? {
        volumeError { () throws(VolumeError) in
            try LabelWriter.write(
                [UInt8](repeating: 0, count: header.dims.count), to: path, like: header, values: [0],
                overwrite: overwrite)
        }
    }

    @Test func existingAndOddNames() throws {
        let folder = TemporaryFolder()
        let header = try Self.header(folder)
        folder.write("old.nii", [1, 2, 3])
        try FileManager.default.createSymbolicLink(
            atPath: "\(folder.path)/link.nii", withDestinationPath: "\(folder.path)/in.nii")
        let before = folder.bytes("in.nii")
        for (name, overwrite, text) in [
            ("old.nii", false, "must be absent"), ("in.nii", true, "output is the input"),
            ("link.nii", true, "output is the input"),
            ("out.img", false, "must end in .nii"), ("none/out.nii", false, "cannot create: No such file"),
        ] {
            let error = Self.attempt(header, "\(folder.path)/\(name)", overwrite: overwrite)
            #expect(
                error?.exitCode == 8 && error?.message.contains(text) == true,
                "\(name): \(String(describing: error))")
        }
        // No folder for anybody, not even for root.
        #expect(Self.attempt(header, "/proc/out.nii")?.message.contains("cannot create") == true)
        #expect(folder.bytes("in.nii") == before && folder.bytes("old.nii") == [1, 2, 3])
        #expect(Self.attempt(header, "\(folder.path)/old.nii", overwrite: true) == nil)
        #expect(folder.bytes("old.nii").count == 352 + 60)
        #expect(folder.names == ["in.nii", "link.nii", "old.nii"])
    }

    @Test(.enabled(if: geteuid() != 0, "root may write to any folder")) func unwritableFolder() throws {
        let folder = TemporaryFolder()
        let header = try Self.header(folder)
        _ = unsafe chmod(folder.path, 0o555)
        let error = Self.attempt(header, "\(folder.path)/out.nii")
        #expect(error?.exitCode == 8 && error?.message.contains("cannot create") == true)
        #expect(folder.names == ["in.nii"])
    }

    /// The writer's file is swapped for one on which every write fails with "no space left".
    @Test(arguments: ["out.nii", "out.nii.gz"], [false, true])
    func fullDiskLeavesNothing(_ name: String, ownThread: Bool) throws {
        let folder = TemporaryFolder()
        let header = try Self.header(folder, NIfTIBytes(dim: [3, 60, 60, 60, 1, 1, 1, 1]))
        var random = TestRandom(state: 3)
        let slice = (0..<3600).map { _ in UInt8.random(in: 0...255, using: &random) }
        let path = "\(folder.path)/\(name)"
        let error = volumeError { () throws(VolumeError) in
            let writer = try LabelWriter(path: path, like: header, values: (0...255).map { $0 }, ownThread: ownThread)
            let full = unsafe open("/dev/full", O_WRONLY)
            dup2(full, writer.descriptor)
            close(full)
            for _ in 0..<60 { try writer.append(slice.span) }
            try writer.finish()
        }
        #expect(
            error?.exitCode == 8 && error?.message.contains("No space left") == true,
            "\(String(describing: error))")
        #expect(folder.names == ["in.nii"])
    }

    @Test(arguments: [false, true]) func releaseWithoutFinishLeavesNothing(ownThread: Bool) throws {
        let folder = TemporaryFolder()
        let header = try Self.header(folder)
        do {
            let writer = try LabelWriter(
                path: "\(folder.path)/out.nii.gz", like: header, values: [0, 1], ownThread: ownThread)
            try writer.append([UInt8](repeating: 1, count: 20).span)
            #expect(folder.names.count == 2)
        }
        #expect(folder.names == ["in.nii"])
    }

    /// In a process of its own, because the limit and the removal reach every file of a process.
    @Test func fileSizeLimitLeavesNothing() async {
        await #expect(processExitsWith: .success) {
            let folder = TemporaryFolder()
            let header = try OutputTests.header(folder, NIfTIBytes(dim: [3, 60, 60, 60, 1, 1, 1, 1]))
            signal(SIGXFSZ, SIG_IGN)
            var limit = rlimit(rlim_cur: 100_000, rlim_max: 100_000)
            precondition(unsafe setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
            let error = OutputTests.attempt(header, "\(folder.path)/out.nii")
            precondition(error?.exitCode == 8 && error?.message.contains("File too large") == true)
            precondition(folder.names == ["in.nii"])
        }
    }

    @Test func aSignalHandlerCanRemoveUnfinishedOutput() async {
        await #expect(processExitsWith: .success) {
            let folder = TemporaryFolder()
            let header = try OutputTests.header(folder)
            let writer = try LabelWriter(path: "\(folder.path)/out.nii", like: header, values: [0])
            let zeros = [UInt8](repeating: 0, count: header.dims.count)
            try LabelWriter.write(zeros, to: "\(folder.path)/done.nii", like: header, values: [0])
            precondition(folder.names.count == 3)
            UnfinishedOutput.remove()
            precondition(folder.names == ["done.nii", "in.nii"])
            withExtendedLifetime(writer) {}
        }
    }

    @Test func sameVoxelsGiveTheSameBytes() throws {
        let folder = TemporaryFolder()
        let header = try Self.header(folder)
        let classes = (0..<60).map { UInt8($0 % 3) }
        for (name, ownThread) in [("a.nii.gz", false), ("b.nii.gz", false), ("c.nii.gz", true)] {
            try LabelWriter.write(
                classes, to: "\(folder.path)/\(name)", like: header, values: [0, 1, 2], ownThread: ownThread)
        }
        let bytes = folder.bytes("a.nii.gz")
        #expect(bytes == folder.bytes("b.nii.gz"))
        #expect(bytes == folder.bytes("c.nii.gz"))
        // No time, no name in the gzip header.
        #expect(Array(bytes[3..<8]) == [0, 0, 0, 0, 0])
    }

    @Test func agreementCountsByHand() {
        let reference: [UInt16] = [0, 0, 1, 1, 1, 2, 2, 0]
        let prediction: [UInt16] = [0, 1, 1, 1, 0, 2, 3, 0]
        for (rule, empty) in [(Agreement.EmptyRule.one, 1.0), (.zero, 0), (.skip, nil)]
            as [(Agreement.EmptyRule, Double?)]
        {
            let found = Agreement(
                reference: reference, prediction: prediction, labels: [1, 2, 3, 9], emptyRule: rule)
            let third = 2.0 / 3
            let expected: [Double?] = [third, third, 0, empty]
            #expect(found.labels.map(\.dice) == expected)
            #expect(found.labels.map(\.referenceVoxels) == [3, 2, 0, 0])
            #expect(found.labels.map(\.predictionVoxels) == [3, 1, 1, 0])
            #expect(found.labels.map(\.intersection) == [2, 1, 0, 0])
            #expect(found.foregroundCount == (empty == nil ? 3 : 4))
            let sum: Double = third + third + (empty ?? 0)
            #expect(found.meanForegroundDice == sum / Double(found.foregroundCount))
            #expect(found.voxelAgreement == 5 / 8.0)
        }
        #expect(
            Agreement(reference: reference, prediction: prediction, emptyRule: .one).labels.map(\.label) == [
                0, 1, 2, 3,
            ])
    }

    @Test func channelsMustAgree() throws {
        let folder = TemporaryFolder()
        func header(_ name: String, _ change: (inout NIfTIBytes) -> Void) throws -> NIfTIHeader {
            var file = NIfTIBytes()
            change(&file)
            return try NIfTIHeader.read(path: folder.write(name, file.file()))
        }
        let first = try header("a.nii") { _ in }
        #expect(try GridCheck.check([first, first]).isEmpty)
        let shape = try header("b.nii") { $0.dim[1] = 6 }
        let spacing = try header("c.nii") {
            $0.srow[0] = 1.1; $0.pixdim[1] = 1.1
        }
        let moved = try header("d.nii") { $0.srow[3] += 0.01 }
        #expect(
            volumeError { () throws(VolumeError) in _ = try GridCheck.check([first, shape]) }?.exitCode == 5)
        #expect(
            volumeError { () throws(VolumeError) in _ = try GridCheck.check([first, spacing]) }?.message
                .contains("voxel size[1]") == true)
        #expect(try GridCheck.check([first, moved]).count == 1)
    }

    @Test func labelsMustBeWhole() throws {
        for values in [[0.5], [-1], [70000]] as [[Double]] {
            let volume = try CodingTests.volume(values, [1, 1, 1], datatype: 16)
            #expect(volumeError { () throws(VolumeError) in _ = try volume.labels() }?.exitCode == 4)
        }
    }

    /// Decodes the PNG with zlib alone: signature, chunk sums, size, then the pixels.
    static func decodePNG(_ bytes: [UInt8]) throws -> (width: Int, height: Int, pixels: [UInt8]) {
        #expect(Array(bytes[0..<8]) == [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
        func word(_ at: Int) -> Int { (0..<4).reduce(0) { $0 << 8 | Int(bytes[at + $1]) } }
        var position = 8
        var data: [UInt8] = []
        while position < bytes.count {
            let length = word(position)
            let body = Array(bytes[position + 4..<position + 8 + length])
            let sum = unsafe crc32(0, body, UInt32(body.count))
            #expect(Int(sum) == word(position + 8 + length))
            if Array(body[0..<4]) == Array("IDAT".utf8) { data += body[4...] }
            position += 12 + length
        }
        let (width, height) = (word(16), word(20))
        var rows = [UInt8](repeating: 0, count: height * (width * 3 + 1))
        var length = UInt(rows.count)
        let status = unsafe uncompress(&rows, &length, data, UInt(data.count))
        #expect(status == Z_OK && Int(length) == rows.count)
        let stride = width * 3 + 1
        var pixels: [UInt8] = []
        for y in 0..<height { pixels += rows[y * stride + 1..<(y + 1) * stride] }
        return (width, height, pixels)
    }

    @Test func overlayPutsThePatientsLeftOnTheRight() throws {
        // One labelled block in the left, front, upper corner of the head, stored in several orders.
        let folder = TemporaryFolder()
        let size = GridSize(20, 30, 40)
        var values = [Double](repeating: 50, count: size.count)
        values[0] = 100
        var labels = [UInt16](repeating: 0, count: size.count)
        for z in 30..<38 { for y in 20..<28 { for x in 2..<8 { labels[(z * 30 + y) * 20 + x] = 1 } } }
        var pictures: [[UInt8]] = []
        for code in ["RAS", "LIA", "PSR", "ALI"] {
            let map = try #require(AxisMap(stored: "RAS", model: code))
            let dims = map.modelSize(of: size)
            let volume = try CodingTests.volume(
                map.forward(values, size: size), [dims.x, dims.y, dims.z],
                srow: OrientationTests.rows(code, [1, 1, 1]))
            try Overlay.writeOverlay(
                image: volume, labels: map.forward(labels, size: size), colours: [SIMD3(), SIMD3(255, 0, 0)],
                to: "\(folder.path)/\(code).png")
            let picture = try Self.decodePNG(folder.bytes("\(code).png"))
            #expect(picture.width == 8 + 200 + 8 + 200 + 8 + 300 + 8 && picture.height == 416)
            // Red pixels of the three panels: the patient's left is to the right, front and top are up, front is left.
            func centre(_ columns: Range<Int>) -> (Double, Double) {
                var sum = (0.0, 0.0)
                var count = 0.0
                for y in 0..<picture.height {
                    for x in columns
                    where picture.pixels[(y * picture.width + x) * 3]
                        > picture.pixels[(y * picture.width + x) * 3 + 1]
                    {
                        sum = (sum.0 + Double(x - columns.lowerBound), sum.1 + Double(y))
                        count += 1
                    }
                }
                #expect(count > 100)
                return (sum.0 / count, sum.1 / count)
            }
            let axial = centre(8..<208)
            let coronal = centre(216..<416)
            let sagittal = centre(424..<724)
            #expect(axial.0 > 130 && axial.1 < 180)
            #expect(coronal.0 > 130 && coronal.1 < 120)
            #expect(sagittal.0 < 90 && sagittal.1 < 120)
            pictures.append(picture.pixels)
        }
        // Which voxel an odd centroid rounds to may differ between orders, so only equal sizes are asked of the rest.
        #expect(Set(pictures.map(\.count)).count == 1)
    }
}
