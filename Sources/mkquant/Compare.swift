import ArgumentParser
import CommandSupport
import FlatGraph
import GraphIR
import HostRuntime
import Quantize
import Volume

struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs a checkpoint in float and its model file in integers on a volume, layer by layer.",
        discussion: """
            Example: mkquant compare model.pth --config model.json --model model.mkq head.nii.gz --crop 128

            With --reference, what another program computed takes the place of a volume: a safetensors file with an input \
            [channels, depth, height, width] as the network sees it and the scores [classes, depth, height, width] that came of \
            it. Float scores here, and labels of the model file if there is one, are compared with them: \
            mkquant compare net.onnx --config net.json --reference io.safetensors --max-error 1e-4
            """)

    @OptionGroup var source: NetworkSource
    @Option(help: "Model file made from the checkpoint.") var model: String?
    @Argument(help: "Volume (one NIfTI file per input channel).") var volumes: [String] = []
    @Option(help: "Safetensors file with the tensors input and scores.") var reference: String?
    @Option(help: "Fail with status 10 if a float score differs by more than this share of the largest one.")
    var maxError: Double?
    @Option(help: "Edge of the central cube to use (voxels); 0 takes the whole volume.") var crop = 0
    @Option(help: "Threads that compute (1...64).") var threads = 2
    @Flag(help: "Print JSON.") var json = false
    @Flag(help: "No progress on stderr.") var quiet = false

    func validate() throws {
        guard (reference == nil) != volumes.isEmpty else {
            throw ValidationError("name the volumes of a case, or --reference")
        }
        guard model != nil || reference != nil else { throw ValidationError("--model is missing") }
        guard maxError == nil || reference != nil else { throw ValidationError("--max-error needs --reference") }
    }

    func run() throws {
        let loaded = try source.load()
        if let reference {
            return try ReferenceComparison(
                graph: loaded.graph, reference: reference, model: model, threads: threads
            ).run(json: json, maxError: maxError)
        }
        guard let model else { return }
        let mapped = try MappedModel(path: model)
        let graph = loaded.graph.prepared()
        let nodes = try OpMatch.nodes(of: mapped.file, in: graph, path: model)
        guard volumes.count == graph.inputChannels else {
            throw CommandError(.usage, "\(volumes.count) volumes for a network of \(graph.inputChannels) channels")
        }
        var warnings: [String] = []
        let set = CalibrationSet(source: loaded, crop: crop, windows: nil)
        let patch = try set.tensors(volumes, warnings: &warnings)[0]
        Terminal.warn(warnings)
        let progress = Progress(quiet: quiet)
        let bytes = try SourceFile.read(path: model)
        let comparison: Comparison
        do {
            comparison = try Comparison(
                graph: graph, nodes: nodes, network: try IntegerNetwork(bytes, threads: threads), input: patch,
                report: { progress.update("comparing with float", $0) })
        } catch let error as ModelFileError {
            throw CommandError(.badModel, "\(model): \(error)")
        }
        progress.finish()
        print(json ? jsonText(comparison) : text(comparison))
    }

    private func text(_ comparison: Comparison) -> String {
        var rows = [["layer", "SQNR dB", "largest error", "float range"]]
        for layer in comparison.layers {
            rows.append([
                layer.name, Format.fixed(layer.sqnr, 1), "\(layer.worst)",
                "\(Format.fixed(Double(layer.floatLow), 3)) … \(Format.fixed(Double(layer.floatHigh), 3))",
            ])
        }
        let dice = comparison.meanForegroundDice.map { Format.fixed($0, 4) } ?? "-"
        return Format.table(rows)
            + "\nlabels agree on \(Format.fixed(comparison.agreement, 6)) of the voxels, mean foreground Dice \(dice)"
    }

    private func jsonText(_ comparison: Comparison) -> String {
        JSON.object([
            ("agreement", .number(comparison.agreement)),
            ("mean_foreground_dice", comparison.meanForegroundDice.map { .number($0) } ?? .null),
            (
                "layers",
                .array(
                    comparison.layers.map { layer in
                        .object([
                            ("name", .string(layer.name)), ("sqnr_db", .number(layer.sqnr)),
                            ("largest_error", .number(Double(layer.worst))),
                        ])
                    })
            ),
        ]).text()
    }
}

/// Which float node each op of a file computes, by layer name.
enum OpMatch {
    static func nodes(of file: ModelFile, in graph: FloatGraph, path: String) throws -> [Int] {
        try (0..<file.opCount).map { index in
            let op = file.op(index)
            let name = file.string(op.name)
            guard let node = graph.nodes.firstIndex(where: { $0.name == name }) else {
                // The converter's own: 16 bits of bytes, and bytes of 16 bits.
                guard !name.hasSuffix(".wide"), !name.hasSuffix(".narrow") else { return -1 }
                throw CommandError(.badModel, "\(path): op \(name) is not a layer of this checkpoint")
            }
            guard [.conv3d, .groupNorm, .depthwise].contains(op.kind) else { return node }
            // A fused activation: the op's output stands for the activation's.
            let tensor = file.string(file.tensor(Int(op.output)).name)
            if let target = graph.nodes.firstIndex(where: { $0.name == tensor }) { return target }
            // Bytes that its ReLU clamped, of which another op makes 16 bits.
            return graph.nodes.firstIndex { $0.inputs == [graph.nodes[node].output] } ?? node
        }
    }
}
