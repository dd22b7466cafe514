import Foundation
import TestSupport
import Testing

/// Several input channels, named on the command line.
@Suite struct ChannelTests {
    let scratch: Scratch
    let model: String
    let images: [String: String]

    init() throws {
        scratch = try Scratch()
        var options = TestModels.Options()
        options.inputs = 3
        options.channelNames = ["t1", "t1ce", "flair"]
        model = try scratch.write(TestModels.bytes(options), "model.mkq")
        var made: [String: String] = [:]
        for (index, name) in options.channelNames!.enumerated() {
            let voxels = (0..<8000).map { UInt8(truncatingIfNeeded: ($0 &* (7 + 4 * index)) ^ $0 >> (4 + index)) }
            made[name] = try scratch.write(TestFiles.nifti(voxels, dims: [20, 20, 20]), "\(name)=1.nii")
        }
        images = made
    }

    private func options(_ pairs: [(String, String)]) -> [String] { pairs.flatMap { ["-i", "\($0.0)=\($0.1)"] } }

    private func labels(_ arguments: [String], _ name: String) throws -> [UInt8] {
        let out = scratch.file(name)
        let run = try Tool.run("mkrun", ["segment", model] + arguments + ["-o", out, "--quiet", "--overwrite"])
        #expect(run.status == 0, "\(arguments): \(run.errors)")
        return [UInt8](try Data(contentsOf: URL(fileURLWithPath: out)).dropFirst(352))
    }

    @Test func orderDoesNotMatterButNamesDo() throws {
        let pairs = images.map { ($0.key, $0.value) }
        let expected = try labels(options(pairs), "a.nii")
        #expect(expected.count == 8000 && Set(expected).count > 1)
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let found = try labels(options(order.map { pairs[$0] }), "b.nii")
            #expect(found == expected, "\(order)")
        }
        let plain = try labels(pairs.map { "\($0.0)=\($0.1)" }, "c.nii")
        #expect(plain == expected)
        let exchanged = try labels(
            options([("t1", images["flair"]!), ("t1ce", images["t1ce"]!), ("flair", images["t1"]!)]), "d.nii")
        #expect(exchanged != expected)
    }

    @Test func theReportNamesTheFilesInTheModelsOrder() throws {
        let report = scratch.file("report.json")
        let pairs = ["flair", "t1ce", "t1"].map { ($0, images[$0]!) }
        _ = try labels(options(pairs) + ["--json", report], "a.nii")
        let object = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: report)))
        let inputs = (object as! [String: Any])["inputs"] as! [String]
        #expect(inputs == ["t1", "t1ce", "flair"].map { images[$0]! })
    }

    /// One clear line, the right status, no output; the images are not read (none of the voxels of `damaged` are there).
    @Test func mistakesAreRefused() throws {
        let (t1, t1ce, flair) = (images["t1"]!, images["t1ce"]!, images["flair"]!)
        func image(_ name: String, _ dims: [Int], signs: [Float] = [1, 1, 1], x: Float = 0) throws -> String {
            let voxels = [UInt8](repeating: 7, count: dims.reduce(1, *))
            return try scratch.write(TestFiles.nifti(voxels, dims: dims, signs: signs, origin: [x, 0, 0]), name)
        }
        let shape = try image("shape.nii", [20, 20, 19])
        let spacing = try image("spacing.nii", [20, 20, 20], signs: [1, 1, 1.01])
        let affine = try image("affine.nii", [20, 20, 20], x: 0.002)
        let two = [("t1", t1), ("t1ce", t1ce)]
        let cases: [(String, [String], Int32, String)] = [
            ("missing one", options(two), 2, "channel flair is missing (channels: t1, t1ce, flair)"),
            ("missing two", options([("t1", t1)]), 2, "channels t1ce, flair are missing"),
            ("none", [], 2, "images"),
            ("unknown", options(two + [("t2", flair)]), 2, "unknown channel t2"),
            ("twice", options(two + [("t1", flair)]), 2, "channel t1 is given twice"),
            ("twice, mixed", options(two) + ["t1=\(flair)"], 2, "channel t1 is given twice"),
            ("no name", options(two) + ["-i", scratch.file("plain.nii")], 2, "name the channel, as NAME=FILE"),
            ("no file", options(two) + ["-i", "flair="], 2, "no file for channel flair"),
            ("absent", options(two + [("flair", scratch.file("absent.nii"))]), 3, "absent.nii"),
            ("shape", options(two + [("flair", shape)]), 5, "shape=20x20x19"),
            ("spacing", options(two + [("flair", spacing)]), 5, "voxel size[3]=1.01 mm"),
            ("affine", options(two + [("flair", affine)]), 5, "affine differs"),
        ]
        let before = scratch.contents
        for (name, arguments, status, says) in cases {
            let run = try Tool.run("mkrun", ["segment", model] + arguments + ["-o", scratch.file("out.nii")])
            #expect(run.status == status && run.errors.contains(says), "\(name): \(run.status) \(run.errors)")
            if name != "none" { #expect(run.errors.split(separator: "\n").count == 1, "\(name): \(run.errors)") }
            #expect(run.output.isEmpty && scratch.contents == before, "\(name)")
        }
    }

    /// The check comes before the voxels: a pair that disagrees is refused as such though the second file is cut short.
    @Test func disagreementIsFoundBeforeAnythingIsRead() throws {
        let far = TestFiles.nifti([UInt8](repeating: 7, count: 8000), dims: [20, 20, 20], origin: [5, 0, 0])
        let damaged = try scratch.write(zipped(far), "far.nii.gz")
        let run = try Tool.run(
            "mkrun",
            ["segment", model] + options([("t1", images["t1"]!), ("t1ce", damaged), ("flair", images["flair"]!)])
                + ["-o", scratch.file("out.nii")])
        #expect(run.status == 5 && run.errors.contains("affine differs"), "\(run.errors)")
    }

    /// A gzip stream (stored blocks) that ends in the middle of the voxels.
    private func zipped(_ bytes: [UInt8]) -> [UInt8] {
        let size = UInt16(bytes.count)
        let head: [UInt8] = [
            0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255, 1, UInt8(size & 255), UInt8(size >> 8), UInt8(~size & 255),
            UInt8(~size >> 8),
        ]
        return head + bytes.prefix(1000)
    }

    @Test func oneChannelNeedsNoName() throws {
        let one = try scratch.write(TestModels.bytes(), "one.mkq")
        let plain = try scratch.write(TestFiles.volume(), "plain.nii")
        for arguments in [[plain], ["-i", plain], ["-i", "channel 0=\(plain)"], [images["t1"]!]] {
            let run = try Tool.run("mkrun", ["segment", one] + arguments + ["--dry-run"])
            #expect(run.status == 0 && run.output.contains("planned"), "\(arguments): \(run.errors)")
        }
        let run = try Tool.run("mkrun", ["segment", one, "-i", "t1=\(plain)", "--dry-run"])
        #expect(run.status == 2 && run.errors.contains("unknown channel t1"), "\(run.errors)")
    }
}
