import Foundation
import Testing

/// What `mkrun bench` prints; never how long anything took.
@Suite(.serialized) struct BenchCommandTests {
    @Test func rowsForEveryOp() throws {
        let bench = try Bench()
        for arguments in [[], ["--threads", "2"], ["--mode", "whole"], ["--mode", "windows"], ["--tile", "9x20"]] {
            let run = try Tool.run(
                "mkrun",
                ["bench", bench.model, "--volume", "20x21x22", "--rounds", "2", "--per-op", "--json"] + arguments)
            #expect(run.status == 0, "\(run.errors)")
            let report = try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as! [String: Any]
            #expect(report["volume"] as! [Int] == [20, 21, 22])
            #expect((report["rounds"] as! [Double]).count == 2)
            let best = report["best_seconds"] as! Double
            #expect(best > 0 && best <= report["median_seconds"] as! Double)
            let ops = report["ops"] as! [[String: Any]]
            let kinds = ops.compactMap { $0["kind"] as? String }
            #expect(kinds == ["conv3d", "conv3d", "conv3d", "argmax"])
            let isWindowed = arguments.contains("windows")
            #expect(ops.contains { ($0["name"] as! String).contains("window scores") } == isWindowed)
            // Every voxel of every op, counted once: nothing is computed twice where nothing overlaps.
            for op in ops where op["kind"] is String && !isWindowed && !arguments.contains("--tile") {
                #expect(op["voxels"] as! Double == 20 * 21 * 22, "\(arguments) \(op["name"]!)")
            }
            let products = [1 * 4 * 27, 4 * 4 * 27, 4 * 3, 0].map(Double.init)
            for (op, perVoxel) in zip(ops, products) {
                #expect(op["multiply_adds"] as! Double == perVoxel * (op["voxels"] as! Double))
                #expect(op["seconds"] as! Double > 0)
                if let fraction = op["fraction_of_limit"] as? Double { #expect(fraction > 0) }
            }
            let parts = ops.reduce(0) { $0 + ($1["seconds"] as! Double) } + (report["rest_seconds"] as! Double)
            #expect(abs(parts - best) < 1e-3 * best || report["rest_seconds"] as! Double == 0)
        }
    }

    @Test func tableAndSummary() throws {
        let bench = try Bench()
        let run = try Tool.run("mkrun", ["bench", bench.model, "--volume", "16x16x16", "--rounds", "1", "--per-op"])
        #expect(run.status == 0, "\(run.errors)")
        let lines = run.output.split(separator: "\n").map(String.init)
        #expect(lines[0].contains("16 x 16 x 16 voxels") && lines[1].hasPrefix("op"))
        #expect(lines.contains { $0.hasPrefix("total") } && lines.contains { $0.hasPrefix("all else") })
        #expect(lines.last!.hasPrefix("best "))
        let plain = try Tool.run("mkrun", ["bench", bench.model, "--volume", "16x16x16", "--rounds", "1"])
        #expect(plain.output.split(separator: "\n").count == 2)
        let portable = try Tool.run(
            "mkrun", ["bench", bench.model, "--volume", "16x16x16", "--rounds", "1", "--per-op", "--json"],
            environment: ["MKEDGE_ISA": "portable"])
        let report = try JSONSerialization.jsonObject(with: Data(portable.output.utf8)) as! [String: Any]
        #expect(report["limits"] is NSNull && report["isa"] as! String == "portable")
    }

    @Test func refusals() throws {
        let bench = try Bench()
        #expect(try Tool.run("mkrun", ["bench", bench.model, "--rounds", "0"]).status == 2)
        #expect(try Tool.run("mkrun", ["bench", bench.model, "--volume", "16x16"]).status == 2)
        #expect(try Tool.run("mkrun", ["bench", bench.model, "--threads", "65"]).status == 2)
        #expect(try Tool.run("mkrun", ["bench", bench.scratch.file("none.mkq")]).status == 3)
        #expect(try Tool.run("mkrun", ["bench", bench.volume]).status == 6)
        let small = try Tool.run("mkrun", ["bench", bench.model, "--memory", "16MiB"])
        #expect(small.status == 7 && small.errors.contains("--memory"))
    }
}
