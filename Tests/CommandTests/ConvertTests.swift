import FlatGraph
import Foundation
import TestSupport
import Testing

/// What `mkquant` does beyond the plain conversion that the other tests start from.
@Suite struct ConvertTests {
    private struct Bench {
        let scratch: Scratch
        let checkpoint: String
        let config: String
        let volume: String

        init() throws {
            let folder = try Scratch()
            scratch = folder
            func file(_ name: String, _ bytes: [UInt8]) throws -> String {
                let path = "\(folder.path)/\(name)"
                try Data(bytes).write(to: URL(fileURLWithPath: path))
                return path
            }
            checkpoint = try file("net.safetensors", TestFiles.checkpoint)
            config = try file("net.json", Array(TestFiles.config.utf8))
            volume = try file("head.nii", TestFiles.volume(32))
        }

        func convert(_ more: [String]) throws -> Tool {
            try Tool.run(
                "mkquant",
                [
                    "convert", checkpoint, "--config", config, "--calibrate", volume, "-o", "\(scratch.path)/net.mkq",
                    "--quiet",
                ] + more)
        }
    }

    private static let goldens = "\(Shared.packageRoot)/Tests/Goldens/onnx"

    /// The search ends with few differences, the file says which layers have 16 bits, and the report holds every part.
    @Test func precisionIsSearchedAndReported() throws {
        let bench = try Bench()
        let report = "\(bench.scratch.path)/report.html"
        let run = try bench.convert(["--max-dice-drop", "0", "--report", report])
        #expect(run.status == 0, "\(run.errors)")
        #expect(run.output.contains("alone in 8 bits") && run.output.contains("16 bits added"))
        #expect(run.output.contains("noisiest: "))
        let page = try String(contentsOfFile: report, encoding: .utf8)
        for part in ["<h2>Layers</h2>", "<h2>Precision</h2>", "<h2>Labels</h2>", "<h2>Memory</h2>", "<svg", "</html>"] {
            #expect(page.contains(part))
        }
        #expect(!page.contains("http://") && !page.contains("https://"))
        let numbers = try JSONSerialization.jsonObject(
            with: Data(contentsOf: URL(fileURLWithPath: "\(bench.scratch.path)/report.json")))
        #expect((numbers as? [String: Any])?["agreement"] is Double)
        for key in ["layers", "precision", "labels", "memory", "methods"] {
            #expect((numbers as? [String: Any])?[key] != nil, "\(key)")
        }
        let inspect = try Tool.run("mkquant", ["inspect", "\(bench.scratch.path)/net.mkq"])
        #expect(inspect.output.contains("16-bit layers:  input, model."))
        // A second run must be asked for before it replaces anything.
        #expect(try bench.convert([]).status == 8)
    }

    @Test func rangesAreTried() throws {
        let run = try Bench().convert(["--try-ranges"])
        #expect(run.status == 0, "\(run.errors)")
        let lines = run.output.split(separator: "\n")
        #expect(lines[0].hasPrefix("ranges") && lines.prefix(8).contains { $0.hasPrefix("average") })
        let agreements = lines[1...7].compactMap { Double($0.split(separator: " ")[1]) }
        #expect(agreements.count == 7 && agreements == agreements.sorted(by: >))
    }

    @Test func methodsAreTried() throws {
        let run = try Bench().convert(["--try-methods", "--no-weight-correction"])
        #expect(run.status == 0, "\(run.errors)")
        let rows = run.output.split(separator: "\n")[1...10]
        let names = rows.map { $0.prefix { !$0.isNumber }.trimmingCharacters(in: .whitespaces) }
        let methods = ["equalization", "weight clipping", "bias correction", "adaptive rounding"]
        #expect(names == ["none"] + methods.map { "only \($0)" } + ["all"] + methods.map { "all but \($0)" })
        #expect(!run.output.contains("weight correction"))
    }

    /// What fits is taken; what cannot be is refused before anything is written, with a status that says why.
    @Test func memoryIsATarget() throws {
        let bench = try Bench()
        let model = "\(bench.scratch.path)/net.mkq"
        let roomy = try bench.convert(["--memory", "1GiB", "--volume", "64x64x64", "--json"])
        #expect(roomy.status == 0, "\(roomy.errors)")
        let json = try JSONSerialization.jsonObject(with: Data(roomy.output.utf8)) as? [String: Any]
        let steps = (json?["precision"] as? [String: Any])?["steps"] as? [[String: Any]]
        // The input and two convolutions can have 16 bits.
        #expect(steps?.count == 4 && steps?.allSatisfy { $0["planned_bytes"] is Int } == true)
        let needs = steps?.compactMap { $0["least_bytes"] as? Int } ?? []
        // But for the name of a feature that nothing asks for any more, which a section of the file may end before.
        let grows = zip(needs, needs.dropFirst()).allSatisfy { $1 >= $0 - MKQ.alignment }
        #expect(grows && needs.last! > needs.first!, "\(needs)")
        let plan = try Tool.run(
            "mkquant", ["plan", model, "--volume", "64x64x64", "--threads", "2", "--no-time", "--json"])
        let planned = try JSONSerialization.jsonObject(with: Data(plan.output.utf8)) as? [String: Any]
        let memory = (json?["memory"] as? [String: Any])?["fastest"] as? [String: Any]
        #expect(planned?["planned_bytes"] is Int && memory?["planned_bytes"] is Int)
        try FileManager.default.removeItem(atPath: model)

        let tight = try bench.convert(["--memory", "1MiB", "--volume", "64x64x64"])
        #expect(tight.status == 7 && tight.errors.contains("--memory 1.0 MiB"))
        let between = needs.first.map { "\($0)" } ?? "0"
        let both = try bench.convert(["--memory", between, "--max-dice-drop", "0", "--volume", "64x64x64"])
        #expect(both.status == 10 && both.errors.contains("nothing written"), "\(both.errors)")
        #expect(!FileManager.default.fileExists(atPath: model))
        #expect(try bench.convert(["--memory", "1GiB", "--int16", "all"]).status == 2)
    }

