import GraphIR

/// What a network sees at a time: the whole input, or patches of the size it was trained on when it has statistics or scans
/// that span its input.
struct Patches {
    static let limit = 8
    /// The patch with the strongest signal first.
    let tensors: [FloatTensor]

    init(_ input: FloatTensor, graph: FloatGraph, config: ModelConfig) {
        guard let window = config.window, graph.nodes.contains(where: { $0.op.isGlobal }) else {
            tensors = [input]
            return
        }
        let size = Size3(depth: window.patch[2], height: window.patch[1], width: window.patch[0])
        var found: [(signal: Double, tensor: FloatTensor)] = []
        for z in Self.starts(input.size.depth, size.depth) {
            for y in Self.starts(input.size.height, size.height) {
                for x in Self.starts(input.size.width, size.width) {
                    let tensor = Self.cut(input, size, z, y, x)
                    found.append((tensor.values.reduce(0) { $0 + Double(abs($1)) }, tensor))
                }
            }
        }
        found.sort { $0.signal > $1.signal }
        // Evenly from the strongest half: the rest is mostly air.
        let useful = max(1, found.count / 2)
        let count = min(Self.limit, useful)
        tensors = (0..<count).map { found[$0 * useful / count].tensor }
    }

    /// A grid without overlap, the last patch moved back into the volume.
    private static func starts(_ size: Int, _ patch: Int) -> [Int] {
        size <= patch ? [0] : (0..<((size + patch - 1) / patch)).map { min($0 * patch, size - patch) }
    }

    /// Zero (what normalization makes of air) outside the volume.
    private static func cut(_ input: FloatTensor, _ size: Size3, _ z0: Int, _ y0: Int, _ x0: Int) -> FloatTensor {
        var result = FloatTensor(channels: input.channels, size: size)
        let from = input.size
        let width = min(size.width, from.width - x0)
        for c in 0..<input.channels {
            for z in 0..<min(size.depth, from.depth - z0) {
                for y in 0..<min(size.height, from.height - y0) {
                    let source = ((c * from.depth + z0 + z) * from.height + y0 + y) * from.width + x0
                    let target = ((c * size.depth + z) * size.height + y) * size.width
                    result.values.replaceSubrange(
                        target..<(target + width), with: input.values[source..<(source + width)])
                }
            }
        }
        return result
    }
}

extension NetworkSource.Loaded {
    /// Whether calibration works on patches of whole volumes: then a crop would only change their normalization.
    var usesPatches: Bool { config.window != nil && graph.nodes.contains { $0.op.isGlobal } }
}
