/// Other spellings of the tensor names: of checkpoints saved from a wrapped module, of SegMamba-like encoders and decoders
/// (github.com/ge-xing/SegMamba), and of efficient-kan layers (github.com/Blealtan/efficient-kan).
enum KMambaNames {
    /// The name that the importer asks for; unknown names stay as they are.
    static func canonical(_ stored: String) -> String {
        var parts = stored.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        if let first = parts.first, ["module", "model", "net"].contains(first) { parts.removeFirst() }
        parts = encoder(parts) ?? decoder(parts) ?? parts
        if let at = parts.firstIndex(of: "kan"), parts.count > at + 2, parts[at + 1] == "layers",
            let layer = Int(parts[at + 2])
        {
            parts.replaceSubrange((at + 1)...(at + 2), with: ["fc\(layer + 1)"])
        }
        return parts.joined(separator: ".")
    }

    private static func encoder(_ parts: [String]) -> [String]? {
        guard parts.count >= 4, parts[0] == "vit" else { return nil }
        let rest = Array(parts[3...])
        switch parts[1] {
        case "downsample_layers":
            if parts[2] == "0" { return parts[3] == "0" ? ["stem"] + rest.dropFirst() : nil }
            let piece = ["0": "norm", "1": "conv"][parts[3]]
            return piece.map { ["stages", parts[2], "down", $0] + rest.dropFirst() }
        case "gscs":
            for (from, to) in [("proj", "conv"), ("norm", "norm")] where parts[3].hasPrefix(from) {
                let number = String(parts[3].dropFirst(from.count))
                return ["stages", parts[2], "gsc", to + (number.isEmpty ? "1" : number)] + rest.dropFirst()
            }
            return nil
        case "stages":
            guard parts.count >= 6 else { return nil }
            let piece = parts[4] == "mamba" ? "mixer" : parts[4]
            return ["stages", parts[2], "blocks", parts[3], piece] + parts[5...]
        default: return nil
        }
    }

    private static func decoder(_ parts: [String]) -> [String]? {
        // vit.norm3.weight
        if parts.count == 3, parts[0] == "vit", parts[1].hasPrefix("norm"), let stage = parts[1].last {
            return ["stages", String(stage), "out_norm", parts[2]]
        }
        if parts.count == 4, Array(parts[..<3]) == ["out", "conv", "conv"] { return ["head", parts[3]] }
        let levels = [
            "decoder4": ["dec", "2"], "decoder3": ["dec", "1"], "decoder2": ["dec", "0"], "decoder1": ["full"],
        ]
        guard parts.count >= 4, let level = levels[parts[0]] else { return nil }
        switch (parts[1], parts[2]) {
        case ("transp_conv", "conv"): return level + ["up"] + parts[3...]
        case ("conv_block", let piece) where piece.hasPrefix("conv") && parts[3] == "conv":
            return level + ["res", piece] + parts[4...]
        case ("conv_block", let piece) where piece.hasPrefix("norm"): return level + ["res", piece] + parts[3...]
        default: return nil
        }
    }
}
