import ArgumentParser
import CommandSupport

@main struct Entry {
    static func main() { Program.run(MKQuant.self) }
}

struct MKQuant: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mkquant",
        abstract: "Quantizes a trained network into one flat integer file (.mkq).",
        discussion: """
            Example: mkquant convert model.safetensors --config model.json --calibrate head.nii.gz -o model.mkq

            \(ExitStatus.help)
            """,
        version: Version.text,
        subcommands: [Convert.self, Inspect.self, Compare.self, Plan.self])
}
