import ArgumentParser
import CommandSupport
import FixedPoint
import FlatGraph
import Glibc
import GraphIR
import HostRuntime

struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prints what a file holds.",
        discussion: """
            Of a model file: graph, tensors, quantization, labels, provenance, checksums. Of a checkpoint: its tensors. Of an \
            ONNX file: its operators, and all nodes that cannot be imported, with the reason.
            """)

    @Argument(help: "Model file (.mkq), or a source: safetensors, a torch zip (.pth), ONNX.") var model: String
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        if isSource {
            do throws(ImportError) {
                let source = SourceDescription(checkpoint: try Checkpoint.read(path: model))
                return print(json ? source.json.text() : source.text)
            } catch {
                throw CommandError(error.kind == .unreadable ? .unreadable : .badModel, error.description)
            }
        }
        let mapped = try MappedModel(path: model)
        let view = ModelDescription(model: mapped)
        print(json ? view.json.text() : view.text)
    }

    /// Whether the file begins as one of the sources does; what cannot be read is left to the reader of models.
    private var isSource: Bool {
        var start = [UInt8](repeating: 0, count: 9)
        let file = unsafe open(model, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { return false }
        defer { close(file) }
        let count = unsafe start.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress!, $0.count) }
        return count == start.count && Checkpoint.container(startingWith: start) != nil
    }
}
