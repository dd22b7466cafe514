import ArgumentParser
import CommandSupport

@main struct Entry {
    static func main() { Program.run(MKRun.self) }
}

struct MKRun: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mkrun",
        abstract: "Runs a .mkq network on NIfTI volumes: integer arithmetic, a memory budget that is kept.",
        discussion: """
            Example: mkrun segment brain.mkq head.nii.gz -o mask.nii.gz --memory 256MiB

            \(ExitStatus.help)
            """,
        version: Version.text,
        subcommands: [Segment.self, Bench.self, Info.self, Eval.self, OverlayCommand.self])
}
