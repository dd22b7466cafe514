import Foundation
import Testing

@Suite struct EvalTests {
    let scratch: Scratch
    let reference: String
    let prediction: String

    /// 8 x 4 x 2 voxels of 1 x 2 x 3 mm. Label 1 moves by one voxel along x, label 3 is missed, label 5 made up.
    init() throws {
        scratch = try Scratch()
        let dims = [8, 4, 2]
        var (a, b) = ([UInt8](repeating: 0, count: 64), [UInt8](repeating: 0, count: 64))
        a[10] = 1
        b[11] = 1
        a[40] = 3
        b[63] = 5
        a[33] = 2
        b[33] = 2
        reference = try scratch.write(TestFiles.nifti(a, dims: dims, signs: [1, 2, 3]), "reference.nii")
        prediction = try scratch.write(TestFiles.nifti(b, dims: dims, signs: [1, 2, 3]), "prediction.nii")
    }

    private func json(_ text: String) throws -> [String: Any] {
        try JSONSerialization.jsonObject(with: Data(text.utf8)) as! [String: Any]
    }

    private func entries(_ object: [String: Any], _ key: String) -> [[String: Any]] { object[key] as! [[String: Any]] }

    @Test func scoresAreWrittenAndPrinted() throws {
        let file = scratch.file("scores.json")
        let run = try Tool.run(
            "mkrun",
            [
                "eval", reference, prediction, "--regions", "brats", "--region", "own=3,5", "--empty", "brats2023",
                "--json", file,
            ])
        #expect(run.status == 0, "\(run.errors)")
        #expect(run.output.contains("WT=1,2,3") && run.output.contains("empty regions as in brats2023"))
        let scores = try json(String(contentsOfFile: file, encoding: .utf8))
        #expect(scores["empty_rule"] as? String == "brats2023")
        let labels = entries(scores, "labels")
        #expect(labels.map { $0["label"] as! Int } == [1, 2, 3, 5])
        #expect(labels.map { $0["hd95_mm"] as! Double } == [1, 0, 374, 374])
        #expect(labels.map { $0["dice"] as! Double } == [0, 1, 0, 0])
        #expect(labels.map { $0["empty"] as! String } == ["none", "none", "prediction", "reference"])
        #expect(labels.map { $0["reference_ml"] as! Double } == [0.006, 0.006, 0.006, 0])
        #expect(labels[2]["difference_percent"] as! Double == -100)
        let regions = entries(scores, "regions")
        #expect(regions.map { $0["name"] as! String } == ["WT", "TC", "ET", "own"])
        // Voxels 40 = (0, 1, 1) and 63 = (7, 3, 1): 7 mm and 4 mm apart along x and y.
        #expect((regions[3]["hd95_mm"] as! Double - (49.0 + 16).squareRoot()).magnitude < 1e-12)
        let mean = scores["mean_labels"] as! [String: Any]
        #expect(mean["dice"] as! Double == 0.25 && mean["dice_count"] as! Int == 4)
    }

    @Test func whatHasNoValueIsNullAndADash() throws {
        let run = try Tool.run(
            "mkrun", ["eval", reference, prediction, "--empty", "monai", "--labels", "1,3,5,9", "--json", "-"])
        #expect(run.status == 0, "\(run.errors)")
        let labels = entries(try json(run.output), "labels")
        #expect(labels.map { $0["dice"] as? Double } == [0, 0, nil, nil])
        #expect(labels.map { $0["hd95_mm"] as? Double } == [1, nil, nil, nil])
        let table = try Tool.run("mkrun", ["eval", reference, prediction, "--empty", "monai"])
        let row = table.output.split(separator: "\n").first { $0.hasPrefix("5 ") } ?? ""
        #expect(row.split(separator: " ").suffix(4) == ["0.006", "-", "-", "-"], "\(table.output)")
    }

    @Test func binaryTakesAllLabelsAsOne() throws {
        let run = try Tool.run("mkrun", ["eval", reference, prediction, "--binary", "--json", "-"])
        let labels = entries(try json(run.output), "labels")
        #expect(labels.count == 1 && labels[0]["reference_voxels"] as! Int == 3)
        #expect(labels[0]["both_voxels"] as! Int == 1)
    }

    @Test func mistakesAreRefused() throws {
        let other = try scratch.write(TestFiles.nifti([UInt8](repeating: 0, count: 32), dims: [8, 4, 1]), "other.nii")
        let wide = try scratch.write(
            TestFiles.nifti([UInt8](repeating: 0, count: 64), dims: [8, 4, 2], signs: [1, 2, 4]), "wide.nii")
        let cases: [([String], Int32, String)] = [
            ([reference, other], 5, "shape"),
            ([reference, wide], 5, "voxel size[3]"),
            ([reference, prediction, "--empty", "zero"], 2, "brats2020, brats2023, nnunet"),
            ([reference, prediction, "--regions", "isles"], 2, "regions"),
            ([reference, prediction, "--region", "WT"], 2, "region"),
            ([reference, prediction, "--regions", "brats", "--region", "WT=1"], 2, "twice"),
            ([reference, prediction, "--labels", "1;2"], 2, "labels"),
            ([reference, scratch.file("absent.nii")], 3, "absent.nii"),
            ([reference, prediction, "--json", reference], 8, "reference.nii"),
        ]
        for (arguments, status, says) in cases {
            let run = try Tool.run("mkrun", ["eval"] + arguments)
            #expect(run.status == status && run.errors.contains(says), "\(arguments): \(run.status) \(run.errors)")
            #expect(run.output.isEmpty)
        }
    }

    @Test func existingScoresAreKept() throws {
        let file = try scratch.write([1], "kept.json")
        let run = try Tool.run("mkrun", ["eval", reference, prediction, "--json", file])
        #expect(run.status == 8 && run.errors.contains("exists"))
        #expect(try Tool.run("mkrun", ["eval", reference, prediction, "--json", file, "--overwrite"]).status == 0)
    }

    @Test func helpStatesTheRules() throws {
        let help = try Tool.run("mkrun", ["eval", "--help"]).output
        let lines = [
            "brats2020  1, 0 mm | 0, 373.13 mm", "brats2023  1, 0 mm | 0, 374 mm", "nnunet     none, none | 0",
            "monai      none, none | none",
        ]
        for line in lines {
            #expect(help.contains(line), "\(line)")
        }
    }
}
