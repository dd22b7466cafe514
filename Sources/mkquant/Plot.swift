import CommandSupport
import Glibc
import Quantize

/// Plots of the report, as SVG in the page's colours.
enum Plot {
    /// Below this a layer's noise is worth a look: four bits.
    private static let noisy = 25.0

    private static func fixed(_ x: Double) -> String { Format.fixed(x, 1) }

    /// 64 bars over the values that occur, those outside the coded range in red.
    static func histogram(_ histogram: Histogram, coded: ClosedRange<Float>) -> String {
        let bars = 64
        guard histogram.count > 0, histogram.high > histogram.low else { return "" }
        var counts = [Int](repeating: 0, count: bars)
        let step = (histogram.high - histogram.low) / Float(bars)
        for (bin, count) in histogram.bins.enumerated() where count > 0 {
            let value = (Float(bin - histogram.bins.count / 2) + 0.5) * histogram.width
            counts[min(max(Int((value - histogram.low) / step), 0), bars - 1)] += count
        }
        let most = log(Double(counts.max()!) + 1)
        let rects = counts.enumerated().filter { $0.element > 0 }.map { index, count in
            let value = histogram.low + (Float(index) + 0.5) * step
            let height = 26 * log(Double(count) + 1) / most
            return """
                <rect x="\(2 * index)" y="\(fixed(26 - height))" width="2" height="\(fixed(height))" \
                class="\(coded.contains(value) ? "accent" : "bad")"/>
                """
        }
        return "<svg width=\"128\" height=\"26\">\(rects.joined())</svg>"
    }

    /// A number with a bar; red where it is low.
    static func decibels(_ sqnr: Double) -> String {
        let length = sqnr.isFinite ? max(0, min(1, sqnr / 60)) * 90 : 90
        let text = sqnr.isFinite ? Format.fixed(sqnr, 1) : "exact"
        return """
            <span class="value"><svg width="90" height="10"><rect width="\(fixed(length))" height="10" rx="2" \
            class="\(sqnr < noisy ? "bad" : "bar")"/></svg>\(sqnr < noisy ? "<b class=\"bad\">\(text)</b>" : text)</span>
            """
    }

    /// A share with a bar between the least and the largest of its column.
    static func share(_ value: Double, of column: [Double]) -> String {
        let (least, most) = (column.min() ?? 0, column.max() ?? 1)
        // The least still gets a stub, and small differences do not look large.
        let floor = least - max(0.15 * (most - least), 1e-4)
        let length = 90 * (value - floor) / max(most - floor, 1e-9)
        return """
            <span class="value"><svg width="90" height="10"><rect width="\(fixed(length))" height="10" rx="2" class="bar"/></svg>\
            \(Format.fixed(value, column.allSatisfy { $0 > 0.99 } ? 6 : 4))</span>
            """
    }

