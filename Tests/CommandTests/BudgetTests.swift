import Foundation
import TestSupport
import Testing

/// The memory that is promised, as a committed table (Tests/Goldens/budget.txt), and kept: each run under a hard limit of the
/// system, its peak resident set against the limit it was given.
///
/// `MKEDGE_BUDGET=write` rewrites the table; `make budget` prints it.
@Suite(.enabled(if: Shared.isPresent, Comment(rawValue: Shared.skipMessage)), .serialized) struct BudgetTests {
    struct Row {
        var model: String
        var volume: [Int]
        var orientation: String
        var limit: String
        var channels = 1
    }

    static let cube = [256, 256, 256]
    static let rows = [
        Row(model: "model5_gw_ae", volume: cube, orientation: "LIA", limit: "64MiB"),
        Row(model: "model5_gw_ae", volume: cube, orientation: "LIA", limit: "32MiB"),
        Row(model: "model21_104class", volume: cube, orientation: "LIA", limit: "192MiB"),
        Row(model: "model21_104class", volume: cube, orientation: "LIA", limit: "64MiB"),
        Row(model: "mindgrab", volume: cube, orientation: "LIA", limit: "512MiB"),
        Row(model: "mindgrab", volume: cube, orientation: "LIA", limit: "384MiB"),
        Row(model: "kmamba-tumour", volume: [240, 240, 155], orientation: "RAS", limit: "96MiB", channels: 4),
        Row(model: "kmamba-tumour", volume: [240, 240, 155], orientation: "RAS", limit: "64MiB", channels: 4),
    ]

    /// Models made by the real converter from a small calibration: the plan depends on shapes only.
    final class Models {
        let scratch: Scratch
        private var made: [String: String] = [:]

        init() throws { scratch = try Scratch() }

        func path(_ name: String) throws -> String {
            if let path = made[name] { return path }
            let isMeshNet = !name.hasPrefix("kmamba")
            let folder = isMeshNet ? Shared.path("meshnet/\(name)") : "\(Shared.packageRoot)/Tools/models/\(name)"
            let weights = isMeshNet ? "model.pth" : "model.safetensors"
            let path = scratch.file("\(name).mkq")
            let channels = try (0..<(isMeshNet ? 1 : 4)).map {
                try scratch.write(BudgetTests.ball([64, 64, 64], channel: $0), "calibration\($0).nii")
            }
            let run = try Tool.run(
                "mkquant",
                [
                    "convert", "\(folder)/\(weights)", "--config", "\(folder)/model.json", "--no-bias-correction",
                    "--crop", "32", "-o", path, "--quiet", "--calibrate",
                ] + channels)
            guard run.status == 0 else { throw Bench.Failure(text: run.errors) }
            made[name] = path
            return path
        }
    }

    @Test func plansMatchTheCommittedTable() throws {
        let models = try Models()
        var lines: [String] = []
        for row in Self.rows {
            let run = try Tool.run(
                "mkquant",
                [
                    "plan", try models.path(row.model), "--volume", row.volume.map(String.init).joined(separator: "x"),
                    "--orientation", row.orientation, "--memory", row.limit, "--no-time", "--json",
                ])
            #expect(run.status == 0, "\(run.errors)")
            let plan = try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as! [String: Any]
            let title = "\(row.model) \(row.volume) \(row.limit)"
            lines.append(
                "\(title): \(plan["plan"]!), planned \(plan["planned_bytes"]!), arena \(plan["arena_bytes"]!), "
                    + "lower bound \(plan["lower_bound_bytes"]!), disk \(plan["disk_bytes"]!), "
                    + "computed \(plan["recompute_per_mille"]!)/1000")
            let phases = plan["phases"] as! [String: [String: Int]]
            for (phase, items) in phases.sorted(by: { $0.key < $1.key }) {
                for (item, bytes) in items.sorted(by: { $0.key < $1.key }) {
                    lines.append("  \(phase): \(item) \(bytes)")
                }
            }
            for buffer in plan["buffers"] as! [[String: Any]] {
                lines.append("  \(buffer["name"]!) \(buffer["bytes"]!)")
            }
        }
        lines += try modes(models)
        let golden = URL(fileURLWithPath: "\(Shared.packageRoot)/Tests/Goldens/budget.txt")
        let mode = ProcessInfo.processInfo.environment["MKEDGE_BUDGET"]
        if mode == "write" { try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: golden) }
        if mode != nil { print(lines.filter { !$0.hasPrefix(" ") }.joined(separator: "\n")) }
        let expected = try String(contentsOf: golden, encoding: .utf8).split(separator: "\n").map(String.init)
        // Line by line, so that the failure names the buffer that grew.
        for (found, line) in zip(lines, expected) { #expect(found == line) }
        #expect(lines.count == expected.count)
    }

    /// One line for each model, mode and volume, without a limit; modes that a model does not have are refused.
    private func modes(_ models: Models) throws -> [String] {
        var lines: [String] = []
        for model in ["model5_gw_ae", "model21_104class", "mindgrab", "kmamba-tumour"] {
            for volume in ["256x256x256", "240x240x155", "64x64x64"] {
                for mode in ["whole", "lines", "tiles", "windows"] {
                    let run = try Tool.run(
                        "mkquant",
                        ["plan", try models.path(model), "--volume", volume, "--mode", mode, "--no-time", "--json"])
                    guard run.status == 0 else {
                        lines.append("\(model) \(volume) \(mode): refused")
                        continue
                    }
                    let plan = try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as! [String: Any]
                    lines.append(
                        "\(model) \(volume) \(mode): \(plan["plan"]!), planned \(plan["planned_bytes"]!), "
                            + "arena \(plan["arena_bytes"]!), lower bound \(plan["lower_bound_bytes"]!)")
                }
            }
        }
        return lines
    }

    /// Runs with the limit as the system's own limit for data as well. Exact modes must write the labels of the unlimited run.
    @Test func runsKeepToTheirLimit() throws {
        let models = try Models()
        var references: [String: Data] = [:]
        for row in Self.rows {
            let model = try models.path(row.model)
            let images = try images(row, models.scratch)
            let unlimited = try references[row.model] ?? labels(model, images, limit: nil, models.scratch)
            references[row.model] = unlimited
            let limited = try labels(model, images, limit: row.limit, models.scratch)
            let isSame = limited == unlimited
            #expect(isSame, "\(row.model) with \(row.limit): other labels than without a limit")
        }
    }

    private func images(_ row: Row, _ scratch: Scratch) throws -> [String] {
        if row.channels == 1 { return [Shared.path("mri/t1_crop.nii.gz")] }
        return try (0..<row.channels).flatMap { channel in
            let path = try scratch.write(Self.ball(row.volume, channel: channel), "channel\(channel).nii")
            return ["-i", "\(["t1", "t1ce", "t2", "flair"][channel])=\(path)"]
        }
    }

    /// Shells around the middle, another contrast in each channel; nothing outside.
    static func ball(_ dims: [Int], channel: Int) -> [UInt8] {
        let middle = dims.map { $0 / 2 }
        let radius = dims.min()! * 6 / 13
        var voxels: [UInt8] = []
        voxels.reserveCapacity(dims.reduce(1, *))
        for z in 0..<dims[2] {
            for y in 0..<dims[1] {
                for x in 0..<dims[0] {
                    let (dx, dy, dz) = (x - middle[0], y - middle[1], z - middle[2])
                    let distance = dx * dx + dy * dy + dz * dz
                    let shell = (distance >> 6) * (channel + 1) + (x * 7 + y * 3 + z * 5) % 11
                    voxels.append(distance > radius * radius ? 0 : UInt8(truncatingIfNeeded: 60 + shell))
                }
            }
        }
        return TestFiles.nifti(voxels, dims: dims)
    }

    private func labels(_ model: String, _ images: [String], limit: String?, _ scratch: Scratch) throws -> Data {
        let (out, json) = (scratch.file("labels.nii"), scratch.file("report.json"))
        let arguments =
            ["segment", model] + images + ["-o", out, "--json", json, "--overwrite", "--quiet"]
            + (limit.map { ["--memory", $0] } ?? [])
        let run = try Tool.run("mkrun", arguments, dataLimit: limit)
        #expect(run.status == 0, "\(arguments): \(run.errors)")
        let report =
            try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: json))) as! [String: Any]
        let (planned, peak) = (report["planned_bytes"] as! Int, report["peak_resident_bytes"] as! Int)
        if let limit {
            #expect(
                planned <= Int(limit.dropLast(3))! << 20 && peak <= planned,
                "\(model): peak \(peak), planned \(planned)")
            if ProcessInfo.processInfo.environment["MKEDGE_BUDGET"] != nil {
                print("\(model) \(limit): planned \(planned), peak \(peak), \(report["seconds"]!) s")
            }
        }
        return try Data(contentsOf: URL(fileURLWithPath: out)).dropFirst(352)
    }
}
