import FlatGraph
import HostRuntime
import MKRuntime
import Volume

/// The plan of a run for people: table of modes, phases, buffers, and a map of the arena over time.
public struct PlanText {
    public let plan: SegmentationPlan
    public let model: MappedModel
    public let limit: Int?
    /// Seconds of a plan; nil to leave times out.
    public let estimate: ((SegmentationPlan) -> Double)?

    public init(
        _ plan: SegmentationPlan, _ model: MappedModel, limit: Int?, estimate: ((SegmentationPlan) -> Double)? = nil
    ) {
        self.plan = plan
        self.model = model
        self.limit = limit
        self.estimate = estimate
    }

    public var text: String {
        [summary, phases, buffers, "arena over time (rows: addresses from 0, columns: steps)", map].joined(
            separator: "\n\n")
    }

    // MARK: Modes

    /// One row per mode: its fastest plan and its smallest.
    public static func modes(_ search: PlanSearch, estimate: ((SegmentationPlan) -> Double)?) -> String {
        var rows = [["mode", "plan", "bytes", "needs", "computed"] + (estimate == nil ? [] : ["about s"])]
        func add(_ mode: String, _ plan: SegmentationPlan) {
            rows.append(
                [
                    mode, plan.summary, "\(plan.totalBytes)", Format.mebibytes(plan.totalBytes),
                    Format.fixed(Double(plan.run.recomputePerMille) / 1000, 2) + "x",
                ] + (estimate.map { [Format.fixed($0(plan), 1)] } ?? []))
        }
        for row in search.table() {
            add(row.mode.name, row.fastest)
            if row.smallest.totalBytes < row.fastest.totalBytes { add("", row.smallest) }
        }
        return Format.table(rows)
    }

    // MARK: One plan

    private var summary: String {
        let run = plan.run
        var lines = [
            "mode        \(plan.summary)\(run.mode == .windows ? " (\(run.windowCount))" : "")",
            "grid        \(run.volume.width) x \(run.volume.height) x \(run.volume.depth) voxels, \(run.threads) thread(s)",
            "computed    \(Format.fixed(Double(run.recomputePerMille) / 1000, 2)) times the network over the volume",
            "arena       \(run.arenaBytes) bytes (lower bound \(run.lowerBoundBytes), gap \(run.arenaBytes - run.lowerBoundBytes))",
            "planned     \(plan.totalBytes) bytes (\(Format.mebibytes(plan.totalBytes)))"
                + (limit.map { ", limit \(Format.mebibytes($0))" } ?? ""),
            "on disk     \(plan.diskBytes) bytes beside the output",
        ]
        if let estimate { lines.append("time        about \(Format.fixed(estimate(plan), 1)) s") }
        return lines.joined(separator: "\n")
    }

    private var phases: String {
        var rows = [["phase", "needs", "bytes"]]
        for phase in plan.phases {
            for item in phase.items { rows.append([phase.name, item.name, "\(item.bytes)"]) }
        }
        return Format.table(rows)
    }

    var placed: [PlannedBuffer] { plan.run.buffers.sorted { ($0.offset, $0.first) < ($1.offset, $1.first) } }

    private var buffers: String {
        var rows = [["arena buffer", "offset", "bytes", plan.run.mode == .lines ? "segments" : "ops"]]
        for buffer in placed {
            rows.append([
                name(buffer.use), "\(buffer.offset)", "\(buffer.bytes)", "\(buffer.first)...\(buffer.last)",
            ])
        }
        return Format.table(rows)
    }

    func name(_ use: PlannedBuffer.Use) -> String {
        let file = model.file
        return switch use {
        case .tensor(let index): file.string(file.tensor(index).name)
        case .ring(let index, let segment):
            "\(file.string(file.tensor(index).name)) slices\(segment > 0 ? " (\(segment))" : "")"
        case .scratch(let op): "\(file.string(file.op(op).name)) scratch"
        case .chunk(let index, _): "\(file.string(file.tensor(index).name)) chunk"
        case .spline(let op): "\(file.string(file.op(op).name)) splines"
        case .rows(let index): "\(file.string(file.tensor(index).name)) rows"
        case .backward(let op): "\(file.string(file.op(op).name)) kept"
        case .volume: "stored volume"
        case .inputRows: "input rows"
        case .labelSlice: "label slice"
        case .probabilitySlice: "probability slice"
        case .scoreRows: "score rows"
        case .scoreSlab: "score slab"
        }
    }

    // MARK: Map

    var steps: Int { (plan.run.buffers.map(\.last).max() ?? 0) + 1 }

