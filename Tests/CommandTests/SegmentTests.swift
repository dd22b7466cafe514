import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct SegmentTests {
    static let permutations = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]

    private func labels(_ path: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)).dropFirst(352))
    }

    /// All 48 ways to store one volume: the label of every physical point is the same, exactly.
    @Test func orientationDoesNotMatter() throws {
        let bench = try Bench()
        let size = [11, 13, 17]
        func value(_ p: [Int]) -> UInt8 { UInt8(truncatingIfNeeded: (p[0] * 31 + p[1] * 17 ^ p[2] * 7) * 3) }
        var reference: [[Int]: UInt8] = [:]
        for axes in Self.permutations {
            for bits in 0..<8 {
                let flips = (0..<3).map { bits >> $0 & 1 == 1 }
                let dims = axes.map { size[$0] }
                var points: [[Int]] = []
                for k in 0..<dims[2] {
                    for j in 0..<dims[1] {
                        for i in 0..<dims[0] {
                            var point = [0, 0, 0]
                            for (stored, index) in [i, j, k].enumerated() {
                                point[axes[stored]] = flips[stored] ? dims[stored] - 1 - index : index
                            }
                            points.append(point)
                        }
                    }
                }
                var origin: [Float] = [0, 0, 0]
                for stored in 0..<3 where flips[stored] { origin[axes[stored]] = Float(dims[stored] - 1) }
                let image = try bench.scratch.write(
                    TestFiles.nifti(
                        points.map(value), dims: dims, axes: axes, signs: flips.map { $0 ? -1 : 1 }, origin: origin),
                    "turned.nii")
                let out = bench.scratch.file("turned_labels.nii")
                let run = try Tool.run("mkrun", ["segment", bench.model, image, "-o", out, "--overwrite", "--quiet"])
                #expect(run.status == 0, "\(run.errors)")
                let found = Dictionary(uniqueKeysWithValues: zip(points, try labels(out)))
                if reference.isEmpty {
                    reference = found
                    #expect(Set(found.values).count > 1, "a map of one label would prove nothing")
                }
                let isSame = found == reference
                #expect(isSame, "axes \(axes) flips \(flips)")
            }
        }
    }

    @Test func everyInstructionSetAndThreadCountGivesTheSameFile() throws {
        let bench = try Bench()
        for mode in ["whole", "windows"] {
            var first: [UInt8]?
            for isa in ["portable", "avx2", "avxvnni", "avx512vnni256", "avx512vnni"] {
                for threads in ["1", "3"] {
                    let out = bench.scratch.file("labels.nii.gz")
                    let run = try Tool.run(
                        "mkrun",
                        [
                            "segment", bench.model, bench.volume, "-o", out, "--mode", mode, "--threads", threads,
                            "--overwrite",
                        ],
                        environment: ["MKEDGE_ISA": isa])
                    if run.status == 2, run.errors.contains("this CPU does not have it") { continue }
                    #expect(run.status == 0, "\(run.errors)")
                    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: out)))
                    let isSame = bytes == (first ?? bytes)
                    #expect(isSame, "\(mode) \(isa) \(threads)")
                    first = bytes
                }
            }
        }
    }

    /// 16-bit codes of two images, in memory, on disk, resampled (which reads whole) and by slices: one label map, within the plan.
    @Test(arguments: [false, true]) func imagesOfSixteenBitsKeepTheirLabels(_ resamples: Bool) throws {
        let bench = try Bench()
        var options = TestModels.Options()
        (options.inputs, options.wideInput) = (2, true)
        let model = try bench.scratch.write(TestModels.bytes(options), "wide.mkq")
        let edge = 48
        // Stored so that the network's planes lie across the slices.
        let signs: [Float] = resamples ? [1.3, -1.2, 1.1] : [1, -1, 1]
        let images = try (0..<2).flatMap { index in
            let voxels = (0..<(edge * edge * edge)).map { UInt8(truncatingIfNeeded: $0 &* (7 + index) ^ $0 >> 5) }
            let bytes = TestFiles.nifti(voxels, dims: [edge, edge, edge], axes: [2, 0, 1], signs: signs)
            return ["-i", "channel \(index)=\(try bench.scratch.write(bytes, "image\(index).nii"))"]
        }
        var expected: Data?
        for mode in [["whole"], ["lines"], ["lines", "--tile", "20x30"], ["tiles", "--tile", "30x17x40"]] {
            for storage in ["memory", "disk"] {
                let (out, json) = (bench.scratch.file("labels.nii"), bench.scratch.file("report.json"))
                let run = try Tool.run(
                    "mkrun",
                    ["segment", model, "-o", out, "--storage", storage, "--json", json, "--overwrite", "--mode"] + mode
                        + images)
                #expect(run.status == 0, "\(run.errors)")
                let report =
                    try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: json)))
                    as! [String: Any]
                #expect((report["peak_resident_bytes"] as! Int) <= report["planned_bytes"] as! Int)
                let labels = try Data(contentsOf: URL(fileURLWithPath: out))
                let isSame = labels == (expected ?? labels)
                #expect(isSame && Set(labels.dropFirst(352)).count > 1, "\(mode) \(storage)")
                expected = labels
            }
        }
    }

    @Test func unknownInstructionSetsAreRefused() throws {
        let bench = try Bench()
        let run = try Tool.run(
            "mkrun", ["segment", bench.model, bench.volume, "-o", bench.scratch.file("x.nii")],
            environment: ["MKEDGE_ISA": "mmx"])
        #expect(run.status == 2 && run.errors.contains("MKEDGE_ISA=mmx"))
    }

    /// The promise is kept: the planned bytes cover what the kernel measured, with the limit set to exactly the plan.
    @Test func peakResidentSetStaysUnderThePlan() throws {
        let bench = try Bench()
        let edge = 96
        let image = try bench.scratch.write(TestFiles.volume(edge), "large.nii")
        let dry = try Tool.run("mkrun", ["segment", bench.model, image, "--dry-run", "--mode", "whole"])
        let line = dry.output.split(separator: "\n").first { $0.hasPrefix("planned") }!
        let planned = Int(line.split(separator: " ")[1])!
        let json = bench.scratch.file("report.json")
        let out = bench.scratch.file("large_labels.nii.gz")
        let exact = try Tool.run(
            "mkrun",
            ["segment", bench.model, image, "-o", out, "--mode", "whole", "--memory", "\(planned)", "--json", json])
        #expect(exact.status == 0, "\(exact.errors)")
        let report =
            try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: json))) as! [String: Any]
        #expect((report["planned_bytes"] as! Int) == planned)
        let peak = report["peak_resident_bytes"] as! Int
        #expect(peak <= planned)
        let less = try Tool.run(
            "mkrun",
            ["segment", bench.model, image, "-o", out, "--mode", "whole", "--memory", "17MiB", "--overwrite"])
        #expect(less.status == 7 && less.errors.contains("whole on disk needs") && less.errors.contains("--memory"))
    }

    /// What one channel was read through is gone before the next and before the network runs: with four channels of 17 MB
    /// each, a kept copy shows.
    @Test(arguments: [false, true]) func channelsLeaveNothingBehind(_ wideInput: Bool) throws {
        let bench = try Bench()
        var options = TestModels.Options()
        (options.inputs, options.wideInput) = (4, wideInput)
        let model = try bench.scratch.write(TestModels.bytes(options), "four.mkq")
        let image = try bench.scratch.write(TestFiles.volume(256), "large.nii")
        let json = bench.scratch.file("report.json")
        let channels = (0..<4).flatMap { ["-i", "channel \($0)=\(image)"] }
        let run = try Tool.run(
            "mkrun",
            ["segment", model, "-o", bench.scratch.file("out.nii"), "--mode", "windows", "--json", json] + channels)
        #expect(run.status == 0, "\(run.errors)")
        let report =
            try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: json))) as! [String: Any]
        // The run itself needs more than the reading does, so a copy that stays adds 16 MiB to the peak.
        #expect((report["peak_resident_bytes"] as! Int) <= report["planned_bytes"] as! Int)
    }

    /// Probabilities from memory and from disk are the same file, planned and kept to; the labels do not change.
    @Test func probabilitiesComeOutToo() throws {
        let bench = try Bench()
        let image = try bench.scratch.write(TestFiles.volume(96), "large.nii")
        let (out, plain) = (bench.scratch.file("labels.nii"), bench.scratch.file("plain.nii"))
        #expect(try Tool.run("mkrun", ["segment", bench.model, image, "-o", plain]).status == 0)
        var files: [Data] = []
        for storage in ["memory", "disk"] {
            let (map, json) = (bench.scratch.file("p.nii"), bench.scratch.file("report.json"))
            let run = try Tool.run(
                "mkrun",
                [
                    "segment", bench.model, image, "-o", out, "--probabilities", map, "--storage", storage, "--json",
                    json,
                    "--overwrite",
                ])
            #expect(run.status == 0, "\(run.errors)")
            let report =
                try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: json))) as! [String: Any]
            #expect((report["peak_resident_bytes"] as! Int) <= report["planned_bytes"] as! Int)
            files.append(try Data(contentsOf: URL(fileURLWithPath: map)))
            let isSame =
                try Data(contentsOf: URL(fileURLWithPath: out)) == Data(contentsOf: URL(fileURLWithPath: plain))
            #expect(isSame)
        }
        let isSame = files[0] == files[1]
        #expect(isSame && files[0].count == 352 + 3 * 96 * 96 * 96)
        let voxels = [UInt8](files[0].dropFirst(352))
        let count = 96 * 96 * 96
        let sums = Set((0..<count).map { Int(voxels[$0]) + Int(voxels[$0 + count]) + Int(voxels[$0 + 2 * count]) })
        #expect(sums == [255])
        let both = try Tool.run(
            "mkrun", ["segment", bench.model, image, "-o", out, "--probabilities", out, "--overwrite"])
        #expect(both.status == 8 && both.errors.contains("two files"))
    }

    @Test func existingOutputsAreKept() throws {
        let bench = try Bench()
        let out = try bench.scratch.write([1, 2, 3], "labels.nii.gz")
        let run = try Tool.run("mkrun", ["segment", bench.model, bench.volume, "-o", out])
        #expect(run.status == 8 && run.errors.contains("exists"))
        #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: out))) == [1, 2, 3])
    }

    @Test func inspectCompareEvalAndOverlayWork() throws {
        let bench = try Bench()
        let inspect = try Tool.run("mkquant", ["inspect", bench.model, "--json"])
        let graph = try JSONSerialization.jsonObject(with: Data(inspect.output.utf8)) as! [String: Any]
        #expect((graph["ops"] as! [Any]).count == 4 && (graph["name"] as! String) == "test")
        #expect(try Tool.run("mkquant", ["inspect", bench.model]).output.contains("checkpoint sha256"))
        let compare = try Tool.run(
            "mkquant",
            ["compare", bench.checkpoint, "--config", bench.config, "--model", bench.model, bench.volume, "--json"])
        let fidelity = try JSONSerialization.jsonObject(with: Data(compare.output.utf8)) as! [String: Any]
        #expect((fidelity["agreement"] as! Double) > 0.9)
        #expect((fidelity["layers"] as! [Any]).count == 3)
        let out = bench.scratch.file("labels.nii.gz")
        let csv = bench.scratch.file("volumes.csv")
        #expect(try Tool.run("mkrun", ["segment", bench.model, bench.volume, "-o", out, "--stats", csv]).status == 0)
        let rows = try String(contentsOfFile: csv, encoding: .utf8).split(separator: "\n")
        #expect(rows.count == 4 && rows[0] == "case,label,name,voxels,mm3,ml")
        let eval = try Tool.run("mkrun", ["eval", out, out])
        #expect(eval.output.contains("voxel agreement 1.000000"))
        let png = bench.scratch.file("overlay.png")
        #expect(try Tool.run("mkrun", ["overlay", bench.volume, out, "-o", png, "--model", bench.model]).status == 0)
        #expect([UInt8](try Data(contentsOf: URL(fileURLWithPath: png)).prefix(4)) == [0x89, 0x50, 0x4E, 0x47])
    }
}
