import CommandSupport
import GraphIR
import HostRuntime
import Quantize
import Volume

/// Conversions that are made to choose between options: each is run and compared with the float labels of the first calibration
/// volume.
struct Experiments {
    let loaded: NetworkSource.Loaded
    var converter: Converter
    let reference: FloatReference
    let progress: Progress
    /// Of the volume for which memory is planned.
    let headers: [NIfTIHeader]

    /// - Parameter isWhole: with everything that the options ask for; else only ranges and rounding, to rank layers.
    private func model(_ converter: Converter, wide: WideLayers? = nil, isWhole: Bool = true) throws -> LoweredModel {
        let metadata = try Metadata.builder(
            config: loaded.config, classes: loaded.graph.classCount, inputChannels: loaded.graph.inputChannels,
            provenance: [])
        return try converter.convert(
            inputCoding: .input(loaded.config.normalization), metadata: metadata, reference: isWhole ? reference : nil,
            wide: wide)
    }

    private func trial(_ name: String, _ converter: Converter) throws -> Trial {
        let found = try reference.compare(try model(converter), threads: converter.options.threads)
        return Trial(name: name, fidelity: found.labels, meanSQNR: found.meanSQNR)
    }

    /// All rules for the ranges, the best first.
    func ranges() throws -> [(rule: RangeRule, trial: Trial)] {
        var trial = converter
        var result: [(rule: RangeRule, trial: Trial)] = []
        for (index, rule) in RangeRule.usual.enumerated() {
            progress.update("trying ranges by \(rule.name)", Double(index) / Double(RangeRule.usual.count))
            trial.options.rule = rule
            result.append((rule, try self.trial(rule.name, trial)))
        }
        return result.enumerated().sorted {
            ($1.element.trial.agreement, $0.offset) < ($0.element.trial.agreement, $1.offset)
        }.map(\.element)
    }

    /// What the methods that the options ask for bring: none, each of them alone, all, and all but each.
    func methods() throws -> [Trial] {
        let all = converter.options.methods
        let single = Methods.all.filter { all.contains($0.method) }
        let sets: [(String, Methods)] =
            [("none", [])] + single.map { ("only \($0.name)", $0.method) } + [("all", all)]
            + (single.count > 2 ? single.map { ("all but \($0.name)", all.subtracting($0.method)) } : [])
        var trial = converter
        return try sets.enumerated().map { index, set in
            progress.update("trying methods: \(set.0)", Double(index) / Double(sets.count))
            trial.options.methods = set.1
            return try self.trial(set.0, trial)
        }
    }

    // MARK: Precision

    /// Layers in 16 bits that keep the labels and fit into memory.
    /// - Throws: status 7 when even 8 bits need more memory; status 10 when both were asked for and cannot be had together.
    func precision(_ target: PrecisionSearch.Target, name: String) throws -> PrecisionSearch.Result {
        let fastest = try need(.none, wideShare: 0, limit: nil, unit: 1).time ?? 1
        let search = PrecisionSearch(graph: converter.graph) { wide, isWhole in
            let model = try model(converter, wide: wide, isWhole: isWhole)
            let labels = try IntegerNetwork(model.bytes, threads: converter.options.threads).run(reference.inputs[0])
            let found = Comparison(layers: [], floatLabels: reference.labels, integerLabels: labels)
            return (found.agreement, found.meanForegroundDice ?? 1)
        } need: { wide, share in
            try need(wide, wideShare: share, limit: target.memory, unit: fastest)
        }
        if let limit = target.memory {
            let least = try need(.none, wideShare: 0, limit: limit, unit: fastest)
            guard least.bytes != nil else {
                throw CommandError(
                    .overBudget,
                    "\(name): --memory \(Format.mebibytes(limit)) (with 8 bits throughout it needs "
                        + "\(Format.mebibytes(least.leastBytes)): \(least.plan))")
            }
        }
        let result = try search.run(target) { progress.update("searching layers that need 16 bits", $0) }
        guard !result.isReached else { return result }
        progress.finish()
        let best = result.steps[result.chosen]
        let found =
            "\(name): with \(result.wide.count) layers in 16 bits the mean foreground Dice is "
            + "\(Format.fixed(best.fidelity!.dice, 4)) (asked: \(1 - target.maxDiceDrop!) or more)"
        guard let limit = target.memory else {
            Terminal.warn([found])
            return result
        }
        throw CommandError(
            .fidelity, "\(found), and no more fit into --memory \(Format.mebibytes(limit)); nothing written")
    }

    /// - Parameter unit: what a plan costs that takes one unit of time.
    private func need(
        _ wide: WideLayers, wideShare: Double, limit: Int?, unit: Double
    ) throws -> PrecisionSearch.Need {
        let bytes = try model(converter, wide: wide, isWhole: false).bytes
        let mapped = try MappedModel(path: loaded.config.name, bytes: bytes)
        let plans = PlanSearch(model: mapped, headers: headers, threads: converter.options.threads)
        guard let smallest = plans.table().map(\.smallest).min(by: { $0.totalBytes < $1.totalBytes }) else {
            throw CommandError(.badModel, "\(loaded.config.name): cannot run on \(headers[0].dims.text) voxels")
        }
        // Layers that read 16 bits take twice as long.
        let chosen = smallest.totalBytes <= limit ?? .max ? try plans.choose(.auto, limit: limit) : nil
        return PrecisionSearch.Need(
            leastBytes: smallest.totalBytes, bytes: chosen?.totalBytes,
            time: chosen.map { Double($0.cost) * (1 + wideShare) / unit }, plan: (chosen ?? smallest).summary)
    }
}

extension WideLayers {
    var count: Int {
        if case .layers(let names) = self { names.count } else { 0 }
    }
}

extension GridSize {
    var text: String { "\(x) x \(y) x \(z)" }
}

/// What one conversion is worth.
struct Trial {
    var name: String
    var agreement: Double
    var dice: Double?
    /// Mean over the layers, in dB, at some voxels.
    var meanSQNR: Double

    init(name: String, fidelity: Comparison, meanSQNR: Double) {
        (self.name, self.meanSQNR) = (name, meanSQNR)
        (agreement, dice) = (fidelity.agreement, fidelity.meanForegroundDice)
    }

    static func table(_ trials: [Trial], of what: String) -> String {
        let rows = trials.map { trial in
            [
                trial.name, Format.fixed(trial.agreement, 6), trial.dice.map { Format.fixed($0, 4) } ?? "-",
                Format.fixed(trial.meanSQNR, 1),
            ]
        }
        return Format.table([[what, "agreement", "mean foreground Dice", "mean SQNR dB"]] + rows)
    }

    var json: JSON {
        .object([
            ("name", .string(name)), ("agreement", .number(agreement)),
            ("mean_foreground_dice", dice.map { .number($0) } ?? .null), ("mean_sqnr_db", .number(meanSQNR)),
        ])
    }
}
