import CommandSupport
import GraphIR
import Quantize

/// What a conversion did, as one page of HTML that needs nothing else: plots are SVG, pictures are inside, no scripts.
struct Report {
    private let result: ConversionResult
    private let table: LayerTable
    private let confusion: LabelConfusion
    private var comparison: Comparison { result.comparison }

    init(_ result: ConversionResult) {
        self.result = result
        table = result.layers
        confusion = LabelConfusion(result.comparison, result.config)
    }

    func html() -> String {
        """
        <!DOCTYPE html>
        <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
        <title>\(HTML.escaped(result.config.name)): conversion</title>
        <style>\(HTML.style)</style></head><body><main>
        \(summary)
        \(layers)
        \(trials)
        \(result.search.map(precision) ?? "")
        \(labels)
        \(slices)
        \(memory)
        </main></body></html>

        """
    }

    // MARK: Summary

    private var summary: String {
        let worst = confusion.labels.dropFirst().filter { $0.dice != nil }.min { $0.dice! < $1.dice! }
        let noisiest = table.noisiest.map {
            "<b>\(HTML.escaped($0.name))</b> (\(Format.fixed($0.sqnr, 1)) dB)"
        }
        var tiles = [
            HTML.tile(
                Format.fixed(100 * comparison.agreement, 3) + " %", "of the voxels have the same label as in float"),
            HTML.tile(
                comparison.meanForegroundDice.map { Format.fixed($0, 4) } ?? "–", "mean foreground Dice to float"),
        ]
        if let worst {
            tiles.append(HTML.tile(Format.fixed(worst.dice!, 4), "lowest Dice: \(HTML.escaped(worst.name))"))
        }
        tiles.append(
            HTML.tile(HTML.kilobytes(result.model.bytes.count), "model file, \(table.graph.parameterCount) parameters"))
        if let plans = result.plans {
            tiles.append(
                HTML.tile(
                    Format.mebibytes(plans.fastest.totalBytes), "memory on \(result.headers[0].dims.text) voxels"))
        }
        return """
            <header><h1>\(HTML.escaped(result.config.name))</h1><p>\(HTML.escaped(result.path))</p></header>
            <div class="tiles">\(tiles.joined())</div>
            <p>The noisiest layers: \(noisiest.joined(separator: ", ")). Ranges by \(result.converter.options.rule.name); methods:
            \(result.converter.options.methods.names.joined(separator: ", ")). All comparisons are with the float network, on the
            first calibration window of \(result.input.size.width) × \(result.input.size.height) × \(result.input.size.depth) voxels.</p>
            """
    }

    // MARK: Layers

    private var layers: String {
        let rows = table.rows.map { row in
            [
                HTML.escaped(row.name), HTML.escaped(row.kind), "\(row.channels)",
                Plot.histogram(
                    result.converter.histogram(row.value), coded: row.codedLow...max(row.codedLow, row.codedHigh)),
                "\(number(row.low)) … \(number(row.high))", "\(number(row.codedLow)) … \(number(row.codedHigh))",
                "\(row.weightBytes)", Plot.decibels(row.sqnr),
            ]
        }
        return """
            <section><h2>Layers</h2>
            \(Plot.noise(table.rows.map { ($0.name, $0.sqnr) }))
            <p class="note">SQNR: mean square of a layer's float output over that of the integer network's difference from it, all
            layers before it being integers, too. Six dB are one bit.</p>
            \(HTML.table(["layer", "op", "channels", "values", "float range", "coded range", "weights", "SQNR dB"], rows))
            <p class="note">Values: what calibration saw, counts on a logarithmic scale; in the accent colour what lies inside the range that
            codes can tell (of the widest channel), in red what is cut off.</p></section>
            """
    }

    private func number(_ x: Float) -> String { Format.fixed(Double(x), abs(x) < 10 ? 3 : 1) }

    // MARK: What was tried

    private var trials: String {
        result.trials.map { title, trials in
            let rows = trials.map {
                [
                    HTML.escaped($0.name), Plot.share($0.agreement, of: trials.map(\.agreement)),
                    $0.dice.map { Plot.share($0, of: trials.compactMap(\.dice)) } ?? "–", Format.fixed($0.meanSQNR, 1),
                ]
            }
            return """
                <section><h2>What was tried: \(title)</h2>
                \(HTML.table([title, "agreement", "mean foreground Dice", "mean SQNR dB"], rows))</section>
                """
        }.joined(separator: "\n")
    }

