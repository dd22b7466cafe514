import CommandSupport
import GraphIR
import Quantize
import Volume

/// What calibration looks at: of each volume its central cube, or windows where there is a signal. One volume is in memory at a
/// time, and a few windows for what needs them again.
struct CalibrationSet {
    let source: NetworkSource.Loaded
    /// Edge of a cube in voxels; 0 for whole volumes. Networks with statistics or scans over their input get windows of the size
    /// they were trained on.
    let crop: Int
    /// Per volume; nil for one central cube, or eight windows where the network was trained on windows.
    let windows: Int?

    private static let trainedWindows = 8

    /// Windows that are kept to tune layers on: eight, four where they are large.
    var samples: Int { source.usesPatches || crop > 0 && crop <= 96 ? 8 : 4 }

    /// `count` of a volume's windows, the strongest signal first, the others from all that there are.
    static func spread(_ tensors: [FloatTensor], _ count: Int) -> [FloatTensor] {
        let count = min(count, tensors.count)
        return (0..<count).map { tensors[$0 * tensors.count / count] }
    }

    /// Of one case, the window with the strongest signal first.
    /// - Parameters:
    ///   - paths: one file per input channel.
    ///   - warnings: of the files' headers.
    func tensors(_ paths: [String], warnings: inout [String]) throws -> [FloatTensor] {
        let cutsWindows = source.usesPatches || windows != nil && crop > 0
        let input = try NetworkInput(paths: paths, config: source.config, crop: cutsWindows ? 0 : crop)
        warnings += input.warnings
        let pieces =
            !cutsWindows
            ? [input.tensor] : source.usesPatches ? trained(input.tensor) : drawn(input.tensor, windows!)
        // The runtime puts zeros behind sides that are no multiples of the coarsest grid's cell, too.
        return pieces.map { $0.filled(toMultiplesOf: source.graph.cell) }
    }

    /// Windows as they come in a run, side by side: evenly from the half of them that has the most signal; the rest is mostly air.
    private func trained(_ whole: FloatTensor) -> [FloatTensor] {
        let patch = source.config.window!.patch
        let size = Size3(depth: patch[2], height: patch[1], width: patch[0])
        func centres(_ whole: Int, _ size: Int) -> [Int] {
            (0..<((whole + size - 1) / size)).map { $0 * size + size / 2 }
        }
        let places = centres(whole.size.depth, size.depth).flatMap { z in
            centres(whole.size.height, size.height).flatMap { y in
                centres(whole.size.width, size.width).map { (z, y, $0) }
            }
        }
        let found = Self.sorted(places.map { Self.window(whole, size, around: $0) })
        return Self.spread(
            Array(found.prefix(max(1, found.count / 2))), windows ?? Self.trainedWindows)
    }

    private func drawn(_ whole: FloatTensor, _ count: Int) -> [FloatTensor] {
        let (height, width) = (whole.size.height, whole.size.width)
        return Self.sorted(
            VoxelDraw([whole], count: count).voxels[0].map { voxel in
                Self.window(
                    whole, Size3(cube: crop),
                    around: (voxel / (height * width), voxel / width % height, voxel % width))
            })
    }

    private static func sorted(_ windows: [FloatTensor]) -> [FloatTensor] {
        let signals = windows.map { $0.values.reduce(0) { $0 + Double(abs($1)) } }
        return windows.indices.sorted { (signals[$0], $1) > (signals[$1], $0) }.map { windows[$0] }
    }

    /// The window of that size nearest to being centred on a voxel; zero (what normalization makes of air) outside the volume.
    private static func window(_ input: FloatTensor, _ size: Size3, around centre: (Int, Int, Int)) -> FloatTensor {
        func start(_ centre: Int, _ size: Int, _ whole: Int) -> Int { max(0, min(centre - size / 2, whole - size)) }
        var result = FloatTensor(channels: input.channels, size: size)
        let from = input.size
        let (z0, y0, x0) = (
            start(centre.0, size.depth, from.depth), start(centre.1, size.height, from.height),
            start(centre.2, size.width, from.width)
        )
        let width = min(size.width, from.width)
        for c in 0..<input.channels {
            for z in 0..<min(size.depth, from.depth) {
                for y in 0..<min(size.height, from.height) {
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
    /// Whether calibration works on windows of whole volumes: then a crop would only change their normalization.
    var usesPatches: Bool { config.window != nil && graph.nodes.contains { $0.op.isGlobal } }
}