    @Test func checkHasAStatusOfItsOwn() throws {
        let bench = try Bench()
        let refused = try bench.convert(["--check", "1"])
        #expect(refused.status == 10 && refused.errors.contains("must be 1.0 or more"), "\(refused.errors)")
        #expect(!FileManager.default.fileExists(atPath: "\(bench.scratch.path)/net.mkq"))
        #expect(try bench.convert(["--check", "0.5"]).status == 0)
    }

    /// Every output is looked at before work starts: a report that exists must not leave a model behind.
    @Test func aReportThatExistsStopsTheRunAtOnce() throws {
        let bench = try Bench()
        for name in ["page.html", "page.json"] {
            let path = try bench.scratch.write([1, 2, 3], name)
            let run = try bench.convert(["--report", "\(bench.scratch.path)/page.html"])
            #expect(run.status == 8 && run.errors.contains(name), "\(run.errors)")
            #expect(!FileManager.default.fileExists(atPath: "\(bench.scratch.path)/net.mkq"))
            try FileManager.default.removeItem(atPath: path)
        }
        #expect(try bench.convert(["--report", "\(bench.scratch.path)/page.html"]).status == 0)
    }

    /// Also over several volumes, windows and threads: nothing in a model file depends on the run.
    @Test func conversionIsByteIdentical() throws {
        let bench = try Bench()
        let arguments = ["--calibrate", bench.volume, bench.volume, "--crop", "16", "--windows", "3", "--overwrite"]
        #expect(try bench.convert(arguments).status == 0)
        let first = FileManager.default.contents(atPath: "\(bench.scratch.path)/net.mkq")
        #expect(try bench.convert(arguments + ["--threads", "1"]).status == 0)
        #expect(first != nil && first == FileManager.default.contents(atPath: "\(bench.scratch.path)/net.mkq"))
    }

    /// With the image in 16 bits.
    @Test func aWidenedInputIsCompared() throws {
        let bench = try Bench()
        #expect(try bench.convert(["--int16", "all"]).status == 0)
        let model = "\(bench.scratch.path)/net.mkq"
        let compare = try Tool.run(
            "mkquant",
            ["compare", bench.checkpoint, "--config", bench.config, "--model", model, bench.volume, "--json"])
        let found = try JSONSerialization.jsonObject(with: Data(compare.output.utf8)) as? [String: Any]
        #expect((found?["layers"] as? [Any])?.count == 3, "\(compare.errors)")
        let inspect = try Tool.run("mkquant", ["inspect", model, "--json"])
        let facts = try JSONSerialization.jsonObject(with: Data(inspect.output.utf8)) as? [String: Any]
        let tensors = facts?["tensors"] as? [[String: Any]]
        #expect(tensors?.first?["storage"] as? String == "i16" && tensors?.first?["zero_point"] as? Int == 0)
    }

    @Test func sixteenBitsTwiceIsAContradiction() throws {
        let run = try Bench().convert(["--max-dice-drop", "0.01", "--int16", "all"])
        #expect(run.status == 2 && run.errors.contains("without --int16"))
    }

    @Test func sourcesAreInspected() throws {
        let bench = try Bench()
        let weights = try Tool.run("mkquant", ["inspect", bench.checkpoint])
        #expect(weights.status == 0 && weights.output.contains("container: safetensors"))
        #expect(weights.output.contains("model.0.weight"))
        let onnx = try Tool.run("mkquant", ["inspect", "\(Self.goldens)/unet-attention-batch.onnx", "--json"])
        let json = try JSONSerialization.jsonObject(with: Data(onnx.output.utf8)) as? [String: Any]
        #expect(json?["importable"] as? Bool == true && (json?["operators"] as? [String: Any])?["Conv"] as? Int == 17)
        #expect(try Tool.run("mkquant", ["inspect", bench.volume]).status == 6)
        #expect(try Tool.run("mkquant", ["inspect", "\(bench.scratch.path)/nothing"]).status == 3)
    }

    @Test func anONNXNetworkGoesTheWholeWay() throws {
        let bench = try Bench()
        let model = "\(bench.scratch.path)/unet.mkq"
        let name = "\(Self.goldens)/unet-transposed-batch"
        var arguments = [
            "convert", "\(name).onnx", "--config", "\(name).json", "--calibrate", bench.volume, "-o", model, "--quiet",
        ]
        let run = try Tool.run("mkquant", arguments)
        #expect(run.status == 0, "\(run.errors)")
        let labels = "\(bench.scratch.path)/labels.nii.gz"
        let segment = try Tool.run("mkrun", ["segment", model, bench.volume, "-o", labels, "--quiet"])
        #expect(segment.status == 0 && FileManager.default.fileExists(atPath: labels), "\(segment.errors)")
        arguments[3] = bench.config
        let other = try Tool.run("mkquant", arguments + ["--overwrite"])
        #expect(other.status == 6 && other.errors.contains("is ONNX but the configuration says architecture=meshnet"))
    }
}