    private func precision(_ search: PrecisionSearch.Result) -> String {
        let table = PrecisionTable(search)
        return """
            <section><h2>Precision</h2>
            <p class="note">What each layer costs when it alone has 8 bits and all others 16.</p>
            \(HTML.table(PrecisionTable.costColumns, table.costs.map { $0.map(HTML.escaped) }))
            <p class="note">What 16 bits buy, from the dearest layer on, and what they need. Work: share of the multiply-adds that read
            16 bits. Time: an estimate, 1 for the fastest plan with 8 bits throughout.</p>
            \(HTML.table(PrecisionTable.stepColumns, table.steps.map { $0.map(HTML.escaped) }, marked: search.chosen))
            \(Plot.trade(search))</section>
            """
    }

    // MARK: Labels

    private var labels: String {
        let foreground = confusion.labels.dropFirst().filter { $0.dice != nil }
        let worst = foreground.sorted { $0.dice! < $1.dice! }.prefix(20)
        let rows = worst.map {
            [HTML.escaped($0.name), "\($0.float)", "\($0.integer)", Plot.share($0.dice!, of: worst.map { $0.dice! })]
        }
        let title = foreground.count > 20 ? "The twenty labels with the lowest Dice of \(foreground.count)." : ""
        return """
            <section><h2>Labels</h2><p>\(confusion.differing) of \(comparison.floatLabels.count) voxels have another label than in
            float. \(title)</p>
            \(HTML.table(["label", "voxels, float", "voxels, integer", "Dice"], rows))
            \(exchanges)</section>
            """
    }

    private var exchanges: String {
        guard confusion.differing > 0 else { return "" }
        let rows = confusion.exchanges.prefix(20).map {
            [
                HTML.escaped($0.float), HTML.escaped($0.integer), "\($0.voxels)",
                Format.fixed(100 * Double($0.voxels) / Double(confusion.differing), 1) + " %",
            ]
        }
        return """
            <h3>Confusion</h3><p class="note">The commonest exchanges.</p>
            \(HTML.table(["in float", "in integers", "voxels", "share"], rows, textColumns: 2))
            """
    }

    // MARK: Pictures

    /// The slices with the most voxels that differ.
    private var slices: String {
        let pictures = SlicePictures(result.input, comparison, result.config)
        let figures = pictures.worst(3).map { slice in
            let panels = [("float", slice.float), ("integer", slice.integer), ("difference", slice.difference)].map {
                "<figure><img src=\"data:image/png;base64,\($0.1)\" alt=\"\($0.0)\"><figcaption>\($0.0)</figcaption></figure>"
            }
            return """
                <h3>Slice \(slice.index): \(slice.differing) voxels differ</h3><div class="slices">\(panels.joined())</div>
                """
        }
        guard !figures.isEmpty else { return "" }
        return """
            <section><h2>Worst slices</h2><p class="note">Along the network's slowest axis (orientation
            \(HTML.escaped(result.config.orientation))), as a radiologist sees it: the patient's left on the right. Labels in colour over the
            network's input; in the last picture red where the two differ.</p>\(figures.joined(separator: "\n"))</section>
            """
    }

    // MARK: Memory

    private var memory: String {
        guard let plans = result.plans else { return "" }
        let text = PlanText(plans.fastest, plans.model, limit: nil)
        // Inside a page a picture needs no namespace.
        let map = text.svg.replacing(" xmlns=\"http://www.w3.org/2000/svg\"", with: "")
        let rows = plans.fastest.phases.flatMap { phase in
            phase.items.map { [HTML.escaped(phase.name), HTML.escaped($0.name), Format.mebibytes($0.bytes)] }
        }
        return """
            <section><h2>Memory</h2><p>On \(result.headers[0].dims.text) voxels the fastest plan (\(plans.fastest.summary)) needs
            \(Format.mebibytes(plans.fastest.totalBytes)) for the whole process, the smallest (\(plans.smallest.summary))
            \(Format.mebibytes(plans.smallest.totalBytes)).</p>
            <div class="map">\(map)</div>
            \(HTML.table(["phase", "needs", "memory"], rows, textColumns: 2))</section>
            """
    }
}
