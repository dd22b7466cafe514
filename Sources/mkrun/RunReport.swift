import CommandSupport
import FlatGraph
import HostRuntime
import MKRuntime
import Ops
import Volume

/// What a finished run has to say: a summary for the terminal, JSON for provenance, CSV of volumes.
struct RunReport {
    let model: MappedModel
    let headers: [NIfTIHeader]
    let plan: SegmentationPlan
    let result: Segmentation
    let output: String
    let isa: ISA
    let limit: Int?
    let seconds: Double

    private var file: ModelFile { model.file }
    private func millilitres(_ voxels: Int) -> Double { Double(voxels) * headers[0].voxelVolumeMM3 / 1000 }

    var summary: String {
        var rows = [["label", "name", "voxels", "ml"]]
        for (index, voxels) in result.classVoxels.enumerated() where voxels > 0 && rows.count <= 20 {
            let label = file.label(index)
            rows.append([
                "\(label.value)", file.string(label.name), "\(voxels)", Format.fixed(millilitres(voxels), 1),
            ])
        }
        let peak = ProcessMemory.peakResidentBytes
        return """
            \(Format.table(rows))
            \(output): \(Format.fixed(seconds, 2)) s, \(plan.summary)\(plan.run.mode == .windows ? " (\(plan.run.windowCount))" : ""), \
            \(isa.name), \(plan.run.threads) thread(s)
            memory: planned \(Format.mebibytes(plan.totalBytes)), peak resident \(Format.mebibytes(peak))\
            \(limit.map { ", limit \(Format.mebibytes($0))" } ?? "")
            """
    }

    var csv: String {
        var text = "case,label,name,voxels,mm3,ml\n"
        for (index, voxels) in result.classVoxels.enumerated() {
            let label = file.label(index)
            let name = file.string(label.name)
            let cell =
                name.contains(",") || name.contains("\"")
                ? "\"" + name.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
                : name
            text +=
                "\(headers[0].path),\(label.value),\(cell),\(voxels),"
                + "\(Format.fixed(millilitres(voxels) * 1000, 3)),\(Format.fixed(millilitres(voxels), 6))\n"
        }
        return text
    }

    var json: JSON {
        let labels = result.classVoxels.enumerated().map { index, voxels -> JSON in
            let label = file.label(index)
            return .object([
                ("value", .integer(Int(label.value))), ("name", .string(file.string(label.name))),
                ("voxels", .integer(voxels)), ("ml", .number(millilitres(voxels))),
            ])
        }
        let phases = plan.phases.map { phase in
            (phase.name, JSON.object(phase.items.map { ($0.name, .integer($0.bytes)) }))
        }
        return .object([
            ("tool", .string(Version.text)), ("model", .string(model.path)),
            ("model_name", .string(file.string(file.record.name))),
            ("model_crc32c", .string(Format.hex(model.checksum))),
            ("inputs", .array(headers.map { .string($0.path) })), ("output", .string(output)),
            ("orientation", .string(headers[0].axisCodes)), ("spatial_form", .string(headers[0].form.rawValue)),
            ("mode", .string(plan.run.mode.name)), ("storage", .string(plan.storage.rawValue)),
            ("tile", .array([plan.run.tile.depth, plan.run.tile.height, plan.run.tile.width].map { .integer($0) })),
            ("recompute_per_mille", .integer(plan.run.recomputePerMille)), ("disk_bytes", .integer(plan.diskBytes)),
            ("windows", .integer(plan.run.windowCount)), ("threads", .integer(plan.run.threads)),
            ("isa", .string("\(isa.name)")), ("seconds", .number(seconds)),
            ("phase_seconds", .object(result.seconds.map { ($0.phase, .number($0.seconds)) })),
            ("memory_limit_bytes", limit.map { .integer($0) } ?? .null),
            ("planned_bytes", .integer(plan.totalBytes)), ("arena_bytes", .integer(plan.run.arenaBytes)),
            ("peak_resident_bytes", .integer(ProcessMemory.peakResidentBytes)), ("phases", .object(phases)),
            ("warnings", .array(result.warnings.map { .string($0) })), ("labels", .array(labels)),
        ])
    }
}
