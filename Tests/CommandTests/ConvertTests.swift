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
        #expect(run.output.contains("alone in 8 bits") && run.output.contains("layers in 16 bits"))
        #expect(run.output.contains("noisiest: "))
        let page = try String(contentsOfFile: report, encoding: .utf8)
        for part in ["<h2>Layers</h2>", "<h2>Precision</h2>", "<h2>Labels</h2>", "</html>"] {
            #expect(page.contains(part))
        }
        #expect(!page.contains("http://") && !page.contains("https://"))
        let numbers = try JSONSerialization.jsonObject(
            with: Data(contentsOf: URL(fileURLWithPath: "\(bench.scratch.path)/report.json")))
        #expect((numbers as? [String: Any])?["agreement"] is Double)
        let inspect = try Tool.run("mkquant", ["inspect", "\(bench.scratch.path)/net.mkq"])
        #expect(inspect.output.contains("16-bit layers:  model."))
        // A second run must be asked for before it replaces anything.
        #expect(try bench.convert([]).status == 8)
    }

    @Test func rangesAreTried() throws {
        let run = try Bench().convert(["--try-ranges"])
        #expect(run.status == 0, "\(run.errors)")
        let lines = run.output.split(separator: "\n")
        #expect(lines[0].hasPrefix("ranges") && lines.prefix(7).contains { $0.hasPrefix("entropy") })
        let agreements = lines[1...6].compactMap { Double($0.split(separator: " ")[1]) }
        #expect(agreements.count == 6 && agreements == agreements.sorted(by: >))
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
