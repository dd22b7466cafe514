/// Values of a configuration that JSON types alone do not rule out.
struct ConfigCheck {
    let config: ModelConfig
    let path: String

    func run() throws(ImportError) {
        try check(
            config.architecture != "meshnet" || (1...1000).contains(config.layers.count), "layers",
            "\(config.layers.count) layers",
            "1...1000")
        for (index, layer) in config.layers.enumerated() { try checkLayer(layer, "layers[\(index)]") }
        try check(!(config.gelu && config.elu), "gelu", "true together with elu", "one of them")
        try check(
            !config.name.isEmpty && config.name.utf8.count <= 255, "mkedge.name", config.name, "1...255 bytes"
        )
        try check(["xyz", "zyx"].contains(config.axes), "mkedge.axes", config.axes, "xyz or zyx")
        try check(
            isOrientation(config.orientation), "mkedge.orientation", config.orientation,
            "one each of RL, AP, SI")
        try check(
            config.spacing.count == 3 && config.spacing.allSatisfy { $0 == 0 || (0.01...100).contains($0) },
            "mkedge.spacing_mm", "\(config.spacing)", "three of 0 or 0.01...100")
        try check(
            config.dims.count == 3 && config.dims.allSatisfy { (0...4096).contains($0) }, "mkedge.dims",
            "\(config.dims)", "three of 0...4096")
        if let names = config.channelNames {
            try check(
                (1...4096).contains(names.count), "mkedge.channels", "\(names.count) names", "1...4096 names")
        }
        try checkNormalization(config.normalization)
        try checkLabels()
        try checkWindow()
    }

    private func check(_ ok: Bool, _ key: String, _ value: String, _ allowed: String) throws(ImportError) {
        guard ok else { throw ImportError(.malformed, path, "\(key)=\(value) (must be \(allowed))") }
    }

    private func checkLayer(_ layer: ModelConfig.Layer, _ at: String) throws(ImportError) {
        try check(
            (1...15).contains(layer.kernel_size) && layer.kernel_size % 2 == 1, "\(at).kernel_size",
            "\(layer.kernel_size)", "odd, 1...15")
        try check((1...64).contains(layer.dilation), "\(at).dilation", "\(layer.dilation)", "1...64")
        try check(layer.stride == 1, "\(at).stride", "\(layer.stride)", "1")
        let same = layer.dilation * (layer.kernel_size - 1) / 2
        try check(
            (0...same).contains(layer.padding), "\(at).padding", "\(layer.padding)",
            "0...\(same) for kernel_size \(layer.kernel_size) and dilation \(layer.dilation)")
    }

    private func isOrientation(_ text: String) -> Bool {
        let axes = text.map { "RL".contains($0) ? 0 : "AP".contains($0) ? 1 : "SI".contains($0) ? 2 : 9 }
        return axes.sorted() == [0, 1, 2]
    }

    private func checkNormalization(_ rule: ModelConfig.Normalization) throws(ImportError) {
        let kinds = ["quantile", "minmax", "zscore", "zscore-nonzero", "none"]
        try check(
            kinds.contains(rule.kind), "mkedge.normalization.kind", rule.kind, kinds.joined(separator: ", "))
        let epsilon = rule.epsilon ?? 0
        try check(epsilon >= 0 && epsilon.isFinite, "mkedge.normalization.epsilon", "\(epsilon)", "0 or more")
        if let clip = rule.clip { try check(clip > 0, "mkedge.normalization.clip", "\(clip)", "above 0") }
        guard rule.kind == "quantile" else { return }
        let (low, high) = (rule.low ?? -1, rule.high ?? -1)
        try check(
            low >= 0 && low < high && high <= 1, "mkedge.normalization", "low \(low), high \(high)",
            "0 <= low < high <= 1")
    }

    private func checkLabels() throws(ImportError) {
        guard let labels = config.labels else { return }
        var seen: Set<Int> = []
        for (index, label) in labels.enumerated() {
            let at = "mkedge.labels[\(index)]"
            try check((0...65_535).contains(label.value), "\(at).value", "\(label.value)", "0...65535")
            try check(seen.insert(label.value).inserted, "\(at).value", "\(label.value)", "of one label only")
            try check(
                label.rgb.count == 3 && label.rgb.allSatisfy { (0...255).contains($0) }, "\(at).rgb",
                "\(label.rgb)",
                "three of 0...255")
        }
    }

    private func checkWindow() throws(ImportError) {
        guard let window = config.window else { return }
        try check(
            window.patch.count == 3 && window.patch.allSatisfy { (8...4096).contains($0) },
            "mkedge.window.patch",
            "\(window.patch)", "three of 8...4096")
        try check((0...0.9).contains(window.overlap), "mkedge.window.overlap", "\(window.overlap)", "0...0.9")
        try check(
            ["monai", "nnunet"].contains(window.scheme), "mkedge.window.scheme", window.scheme,
            "monai or nnunet")
        try check(
            ["gaussian", "constant"].contains(window.weight), "mkedge.window.weight", window.weight,
            "gaussian or constant")
    }
}
