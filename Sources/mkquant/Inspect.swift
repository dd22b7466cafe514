import ArgumentParser
import CommandSupport
import FixedPoint
import FlatGraph
import HostRuntime

struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prints what a model file holds: graph, tensors, quantization, labels, provenance, checksums.")

    @Argument(help: "Model file (.mkq).") var model: String
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        let mapped = try MappedModel(path: model)
        let view = ModelDescription(model: mapped)
        print(json ? view.json.text() : view.text)
    }
}
