import CommandSupport
import FlatGraph
import HostRuntime
import MKRuntime
import Ops
import Volume

/// What `mkrun bench` prints.
struct BenchReport {
    let model: MappedModel
    let plan: SegmentationPlan
    let isa: ISA
    let benchmark: Benchmark

    /// Ops that take more than this part of the run at less than that part of their limit are work to do.
    private static let share = 0.02
    private static let fraction = 0.6

    private var file: ModelFile { model.file }
    private var multiplyAdds: Double { benchmark.ops.reduce(0) { $0 + $1.multiplyAdds } }
    private var inOps: Double { benchmark.ops.reduce(0) { $0 + $1.seconds } }
    private var rest: Double { max(0, benchmark.best - inOps) }

    private func share(_ seconds: Double) -> Double { seconds / benchmark.best }
    private func isSlow(_ op: Benchmark.Op) -> Bool {
        share(op.seconds) > Self.share && (op.fraction.map { $0 < Self.fraction } ?? false)
    }

    // MARK: Text

    var text: String {
        let size = plan.run.volume
        var lines = [
            "\(file.string(file.record.name)): \(size.width) x \(size.height) x \(size.depth) voxels, "
                + "\(plan.summary)\(plan.run.mode == .windows ? " (\(plan.run.windowCount))" : ""), "
                + "\(isa.name), \(plan.run.threads) thread(s)"
        ]
        if !benchmark.ops.isEmpty { lines.append(table) }
        if let limits = benchmark.limits { lines.append(text(limits)) }
        lines.append(
            "best \(milliseconds(benchmark.best)) ms, median \(milliseconds(benchmark.median)) ms of "
                + "\(benchmark.seconds.count) round(s)")
        return lines.joined(separator: "\n")
    }

    private func milliseconds(_ seconds: Double) -> String { Format.fixed(seconds * 1000, 2) }

    private func text(_ limits: MachineLimits) -> String {
        "limits of a core: \(Format.fixed(limits.multiplyAdds * 1e-9, 0)) GMAC/s in 8 bits, "
            + "\(Format.fixed(limits.wideMultiplyAdds * 1e-9, 0)) in 16; "
            + "\(Format.fixed(limits.requantizations * 1e-9, 1)) G requantizations/s, "
            + "\(Format.fixed(limits.scanUpdates * 1e-9, 1)) G scan updates/s"
    }

    private var table: String {
        var rows = [["op", "kind", "ms", "share %", "GMAC/s", "GB/s", "of limit"]]
        for op in benchmark.ops {
            let perSecond = Double(plan.run.threads) * op.seconds * 1e9
            rows.append([
                op.name, op.index.map { kind($0) } ?? "", milliseconds(op.seconds),
                Format.fixed(share(op.seconds) * 100, 1),
                op.multiplyAdds > 0 ? Format.fixed(op.multiplyAdds / perSecond, 1) : "",
                op.bytes > 0 ? Format.fixed(op.bytes / perSecond, 1) : "",
                op.fraction.map {
                    "\(isSlow(op) ? "< " : "")\(op.isBoundByInstructions ? "i" : "b") \(Format.fixed($0, 2))"
                } ?? "",
            ])
        }
        if benchmark.ops.count > 40 { rows += kinds }
        rows.append(["all else", "", milliseconds(rest), Format.fixed(share(rest) * 100, 1)])
        rows.append([
            "total", "", milliseconds(benchmark.best), "100.0", Format.fixed(multiplyAdds / benchmark.best * 1e-9, 1),
        ])
        return Format.table(rows)
    }

    /// Sums over all ops of a kind, where there are too many rows to see them.
    private var kinds: [[String]] {
        var order: [OpRecord.Kind] = []
        for index in 0..<file.opCount where !order.contains(file.op(index).kind) { order.append(file.op(index).kind) }
        return order.map { kind in
            let ops = benchmark.ops.filter { $0.index.map { file.op($0).kind == kind } ?? false }
            let seconds = ops.reduce(0) { $0 + $1.seconds }
            let limits = ops.compactMap(\.limit).map { max($0.instructions, $0.bandwidth) }
            return [
                "all \(kind)", "\(ops.count) ops", milliseconds(seconds), Format.fixed(share(seconds) * 100, 1), "", "",
                limits.isEmpty ? "" : Format.fixed(limits.reduce(0, +) / seconds, 2),
            ]
        }
    }

    private func kind(_ index: Int) -> String {
        let op = file.op(index)
        let output = Int(file.tensor(Int(op.output)).channels)
        let input = Int(file.tensor(file.operand(op, 0)).channels)
        switch op.kind {
        case .conv3d:
            let stride = op.mode & 1 == 1 ? " s2" : ""
            return "\(op.kind) \(input)-\(output) k\(op.kernel.2) d\(op.dilation.2)\(stride)"
        case .argmax: return "\(op.kind) \(file.classCount)"
        default: return "\(op.kind) \(output)"
        }
    }

    // MARK: JSON

    var json: JSON {
        let size = plan.run.volume
        return .object([
            ("tool", .string(Version.text)), ("model", .string(model.path)),
            ("model_name", .string(file.string(file.record.name))),
            ("model_crc32c", .string(Format.hex(model.checksum))),
            ("volume", .array([size.width, size.height, size.depth].map { .integer($0) })),
            ("mode", .string(plan.run.mode.name)), ("plan", .string(plan.summary)),
            ("windows", .integer(plan.run.windowCount)), ("threads", .integer(plan.run.threads)),
            ("isa", .string("\(isa.name)")), ("rounds", .array(benchmark.seconds.map { .number($0) })),
            ("best_seconds", .number(benchmark.best)), ("median_seconds", .number(benchmark.median)),
            ("limits", benchmark.limits.map(limits) ?? .null), ("ops", .array(benchmark.ops.map(json))),
            ("multiply_adds", benchmark.ops.isEmpty ? .null : .number(multiplyAdds)),
            ("rest_seconds", benchmark.ops.isEmpty ? .null : .number(rest)),
        ])
    }

    private func limits(_ limits: MachineLimits) -> JSON {
        .object([
            ("multiply_adds_per_second", .number(limits.multiplyAdds)),
            ("wide_multiply_adds_per_second", .number(limits.wideMultiplyAdds)),
            ("requantizations_per_second", .number(limits.requantizations)),
            ("scan_updates_per_second", .number(limits.scanUpdates)),
        ])
    }

    private func json(_ op: Benchmark.Op) -> JSON {
        .object([
            ("op", op.index.map { .integer($0) } ?? .null), ("name", .string(op.name)),
            ("kind", op.index.map { .string("\(file.op($0).kind)") } ?? .null),
            ("seconds", .number(op.seconds)), ("share", .number(share(op.seconds))), ("voxels", .number(op.voxels)),
            ("multiply_adds", .number(op.multiplyAdds)), ("bytes", .number(op.bytes)),
            ("instruction_limit_seconds", op.limit.map { .number($0.instructions) } ?? .null),
            ("bandwidth_limit_seconds", op.limit.map { .number($0.bandwidth) } ?? .null),
            ("fraction_of_limit", op.fraction.map { .number($0) } ?? .null), ("is_slow", .bool(isSlow(op))),
        ])
    }
}
