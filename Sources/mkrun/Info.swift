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

    func run() throws {
        guard let file else {
            printMachine()
            return
        }
        if file.hasSuffix(".mkq") {
            printModel(try MappedModel(path: file))
        } else {
            printImage(try NIfTIHeader.read(path: file))
        }
    }

    private func printMachine() {
        let sets = ISA.allCases.filter(\.isSupported).map { "\($0.name)" }.joined(separator: " ")
        print(
            """
            \(Version.text)
            instruction sets  \(sets) (MKEDGE_ISA forces one)
            program memory    \(Format.mebibytes(ProcessMemory.peakResidentBytes)) resident, \
            \(Format.mebibytes(SegmentationPlan.processBytes)) planned
            """)
    }

    private func printModel(_ model: MappedModel) {
        let file = model.file
        let record = file.record
        let orientation = String(
            decoding: [record.orientation.0, record.orientation.1, record.orientation.2], as: UTF8.self)
        let channels = (0..<file.count(.channelNames)).map { file.string(file.channelName($0)) }
        print(
            """
            model        \(file.string(record.name)), \(file.opCount) ops, \(file.section(.weights).count) weight bytes
            channels     \(channels.joined(separator: ", "))
            orientation  \(orientation), voxels \(Double(record.spacing.0) / 1000) x \(Double(record.spacing.1) / 1000) \
            x \(Double(record.spacing.2) / 1000) mm
            labels       \(file.classCount)
            """)
        for index in 0..<file.classCount {
            let label = file.label(index)
            print("  \(label.value)\t\(file.string(label.name))\t\(label.red) \(label.green) \(label.blue)")
        }
    }

    private func printImage(_ header: NIfTIHeader) {
        Terminal.warn(header.warnings)
        print(
            """
            image        \(header.dims.x) x \(header.dims.y) x \(header.dims.z), \(header.datatype), \
            \(header.volumeCount) volume(s)
            voxels       \(Float(header.spacing[0])) x \(Float(header.spacing[1])) x \(Float(header.spacing[2])) mm
            orientation  \(header.axisCodes) from the \(header.form.rawValue)
            values       stored * \(Float(header.slope)) + \(Float(header.inter))
            """)
    }
}
