import CommandSupport
import GraphIR
import Quantize
import Volume

/// What a conversion did, as one page of HTML that needs nothing else: plots are SVG, pictures are inside.
struct Report {
    let path: String
    let config: ModelConfig
    let converter: Converter
    let table: LayerTable
    let comparison: Comparison
    let search: PrecisionSearch.Result?
    let input: FloatTensor

    func html() -> String {
        """
        <!DOCTYPE html>
        <html lang="en"><head><meta charset="utf-8"><title>\(Self.escaped(config.name)): conversion</title>
        <style>
        body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222 }
        h2 { margin-top: 2em; font-size: 1.2em } table { border-collapse: collapse; font-size: 13px }
        td, th { padding: 2px 8px; text-align: right; border-bottom: 1px solid #e4e4e4 }
        td:first-child, th:first-child { text-align: left } .low { color: #b3261e; font-weight: 600 }
        p.note { color: #666; font-size: 13px; max-width: 60em } figure { display: inline-block; margin: 0 1em 1em 0 }
        img { image-rendering: pixelated; min-width: 256px } figcaption { font-size: 13px; color: #666 }
        </style></head><body>
        <h1>\(Self.escaped(config.name))</h1>
        \(summary)
        \(layers)
        \(search.map(precision) ?? "")
        \(confusion)
        \(slices)
        </body></html>

        """
    }

