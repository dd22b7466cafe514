import CommandSupport
import FlatGraph
import HostRuntime
import MKRuntime
import Volume

/// The plan of a run for people.
enum PlanText {
    static func text(_ plan: SegmentationPlan, _ model: MappedModel, limit: Int?) -> String {
        let run = plan.run
        var lines = [
            "mode        \(plan.summary)\(run.mode == .windows ? " (\(run.windowCount))" : "")",
            "grid        \(run.volume.width) x \(run.volume.height) x \(run.volume.depth) voxels, \(run.threads) thread(s)",
            "computed    \(Format.fixed(Double(run.recomputePerMille) / 1000, 2)) times the network over the volume",
            "arena       \(run.arenaBytes) bytes (lower bound \(run.lowerBoundBytes), gap \(run.arenaBytes - run.lowerBoundBytes))",
            "planned     \(plan.totalBytes) bytes (\(Format.mebibytes(plan.totalBytes)))"
                + (limit.map { ", limit \(Format.mebibytes($0))" } ?? ""),
            "on disk     \(plan.diskBytes) bytes beside the output",
            "",
        ]
        var rows = [["phase", "needs", "bytes"]]
        for phase in plan.phases {
            for item in phase.items { rows.append([phase.name, item.name, "\(item.bytes)"]) }
        }
        lines.append(Format.table(rows))
        lines.append("")
        var buffers = [["arena buffer", "offset", "bytes", "ops"]]
        for buffer in run.buffers.sorted(by: { ($0.offset, $0.first) < ($1.offset, $1.first) }) {
            buffers.append([
                name(buffer.use, model.file), "\(buffer.offset)", "\(buffer.bytes)", "\(buffer.first)...\(buffer.last)",
            ])
        }
        lines.append(Format.table(buffers))
        return lines.joined(separator: "\n")
    }

    private static func name(_ use: PlannedBuffer.Use, _ file: ModelFile) -> String {
        switch use {
        case .tensor(let index): file.string(file.tensor(index).name)
        case .ring(let index, let segment): "\(file.string(file.tensor(index).name)) slices\(segment > 0 ? " (\(segment))" : "")"
        case .scratch(let op): "\(file.string(file.op(op).name)) scratch"
        case .volume: "stored volume"
        case .inputRows: "input rows"
        case .labelSlice: "label slice"
        case .scoreRows: "score rows"
        case .scoreSlab: "score slab"
        }
    }
}
