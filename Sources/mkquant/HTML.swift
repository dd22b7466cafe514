import CommandSupport

/// Pieces of the report's page.
enum HTML {
    static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;").replacing(
            "\"", with: "&quot;")
    }

    /// - Parameters:
    ///   - rows: cells as HTML.
    ///   - textColumns: so many columns from the left hold text.
    ///   - marked: the row that stands out.
    static func table(
        _ columns: [String], _ rows: some Sequence<[String]>, textColumns: Int = 1, marked: Int? = nil
    ) -> String {
        func cells(_ row: [String], _ tag: String) -> String {
            row.enumerated().map { "<\(tag)\($0 < textColumns ? " class=\"text\"" : "")>\($1)</\(tag)>" }.joined()
        }
        let body = rows.enumerated().map { "<tr\($0 == marked ? " class=\"marked\"" : "")>\(cells($1, "td"))</tr>" }
        return """
            <div class="wide"><table><thead><tr>\(cells(columns.map(escaped), "th"))</tr></thead>
            <tbody>\(body.joined(separator: "\n"))</tbody></table></div>
            """
    }

    static func tile(_ value: String, _ caption: String) -> String {
        "<div class=\"tile\"><b>\(value)</b><span>\(caption)</span></div>"
    }

    static func kilobytes(_ bytes: Int) -> String {
        bytes < 1 << 20 ? Format.fixed(Double(bytes) / 1024, 1) + " KiB" : Format.mebibytes(bytes)
    }

    static let style = """
        :root { color-scheme: light dark; --back: #fbfbfa; --card: #fff; --text: #1f2328; --faint: #667; --line: #e3e4e8;
          --accent: #2f6fb2; --bar: #cfe0f2; --bad: #c0392b; --mark: #eef5fc }
        @media (prefers-color-scheme: dark) { :root { --back: #14171b; --card: #1c2026; --text: #e4e7eb; --faint: #98a1ad;
          --line: #30363d; --accent: #6aa9e9; --bar: #24405c; --bad: #ef7a6d; --mark: #1f2d3b } }
        * { box-sizing: border-box }
        body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.55 system-ui, sans-serif }
        main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.25rem 4rem }
        header h1 { margin: 0; font-size: 1.7rem } header p { margin: 0; color: var(--faint) }
        section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.25rem;
          margin-top: 1.25rem }
        h2 { margin: 0 0 .5rem; font-size: 1.15rem } h3 { margin: 1.2rem 0 .3rem; font-size: 1rem }
        .note { color: var(--faint); font-size: .85rem; max-width: 60rem }
        .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin-top: 1.25rem }
        .tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .75rem 1rem }
        .tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums }
        .tile span { color: var(--faint); font-size: .82rem }
        .wide { overflow-x: auto }
        table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
        td, th { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
        th { color: var(--faint); font-weight: 600 } .text { text-align: left } .marked td { background: var(--mark) }
        svg { display: block } svg text { fill: var(--faint); font-family: inherit }
        .accent { fill: var(--accent) } .bar { fill: var(--bar) } .bad { fill: var(--bad) } .axis { stroke: var(--line) }
        .value { display: inline-flex; gap: .5rem; align-items: center } .value .bad, b.bad { color: var(--bad) }
        .slices { display: grid; grid-template-columns: repeat(3, 1fr); gap: .75rem } figure { margin: 0 }
        img { width: 100%; image-rendering: pixelated; border-radius: 6px; background: #000; display: block }
        figcaption { color: var(--faint); font-size: .85rem; text-align: center }
        .map { border-radius: 6px; overflow: hidden; margin: .5rem 0 1rem } .map svg text { fill: #222 }
        """
}