    static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;").replacing(
            "\"", with: "&quot;")
    }

    // MARK: Parts

    private var summary: String {
        let dice = comparison.meanForegroundDice.map { Format.fixed($0, 4) } ?? "-"
        let noisiest = table.rows.sorted { $0.sqnr < $1.sqnr }.prefix(3).map {
            "<b>\(Self.escaped($0.name))</b> (\(Format.fixed($0.sqnr, 1)) dB)"
        }
        return """
            <p>\(Self.escaped(path)): \(table.model.bytes.count) bytes, \(table.graph.parameterCount) parameters. On the first
            calibration volume integer and float labels agree on <b>\(Format.fixed(comparison.agreement, 6))</b> of the voxels; mean
            foreground Dice <b>\(dice)</b>. The noisiest layers: \(noisiest.joined(separator: ", ")).</p>
            """
    }

    private var layers: String {
        let most = table.rows.map(\.sqnr).filter(\.isFinite).max() ?? 1
        let rows = table.rows.map { row in
            let length = max(0, min(1, row.sqnr / most)) * 160
            return """
                <tr><td>\(Self.escaped(row.name))</td><td>\(Self.escaped(row.kind))</td><td>\(row.channels)</td>
                <td>\(histogram(row))</td><td>\(number(row.low)) … \(number(row.high))</td>
                <td>\(number(row.codedLow)) … \(number(row.codedHigh))</td>
                <td><svg width="160" height="12"><rect width="\(Format.fixed(length, 1))" height="12" fill="\(row.sqnr < 25 ? "#b3261e" : "#4a7ebb")"/></svg></td>
                <td class="\(row.sqnr < 25 ? "low" : "")">\(Format.fixed(row.sqnr, 1))</td></tr>
                """
        }
        return """
            <h2>Layers</h2>
            <p class="note">SQNR: mean square of a layer's float output over that of the integer network's difference from it, all
            layers before it being integers, too. Histogram: values that calibration saw (counts on a logarithmic scale), blue inside
            the range that codes can tell, red outside.</p>
            <table><tr><th>layer</th><th>op</th><th>channels</th><th>values</th><th>float range</th><th>coded range</th><th></th>
            <th>SQNR dB</th></tr>\(rows.joined(separator: "\n"))</table>
            """
    }

    private func number(_ x: Float) -> String { Format.fixed(Double(x), abs(x) < 10 ? 3 : 1) }

    /// 64 bars over the values that occur.
    private func histogram(_ row: LayerTable.Row) -> String {
        let histogram = converter.histogram(row.value)
        let bars = 64
        guard histogram.count > 0, histogram.high > histogram.low else { return "" }
        var counts = [Int](repeating: 0, count: bars)
        let step = (histogram.high - histogram.low) / Float(bars)
        for (bin, count) in histogram.bins.enumerated() where count > 0 {
            let value = (Float(bin - histogram.bins.count / 2) + 0.5) * histogram.width
            counts[min(max(Int((value - histogram.low) / step), 0), bars - 1)] += count
        }
        let most = Double(counts.max()!)
        let rects = counts.enumerated().compactMap { index, count -> String? in
            guard count > 0 else { return nil }
            let value = histogram.low + (Float(index) + 0.5) * step
            let isInside = value >= row.codedLow && value <= row.codedHigh
            let height = 24 * Self.logarithm(Double(count) + 1) / Self.logarithm(most + 1)
            return """
                <rect x="\(2 * index)" y="\(Format.fixed(24 - height, 1))" width="2" height="\(Format.fixed(height, 1))" fill="\(isInside ? "#4a7ebb" : "#b3261e")"/>
                """
        }
        return "<svg width=\"128\" height=\"24\">\(rects.joined())</svg>"
    }

    /// log2 by halving: enough for the height of a bar.
    private static func logarithm(_ x: Double) -> Double { Double(x.exponent) + x.significand - 1 }

    private func precision(_ search: PrecisionSearch.Result) -> String {
        let costs = search.sensitivities.map {
            "<tr><td>\(Self.escaped($0.layer))</td><td>\(Format.fixed($0.agreement, 6))</td><td>\(Format.fixed($0.dice, 4))</td></tr>"
        }
        let steps = search.steps.enumerated().map { count, step in
            "<tr><td>\(count)</td><td>\(Self.escaped(step.layer ?? "-"))</td><td>\(Format.fixed(step.agreement, 6))</td>"
                + "<td>\(Format.fixed(step.dice, 4))</td><td>\(Format.fixed(100 * step.wideShare, 0)) %</td></tr>"
        }
        return """
            <h2>Precision</h2>
            <p class="note">First what each layer costs when it alone has 8 bits and all others 16, then what 16 bits buy, from the
            dearest layer on. Work: share of the multiply-adds that read 16 bits, at half the speed.</p>
            <table><tr><th>alone in 8 bits</th><th>agreement</th><th>Dice</th></tr>\(costs.joined(separator: "\n"))</table><br>
            <table><tr><th>in 16 bits</th><th>added</th><th>agreement</th><th>Dice</th><th>work</th></tr>\(steps.joined(separator: "\n"))</table>
            """
    }

    private func name(_ label: Int) -> String {
        config.labels.map { label < $0.count ? $0[label].name : "\(label)" } ?? "\(label)"
    }

    /// Float against integer labels: the pairs of different labels that occur most.
    private var confusion: String {
        var pairs: [SIMD2<Int>: Int] = [:]
        for (a, b) in zip(comparison.floatLabels, comparison.integerLabels) where a != b {
            pairs[SIMD2(Int(a), Int(b)), default: 0] += 1
        }
        let total = pairs.values.reduce(0, +)
        guard total > 0 else { return "<h2>Labels</h2><p>No voxel has another label than in float.</p>" }
        let most = pairs.sorted { ($0.value, $1.key.x, $1.key.y) > ($1.value, $0.key.x, $0.key.y) }.prefix(20)
        let rows = most.map { pair, count in
            "<tr><td>\(Self.escaped(name(pair.x)))</td><td>\(Self.escaped(name(pair.y)))</td><td>\(count)</td>"
                + "<td>\(Format.fixed(100 * Double(count) / Double(total), 1)) %</td></tr>"
        }
        return """
            <h2>Labels</h2><p>\(total) of \(comparison.floatLabels.count) voxels have another label; the commonest exchanges:</p>
            <table><tr><th>float</th><th>integer</th><th>voxels</th><th>share</th></tr>\(rows.joined(separator: "\n"))</table>
            """
    }

    // MARK: Pictures

    /// The slices with the most voxels that differ.
    private var slices: String {
        let size = input.size
        let plane = size.height * size.width
        let differing = (0..<size.depth).map { z in
            (z * plane..<(z + 1) * plane).count { comparison.floatLabels[$0] != comparison.integerLabels[$0] }
        }
        let worst = differing.indices.filter { differing[$0] > 0 }.sorted { (differing[$0], $1) > (differing[$1], $0) }
            .prefix(3)
        guard !worst.isEmpty else { return "" }
        let figures = worst.compactMap { z -> String? in
            guard let png = try? picture(z).encoded("report") else { return nil }
            return """
                <figure><img src="data:image/png;base64,\(Self.base64(png))" width="\(2 * size.width)" alt="slice \(z)">
                <figcaption>slice \(z) of the network's first axis: \(differing[z]) voxels differ (red)</figcaption></figure>
                """
        }
        return "<h2>Worst slices</h2>" + figures.joined(separator: "\n")
    }

    private func picture(_ z: Int) -> PNGImage {
        let size = input.size
        var image = PNGImage(width: size.width, height: size.height)
        let plane = z * size.height * size.width
        let values = input.values[plane..<(plane + size.height * size.width)]
        let (low, high) = (values.min() ?? 0, values.max() ?? 1)
        for y in 0..<size.height {
            for x in 0..<size.width {
                let at = plane + y * size.width + x
                let grey = UInt8(min(max((input.values[at] - low) / max(high - low, 1e-9) * 255, 0), 255))
                let isSame = comparison.floatLabels[at] == comparison.integerLabels[at]
                let isForeground = comparison.integerLabels[at] != 0
                // Rows from the top: the second axis of the picture points up.
                image[x, size.height - 1 - y] =
                    isSame
                    ? PNGImage.Colour(grey, grey, isForeground ? max(grey, grey / 2 + 100) : grey)
                    : PNGImage.Colour(230, 40, 30)
            }
        }
        return image
    }

    private static func base64(_ bytes: [UInt8]) -> String {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var word = group.reduce(0) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
            word <<= 8
            for index in 0..<4 {
                text.append(index <= group.count ? digits[Int(word >> 26)] : UInt8(ascii: "="))
                word <<= 6
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
