import ArgumentParser
import CommandSupport
import HostRuntime
import Volume

struct OverlayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "overlay",
        abstract: "Draws three planes of an image with labels in colour, as PNG.",
        discussion: "Radiological display: the patient's left is on the right; letters in the picture say so.")

    @Argument(help: "Image (NIfTI).") var image: String
    @Argument(help: "Labels on the same grid (NIfTI).") var labels: String
    @Option(name: [.short, .long], help: "PNG file to write.") var output: String
    @Option(help: "Take the colours of this model's labels.") var model: String?
    @Flag(help: "Replace an existing output.") var overwrite = false

    func run() throws {
        let volume = try VoxelVolume.read(path: image)
        let map = try VoxelVolume.read(path: labels)
        Terminal.warn(volume.header.warnings + map.header.warnings)
        Terminal.warn(try GridCheck.check([volume.header, map.header]))
        try Overlay.writeOverlay(
            image: volume, labels: try map.labels(), colours: try colours(), to: output, overwrite: overwrite)
    }

    /// By label value; values that the model does not name stay black.
    private func colours() throws -> [SIMD3<UInt8>] {
        guard let model else { return [] }
        let file = try MappedModel(path: model).file
        let most = Int(file.labelValues.max() ?? 0)
        var result = [SIMD3<UInt8>](repeating: SIMD3(0, 0, 0), count: most + 1)
        for index in 0..<file.classCount {
            let label = file.label(index)
            result[Int(label.value)] = SIMD3(label.red, label.green, label.blue)
        }
        return result
    }
}