    /// Sixteen rows of addresses, at most 72 columns of steps; a letter per buffer, a dot for free bytes.
    private var map: String {
        let columns = min(72, steps)
        let rows = 16
        let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
        var grid = [[Character]](repeating: [Character](repeating: ".", count: columns), count: rows)
        for (index, buffer) in placed.enumerated() {
            for column in 0..<columns {
                let (from, to) = (
                    column * steps / columns, max(column * steps / columns, (column + 1) * steps / columns - 1)
                )
                guard buffer.first <= to, from <= buffer.last else { continue }
                for row in 0..<rows {
                    let middle = (2 * row + 1) * plan.run.arenaBytes / (2 * rows)
                    guard buffer.offset <= middle, middle < buffer.offset + buffer.bytes else { continue }
                    grid[row][column] = letters[index % letters.count]
                }
            }
        }
        return grid.map { String($0) }.joined(separator: "\n")
    }

    /// The same as a picture: time to the right, addresses downwards, a rectangle per buffer with its name.
    public var svg: String {
        let (width, height, left, top) = (1000.0, 600.0, 90.0, 40.0)
        func x(_ step: Int) -> Double { left + width * Double(step) / Double(steps) }
        func y(_ byte: Int) -> Double { top + height * Double(byte) / Double(max(1, plan.run.arenaBytes)) }
        func number(_ value: Double) -> String { Format.fixed(value, 1) }
        func escaped(_ text: String) -> String {
            text.map { $0 == "<" ? "&lt;" : $0 == "&" ? "&amp;" : String($0) }.joined()
        }
        var lines = [
            """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(number(width + left + 20)) \(number(height + top + 50))" \
            font-family="sans-serif" font-size="11">
            <rect width="100%" height="100%" fill="white"/>
            <text x="\(number(left))" y="20" font-size="14">\(escaped(model.file.string(model.file.record.name))): \(escaped(plan.summary)), \
            arena \(plan.run.arenaBytes) bytes</text>
            """
        ]
        let colours = ["#a6cee3", "#b2df8a", "#fb9a99", "#fdbf6f", "#cab2d6", "#ffff99", "#8dd3c7", "#d9d9d9"]
        for (index, buffer) in placed.enumerated() {
            let box = (x(buffer.first), y(buffer.offset), x(buffer.last + 1), y(buffer.offset + buffer.bytes))
            lines.append(
                """
                <rect x="\(number(box.0))" y="\(number(box.1))" width="\(number(box.2 - box.0))" \
                height="\(number(box.3 - box.1))" fill="\(colours[index % colours.count])" stroke="#555" stroke-width="0.5">\
                <title>\(escaped(name(buffer.use))): \(buffer.bytes) bytes at \(buffer.offset), \(buffer.first) to \(buffer.last)</title></rect>
                """)
            if box.3 - box.1 > 12, box.2 - box.0 > 60 {
                let room = Int((box.2 - box.0) / 6)
                lines.append(
                    "<text x=\"\(number(box.0 + 3))\" y=\"\(number((box.1 + box.3) / 2 + 4))\">"
                        + escaped(String(name(buffer.use).prefix(room))) + "</text>")
            }
        }
        for part in 0...4 {
            let byte = plan.run.arenaBytes * part / 4
            lines.append(
                "<text x=\"\(number(left - 6))\" y=\"\(number(y(byte) + 4))\" text-anchor=\"end\">"
                    + "\(Format.mebibytes(byte))</text>")
        }
        let unit = plan.run.mode == .lines ? "segment" : "op"
        lines.append(
            "<text x=\"\(number(left + width / 2))\" y=\"\(number(top + height + 30))\" text-anchor=\"middle\">"
                + "\(unit) 0 to \(steps - 1)</text>")
        lines.append("</svg>\n")
        return lines.joined(separator: "\n")
    }

    public var json: JSON {
        .object([
            ("plan", .string(plan.summary)), ("mode", .string(plan.run.mode.name)),
            ("planned_bytes", .integer(plan.totalBytes)), ("arena_bytes", .integer(plan.run.arenaBytes)),
            ("lower_bound_bytes", .integer(plan.run.lowerBoundBytes)), ("disk_bytes", .integer(plan.diskBytes)),
            ("recompute_per_mille", .integer(plan.run.recomputePerMille)),
            ("memory_limit_bytes", limit.map { .integer($0) } ?? .null),
            ("seconds", estimate.map { .number($0(plan)) } ?? .null),
            (
                "phases",
                .object(
                    plan.phases.map { phase in
                        (phase.name, JSON.object(phase.items.map { ($0.name, .integer($0.bytes)) }))
                    })
            ),
            (
                "buffers",
                .array(
                    placed.map {
                        .object([
                            ("name", .string(name($0.use))), ("offset", .integer($0.offset)),
                            ("bytes", .integer($0.bytes)), ("first", .integer($0.first)), ("last", .integer($0.last)),
                        ])
                    })
            ),
        ])
    }
}