    /// SQNR along the network: a bar per layer.
    static func noise(_ layers: [(name: String, sqnr: Double)]) -> String {
        let (width, height, left, bottom) = (1100.0, 200.0, 44.0, 40.0)
        let finite = layers.filter(\.sqnr.isFinite)
        guard let most = finite.map(\.sqnr).max(), most > 0 else { return "" }
        let top = (most / 10).rounded(.up) * 10
        func y(_ db: Double) -> Double { 8 + height * (1 - max(0, min(db, top)) / top) }
        var parts: [String] = []
        for db in stride(from: 0, through: top, by: top > 60 ? 20 : 10) {
            parts.append(
                "<line x1=\"\(fixed(left))\" x2=\"\(fixed(left + width))\" y1=\"\(fixed(y(db)))\" y2=\"\(fixed(y(db)))\" class=\"axis\"/>"
                    + "<text x=\"\(fixed(left - 6))\" y=\"\(fixed(y(db) + 4))\" font-size=\"11\" text-anchor=\"end\">\(Int(db)) dB</text>"
            )
        }
        let pitch = width / Double(layers.count)
        let labelled = max(1, Int((26 / pitch).rounded(.up)))
        for (index, layer) in layers.enumerated() {
            let x = left + pitch * Double(index)
            let db = layer.sqnr.isFinite ? layer.sqnr : top
            parts.append(
                """
                <rect x="\(fixed(x + 0.15 * pitch))" y="\(fixed(y(db)))" width="\(fixed(0.7 * pitch))" \
                height="\(fixed(8 + height - y(db)))" rx="2" class="\(db < noisy ? "bad" : "accent")">\
                <title>\(HTML.escaped(layer.name)): \(Format.fixed(layer.sqnr, 1)) dB</title></rect>
                """)
            guard index % labelled == 0 else { continue }
            let name = layer.name.count > 14 ? "…" + layer.name.suffix(13) : layer.name
            parts.append(
                """
                <text x="\(fixed(x + pitch / 2))" y="\(fixed(height + 22))" font-size="10" \
                text-anchor="\(pitch > 60 ? "middle" : "end")" \
                \(pitch > 60 ? "" : "transform=\"rotate(-35 \(fixed(x + pitch / 2)) \(fixed(height + 22)))\"")>\(HTML.escaped(name))</text>
                """)
        }
        let room = pitch > 60 ? bottom : bottom + 30
        return """
            <svg viewBox="0 0 \(fixed(width + left + 10)) \(fixed(height + room))" width="100%" role="img" \
            aria-label="SQNR by layer">\(parts.joined(separator: "\n"))</svg>
            """
    }

    /// Dice over memory: the steps of a precision search.
    static func trade(_ search: PrecisionSearch.Result) -> String {
        let points = search.steps.enumerated().compactMap { index, step in
            step.fidelity.map { (index: index, dice: $0.dice, bytes: Double(step.need.bytes ?? step.need.leastBytes)) }
        }
        guard points.count > 1, let least = points.map(\.bytes).min(), let most = points.map(\.bytes).max(),
            let low = points.map(\.dice).min(), let high = points.map(\.dice).max()
        else { return "" }
        let (width, height) = (560.0, 200.0)
        func x(_ bytes: Double) -> Double { 70 + (width - 110) * (bytes - least) / max(most - least, 1) }
        func y(_ dice: Double) -> Double { 15 + (height - 55) * (1 - (dice - low) / max(high - low, 1e-9)) }
        let line = points.map { "\(fixed(x($0.bytes))),\(fixed(y($0.dice)))" }.joined(separator: " ")
        let dots = points.map { point in
            let added = PrecisionTable.names(search.steps[point.index].layers) ?? "8 bits throughout"
            return """
                <circle cx="\(fixed(x(point.bytes)))" cy="\(fixed(y(point.dice)))" r="\(point.index == search.chosen ? 6 : 3.5)" \
                class="accent"><title>\(HTML.escaped(added)): Dice \(Format.fixed(point.dice, 4)), \
                \(Format.mebibytes(Int(point.bytes)))</title></circle>
                """
        }
        return """
            <svg viewBox="0 0 \(fixed(width)) \(fixed(height))" width="\(fixed(width))" role="img" aria-label="Dice over memory">
            <line x1="70" x2="\(fixed(width - 30))" y1="\(fixed(height - 35))" y2="\(fixed(height - 35))" class="axis"/>
            <polyline points="\(line)" fill="none" class="axis" stroke-width="2"/>\(dots.joined())
            <text x="62" y="\(fixed(y(high) + 4))" font-size="11" text-anchor="end">\(Format.fixed(high, 4))</text>
            <text x="62" y="\(fixed(y(low) + 4))" font-size="11" text-anchor="end">\(Format.fixed(low, 4))</text>
            <text x="70" y="\(fixed(height - 18))" font-size="11">\(Format.mebibytes(Int(least)))</text>
            <text x="\(fixed(width - 30))" y="\(fixed(height - 18))" font-size="11" text-anchor="end">\(Format.mebibytes(Int(most)))</text>
            <text x="\(fixed(width / 2))" y="\(fixed(height - 4))" font-size="11" text-anchor="middle">mean foreground Dice over planned \
            memory; the large dot is taken</text></svg>
            """
    }
}
