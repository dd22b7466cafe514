import CommandSupport
import GraphIR
import HostRuntime
import Quantize
import Volume

/// A finished conversion and everything that was learned on the way.
struct ConversionResult {
    /// Of the model file.
    let path: String
    let config: ModelConfig
    let converter: Converter
    let model: LoweredModel
    let comparison: Comparison
    /// What was tried, in tables.
    let trials: [(title: String, trials: [Trial])]
    let search: PrecisionSearch.Result?
    /// What `comparison` is about.
    let input: FloatTensor
    /// Of the volume for which memory is planned.
    let headers: [NIfTIHeader]

    var layers: LayerTable { LayerTable(graph: converter.graph, model: model, comparison: comparison) }

    var text: String {
        var parts = trials.map { Trial.table($0.trials, of: $0.title) }
        if let search { parts.append(PrecisionTable(search).text) }
        parts.append(layers.text(path) + (memory.map { "\n" + $0 } ?? ""))
        return parts.joined(separator: "\n\n")
    }

    /// What a run needs on the volume, of all plans.
    var plans: (model: MappedModel, fastest: SegmentationPlan, smallest: SegmentationPlan)? {
        guard let mapped = try? MappedModel(path: path, bytes: model.bytes) else { return nil }
        let plans = PlanSearch(model: mapped, headers: headers, threads: 1).table()
        guard let fastest = plans.map(\.fastest).min(by: { $0.cost < $1.cost }),
            let smallest = plans.map(\.smallest).min(by: { $0.totalBytes < $1.totalBytes })
        else { return nil }
        return (mapped, fastest, smallest)
    }

    private var memory: String? {
        plans.map { plans in
            """
            on \(headers[0].dims.text) voxels: \(Format.mebibytes(plans.fastest.totalBytes)) (\(plans.fastest.summary)), at the \
            least \(Format.mebibytes(plans.smallest.totalBytes)) (\(plans.smallest.summary)); mkquant plan tells more
            """
        }
    }

    var json: JSON {
        var fields = layers.json(path)
        fields.append(("methods", .array(converter.options.methods.names.map { .string($0) })))
        fields.append(("ranges", .string(converter.options.rule.name)))
        for (title, trials) in trials { fields.append(("tried_\(title)", .array(trials.map(\.json)))) }
        if let search { fields.append(("precision", PrecisionTable(search).json)) }
        let confusion = LabelConfusion(comparison, config)
        fields.append(("labels", confusion.json))
        if let plans {
            fields.append(
                (
                    "memory",
                    .object([
                        (
                            "volume",
                            .array([headers[0].dims.x, headers[0].dims.y, headers[0].dims.z].map { .integer($0) })
                        ),
                        ("fastest", PlanText(plans.fastest, plans.model, limit: nil).json),
                        ("smallest_bytes", .integer(plans.smallest.totalBytes)),
                        ("smallest_plan", .string(plans.smallest.summary)),
                    ])
                ))
        }
        return .object(fields)
    }
}
