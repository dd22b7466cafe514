import Foundation
import Testing
import Volume

@Suite struct MalformedTests {
    @Test(arguments: refusedFiles, [false, true]) func refused(_ file: FileCase, ownThread: Bool) throws {
        let folder = TemporaryFolder()
        for (name, bytes) in file.files { folder.write(name, bytes) }
        let path = "\(folder.path)/\(file.files[0].0)"
        let error = volumeError { () throws(VolumeError) in
            let volume = try VoxelVolume.read(path: path, options: file.options, ownThread: ownThread)
            try LabelWriter.write(
                [UInt8](repeating: 0, count: volume.dims.count), to: "\(folder.path)/out.nii",
                like: volume.header, values: [0])
        }
        let found = try #require(error, "accepted")
        #expect(found.exitCode == 4)
        #expect(found.message.contains(file.text), "\(found)")
        #expect(found.description.hasPrefix("\(path): ") && !found.description.contains("\n"))
        #expect(folder.names == file.files.map(\.0).sorted())
    }

    @Test(arguments: acceptedFiles, [false, true]) func accepted(_ file: FileCase, ownThread: Bool) throws {
        let folder = TemporaryFolder()
        for (name, bytes) in file.files { folder.write(name, bytes) }
        let path = "\(folder.path)/\(file.files[0].0)"
        let volume = try VoxelVolume.read(path: path, options: file.options, ownThread: ownThread)
        let warnings = volume.header.warnings
        if file.text.isEmpty {
            #expect(warnings.isEmpty)
        } else {
            #expect(
                warnings.contains { $0.contains(file.text) && $0.hasPrefix(path) && !$0.contains("\n") },
                "\(warnings)")
        }
        // The builder's voxels, whatever the packing was: the first and the last.
        let wide = file.name.contains("int64") || file.name.contains("endian")
        #expect(volume.value(at: 1) == (wide && !file.name.contains("uint64") ? -3 : 37))
        let last = volume.dims.count - 1
        #expect(
            volume.value(at: last) == Double(last * 37 % 100)
                - (wide && !file.name.contains("uint64") ? 40 : 0))
    }

    @Test func aLineBreakInAFileNameStaysOutOfTheMessage() {
        let error = volumeError { () throws(VolumeError) in _ = try NIfTIHeader.read(path: "/none/a\nb.nii") }
        #expect(error?.description.hasPrefix("/none/a?b.nii: cannot open") == true)
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
        for (path, text) in [
            ("\(folder.path)/none.nii", "cannot open"), (folder.path, "not a regular file"),
            (fifo, "not a regular file"), (loop, "cannot open"), ("-", "cannot open"),
        ] {
            let error = volumeError { () throws(VolumeError) in _ = try NIfTIHeader.read(path: path) }
            #expect(
                error?.exitCode == 3 && error?.message.contains(text) == true,
                "\(path): \(String(describing: error))")
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
