import CommandSupport
import GraphIR
import Quantize

/// Float against integer labels: how alike each label is, and which are taken for which.
struct LabelConfusion {
    struct Label {
        var name: String
        var float: Int
        var integer: Int
        var both: Int

        /// nil where neither network has it.
        var dice: Double? { float + integer > 0 ? 2 * Double(both) / Double(float + integer) : nil }
    }

    struct Exchange {
        var float: String
        var integer: String
        var voxels: Int
    }

    let labels: [Label]
    /// Pairs of different labels, the commonest first.
    let exchanges: [Exchange]
    let differing: Int

    init(_ comparison: Comparison, _ config: ModelConfig) {
        func name(_ label: Int) -> String {
            config.labels.flatMap { label < $0.count ? $0[label].name : nil }
                ?? (label == 0 ? "background" : "label \(label)")
        }
        let classes = Int(max(comparison.floatLabels.max() ?? 0, comparison.integerLabels.max() ?? 0)) + 1
        var counts = [Int](repeating: 0, count: classes * classes)
        for (a, b) in zip(comparison.floatLabels, comparison.integerLabels) { counts[Int(a) * classes + Int(b)] += 1 }
        labels = (0..<classes).map { label in
            Label(
                name: name(label), float: (0..<classes).reduce(0) { $0 + counts[label * classes + $1] },
                integer: (0..<classes).reduce(0) { $0 + counts[$1 * classes + label] },
                both: counts[label * classes + label])
        }
        let pairs = counts.indices.filter { $0 / classes != $0 % classes && counts[$0] > 0 }
        exchanges = pairs.sorted { (counts[$0], $1) > (counts[$1], $0) }.map {
            Exchange(float: name($0 / classes), integer: name($0 % classes), voxels: counts[$0])
        }
        differing = exchanges.reduce(0) { $0 + $1.voxels }
    }

    var json: JSON {
        .object([
            ("differing_voxels", .integer(differing)),
            (
                "dice",
                .array(
                    labels.map {
                        .object([
                            ("name", .string($0.name)), ("float_voxels", .integer($0.float)),
                            ("integer_voxels", .integer($0.integer)), ("dice", $0.dice.map { .number($0) } ?? .null),
                        ])
                    })
            ),
            (
                "exchanges",
                .array(
                    exchanges.prefix(100).map {
                        .object([
                            ("float", .string($0.float)), ("integer", .string($0.integer)),
                            ("voxels", .integer($0.voxels)),
                        ])
                    })
            ),
        ])
    }
}
