import ArgumentParser
import CommandSupport
import FlatGraph
import HostRuntime
import Ops
import Volume

struct Info: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Says what a model or an image is, or what this machine and program are.",
        discussion: "Without a file: version, instruction sets, and the resident memory of the bare program.")

    @Argument(help: "A .mkq model or a NIfTI image.") var file: String?
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        guard let file else { return show(machineText, machineFacts) }
        if file.hasSuffix(".mkq") {
            let model = try MappedModel(path: file)
            show(text(model), facts(model))
        } else {
            let header = try NIfTIHeader.read(path: file)
            Terminal.warn(header.warnings)
            show(text(header), facts(header))
        }
    }

    private func show(_ text: String, _ facts: JSON) { print(json ? facts.text() : text) }

    // MARK: Machine

    private var sets: [String] { ISA.allCases.filter(\.isSupported).map { "\($0.name)" } }

    private var machineText: String {
        """
        \(Version.text)
        instruction sets  \(sets.joined(separator: " ")) (MKEDGE_ISA forces one)
        program memory    \(Format.mebibytes(ProcessMemory.peakResidentBytes)) resident, \
        \(Format.mebibytes(SegmentationPlan.processBytes)) planned
        """
    }

    private var machineFacts: JSON {
        .object([
            ("version", .string(Version.number)), ("instruction_sets", .array(sets.map { .string($0) })),
            ("resident_bytes", .integer(ProcessMemory.peakResidentBytes)),
            ("planned_bytes", .integer(SegmentationPlan.processBytes)),
        ])
    }

    // MARK: Model

    private func channels(_ model: MappedModel) -> [String] {
        (0..<model.file.count(.channelNames)).map { model.file.string(model.file.channelName($0)) }
    }

    private func orientation(_ record: ModelRecord) -> String {
        String(decoding: [record.orientation.0, record.orientation.1, record.orientation.2], as: UTF8.self)
    }

    private func spacing(_ record: ModelRecord) -> [Double] {
        [record.spacing.0, record.spacing.1, record.spacing.2].map { Double($0) / 1000 }
    }

    private func text(_ model: MappedModel) -> String {
        let file = model.file
        let record = file.record
        let labels = (0..<file.classCount).map { index in
            let label = file.label(index)
            return "  \(label.value)\t\(file.string(label.name))\t\(label.red) \(label.green) \(label.blue)"
        }
        return """
            model        \(file.string(record.name)), \(file.opCount) ops, \(file.section(.weights).count) weight bytes
            channels     \(channels(model).joined(separator: ", "))
            orientation  \(orientation(record)), voxels \(spacing(record).map { "\($0)" }.joined(separator: " x ")) mm
            labels       \(file.classCount)
            \(labels.joined(separator: "\n"))
            """
    }

    private func facts(_ model: MappedModel) -> JSON {
        let file = model.file
        return .object([
            ("model", .string(file.string(file.record.name))), ("ops", .integer(file.opCount)),
            ("weight_bytes", .integer(file.section(.weights).count)),
            ("channels", .array(channels(model).map { .string($0) })),
            ("orientation", .string(orientation(file.record))),
            ("spacing_mm", .array(spacing(file.record).map { .number($0) })),
            (
                "labels",
                .array(
                    (0..<file.classCount).map { index in
                        let label = file.label(index)
                        return .object([
                            ("value", .integer(Int(label.value))), ("name", .string(file.string(label.name))),
                            ("rgb", .array([label.red, label.green, label.blue].map { .integer(Int($0)) })),
                        ])
                    })
            ),
        ])
    }

    // MARK: Image

    private func text(_ header: NIfTIHeader) -> String {
        """
        image        \(header.dims.x) x \(header.dims.y) x \(header.dims.z), \(header.datatype), \
        \(header.volumeCount) volume(s)
        voxels       \(Float(header.spacing[0])) x \(Float(header.spacing[1])) x \(Float(header.spacing[2])) mm
        orientation  \(header.axisCodes) from the \(header.form.rawValue)
        values       stored * \(Float(header.slope)) + \(Float(header.inter))
        """
    }

    private func facts(_ header: NIfTIHeader) -> JSON {
        .object([
            ("image", .array([header.dims.x, header.dims.y, header.dims.z].map { .integer($0) })),
            ("datatype", .string("\(header.datatype)")), ("volumes", .integer(header.volumeCount)),
            ("spacing_mm", .array((0..<3).map { .number(header.spacing[$0]) })),
            ("orientation", .string(header.axisCodes)), ("orientation_from", .string(header.form.rawValue)),
            ("slope", .number(header.slope)), ("intercept", .number(header.inter)),
        ])
    }
}
