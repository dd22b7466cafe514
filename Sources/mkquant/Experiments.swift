import CommandSupport
import GraphIR
import Quantize

/// Conversions that are made to choose between options: each is run and compared with the float labels of the first calibration volume.
struct Experiments {
    let loaded: NetworkSource.Loaded
    var converter: Converter
    let samples: [FloatTensor]
    let progress: Progress
    private let floatLabels: [UInt16]

    init(loaded: NetworkSource.Loaded, converter: Converter, samples: [FloatTensor], progress: Progress) {
        self.loaded = loaded
        self.converter = converter
        self.samples = samples
        self.progress = progress
        floatLabels = converter.floatLabels(samples[0])
    }

    /// - Parameter isWhole: with bias correction, where the options ask for it.
    private func labels(_ converter: Converter, wide: WideLayers? = nil, isWhole: Bool = true) throws -> Comparison {
        let metadata = try Metadata.builder(
            config: loaded.config, classes: loaded.graph.classCount, inputChannels: loaded.graph.inputChannels,
            provenance: [])
        let model = try converter.convert(
            inputCoding: .input(loaded.config.normalization), metadata: metadata, samples: isWhole ? samples : [],
            wide: wide)
        let found = try IntegerNetwork(model.bytes, threads: converter.options.threads).run(samples[0])
        return Comparison(layers: [], floatLabels: floatLabels, integerLabels: found)
    }

    /// All rules for the ranges, the best first.
    func ranges() throws -> [RangeTrial] {
        var trial = converter
        var result: [RangeTrial] = []
        for (index, rule) in RangeRule.usual.enumerated() {
            progress.update("trying ranges by \(rule.name)", Double(index) / Double(RangeRule.usual.count))
            trial.options.rule = rule
            result.append(RangeTrial(rule: rule, comparison: try labels(trial)))
        }
        return result.sorted { $0.comparison.agreement > $1.comparison.agreement }
    }

    /// Layers in 16 bits that keep the labels; a warning where all of them do not.
    func precision(maxDiceDrop: Double, name: String) throws -> PrecisionSearch.Result {
        let search = PrecisionSearch(graph: converter.graph) { wide, isWhole in
            let comparison = try labels(converter, wide: wide, isWhole: isWhole)
            return (comparison.agreement, comparison.meanForegroundDice ?? 1)
        }
        let result = try search.run(maxDiceDrop: maxDiceDrop) {
            progress.update("searching layers that need 16 bits", $0)
        }
        guard !result.isReached else { return result }
        progress.finish()
        let last = result.steps[result.steps.count - 1]
        Terminal.warn([
            "\(name): with all \(result.steps.count - 1) layers in 16 bits the mean foreground Dice is "
                + "\(Format.fixed(last.dice, 4)) (asked: \(1 - maxDiceDrop) or more)"
        ])
        return result
    }
}

/// A conversion by one rule for the ranges.
struct RangeTrial {
    var rule: RangeRule
    var comparison: Comparison

    static func table(_ trials: [RangeTrial]) -> String {
        let rows = trials.map { trial in
            [
                trial.rule.name, Format.fixed(trial.comparison.agreement, 6),
                trial.comparison.meanForegroundDice.map { Format.fixed($0, 4) } ?? "-",
            ]
        }
        return Format.table([["ranges", "agreement", "mean foreground Dice"]] + rows)
    }
}
