import CommandSupport
import FlatGraph
import GraphIR
import Quantize

/// The float network, and a model file if there is one, against scores that another program computed.
struct ReferenceComparison {
    let graph: FloatGraph
    let reference: String
    let model: String?
    let threads: Int

    private func load() throws -> (input: FloatTensor, scores: FloatTensor) {
        let file: Checkpoint
        do throws(ImportError) {
            file = try Checkpoint.read(path: reference)
        } catch {
            throw CommandError(error.kind == .unreadable ? .unreadable : .badModel, error.description)
        }
        func tensor(_ name: String, channels: Int) throws -> FloatTensor {
            guard let found = file[name], found.shape.count == 4, found.shape[0] == channels else {
                throw CommandError(
                    .badModel,
                    "\(reference): tensor \(name) is \(file[name].map { "\($0.shape)" } ?? "missing") (must be "
                        + "[\(channels), depth, height, width])")
            }
            let size = Size3(depth: found.shape[1], height: found.shape[2], width: found.shape[3])
            return FloatTensor(channels: channels, size: size, values: found.values)
        }
        return (try tensor("input", channels: graph.inputChannels), try tensor("scores", channels: graph.classCount))
    }

    func run(json: Bool, maxError: Double?) throws {
        let (input, wanted) = try load()
        let sizes: [Size3]
        do {
            sizes = try graph.sizes(input: input.size)
        } catch {
            throw CommandError(.badModel, "\(reference): input \(input.size): \(error)")
        }
        let last = graph.nodes.count - 2
        guard sizes[graph.nodes[last].output] == wanted.size else {
            throw CommandError(
                .inputsDisagree,
                "\(reference): scores of \(wanted.size), the network makes \(sizes[graph.nodes[last].output])")
        }
        var found = wanted
        let labels = FloatExecutor(graph, threads: threads).run(input) { index, tensor in
            if index == last { found = tensor }
        }
        let peak = wanted.values.reduce(Float(0)) { max($0, abs($1)) }
        let worst = zip(found.values, wanted.values).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
        let share = Double(worst) / Double(max(peak, 1e-30))
        let theirs = wanted.argmax()
        var rows = [("float", Comparison(layers: [], floatLabels: theirs, integerLabels: labels))]
        if let model { rows.append(("integer", try integer(model, input, theirs))) }
        print(json ? jsonText(rows, share) : text(rows, share))
        if let maxError, !(share <= maxError) {
            throw CommandError(
                .fidelity, "\(reference): a score differs by \(share) of the largest (must be \(maxError) or less)")
        }
    }

    private func integer(_ path: String, _ input: FloatTensor, _ theirs: [UInt16]) throws -> Comparison {
        do {
            let network = try IntegerNetwork(try SourceFile.read(path: path), threads: threads)
            return Comparison(layers: [], floatLabels: theirs, integerLabels: try network.run(input))
        } catch let error as ModelFileError {
            throw CommandError(.badModel, "\(path): \(error)")
        }
    }

    private func jsonText(_ rows: [(String, Comparison)], _ share: Double) -> String {
        JSON.object(
            [("largest_error", .number(share))]
                + rows.map { name, comparison in
                    (
                        name,
                        .object([
                            ("agreement", .number(comparison.agreement)),
                            ("mean_foreground_dice", comparison.meanForegroundDice.map { .number($0) } ?? .null),
                        ])
                    )
                }
        ).text()
    }

    private func text(_ rows: [(String, Comparison)], _ share: Double) -> String {
        let lines = rows.map { name, comparison in
            [
                name, Format.fixed(comparison.agreement, 6),
                comparison.meanForegroundDice.map { Format.fixed($0, 4) } ?? "-",
            ]
        }
        return Format.table([["labels here", "agreement", "mean foreground Dice"]] + lines)
            + "\nfloat scores differ by at most \(share) of the largest"
    }
}
