import CommandSupport
import FlatGraph
import GraphIR
import Quantize

/// What conversion did to every layer.
struct LayerTable {
    let graph: FloatGraph
    let model: LoweredModel
    let comparison: Comparison

    struct Row {
        var name: String
        /// What the layer writes, in the float graph.
        var value: ValueID
        var kind: String
        var channels: Int
        var low: Float
        var high: Float
        var codedLow: Float
        var codedHigh: Float
        var sqnr: Double
        var weightBytes: Int
        var multiplyAdds: Int
    }

    var rows: [Row] {
        comparison.layers.map { layer in
            let node = graph.nodes[model.nodes[layer.op]]
            let coding = model.codings[node.output]!
            var row = Row(
                name: layer.name, value: node.output, kind: node.op.name, channels: graph.channels[node.output],
                low: layer.floatLow,
                high: layer.floatHigh, codedLow: coding.low, codedHigh: coding.high, sqnr: layer.sqnr, weightBytes: 0,
                multiplyAdds: 0)
            if let conv = convolution(named: layer.name) {
                row.kind =
                    "conv \(conv.kernel.width)³ d\(conv.dilation.width)" + (node.op.name == "relu" ? " relu" : "")
                row.weightBytes = conv.weights.count
                row.multiplyAdds = conv.multiplyAddsPerVoxel
            }
            return row
        }
    }

    private func convolution(named name: String) -> ConvWeights? {
        for node in graph.nodes where node.name == name {
            if case .conv3d(let conv) = node.op { return conv }
        }
        return nil
    }

    func text(_ path: String) -> String {
        var lines = [["layer", "op", "channels", "float range", "coded range", "SQNR dB", "weights", "MAC/voxel"]]
        for row in rows {
            lines.append([
                row.name, row.kind, "\(row.channels)", "\(number(row.low)) … \(number(row.high))",
                "\(number(row.codedLow)) … \(number(row.codedHigh))", Format.fixed(row.sqnr, 1), "\(row.weightBytes)",
                "\(row.multiplyAdds)",
            ])
        }
        let dice = comparison.meanForegroundDice.map { Format.fixed($0, 4) } ?? "-"
        return """
            \(Format.table(lines))
            \(worst)
            on the first calibration volume: integer and float labels agree on \
            \(Format.fixed(comparison.agreement, 6)) of the voxels, mean foreground Dice \(dice)
            \(path): \(model.bytes.count) bytes, \(graph.parameterCount) parameters, integer coverage 100 %
            """
    }

    /// The three layers whose output is noisiest.
    var noisiest: ArraySlice<Row> { rows.sorted { $0.sqnr < $1.sqnr }.prefix(3) }

    private var worst: String {
        "noisiest: " + noisiest.map { "\($0.name) \(Format.fixed($0.sqnr, 1)) dB" }.joined(separator: ", ")
    }

    private func number(_ x: Float) -> String { Format.fixed(Double(x), abs(x) < 10 ? 3 : 1) }

    func json(_ path: String) -> [(String, JSON)] {
        [
            ("model", .string(path)), ("bytes", .integer(model.bytes.count)),
            ("parameters", .integer(graph.parameterCount)), ("agreement", .number(comparison.agreement)),
            ("mean_foreground_dice", comparison.meanForegroundDice.map { .number($0) } ?? .null),
            (
                "layers",
                .array(
                    rows.map { row in
                        .object([
                            ("name", .string(row.name)), ("op", .string(row.kind)),
                            ("channels", .integer(row.channels)),
                            ("float_range", .array([.number(Double(row.low)), .number(Double(row.high))])),
                            ("coded_range", .array([.number(Double(row.codedLow)), .number(Double(row.codedHigh))])),
                            ("sqnr_db", .number(row.sqnr)), ("weight_bytes", .integer(row.weightBytes)),
                            ("multiply_adds_per_voxel", .integer(row.multiplyAdds)),
                        ])
                    })
            ),
        ]
    }
}
