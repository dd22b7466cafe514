import ArgumentParser
import CommandSupport
import FlatGraph
import GraphIR
import Quantize
import Volume

/// Checkpoint and configuration options that several commands share.
struct NetworkSource: ParsableArguments {
    @Argument(help: "Checkpoint: safetensors, a torch zip (.pth) or ONNX; the content decides, not the name.")
    var checkpoint: String
    @Option(help: "Configuration of the network (model.json).") var config: String

    struct Loaded {
        var checkpoint: Checkpoint
        var config: ModelConfig
        var graph: FloatGraph
    }

    func load() throws -> Loaded {
        do throws(ImportError) {
            let json = try SourceFile.read(path: config, limit: 1 << 20)
            let checkpoint = try Checkpoint.read(path: checkpoint)
            let configuration = try ModelConfig(json: json, path: config, fallbackName: Self.stem(of: self.checkpoint))
            let network = try NetworkImporter.network(checkpoint: checkpoint, config: configuration)
            return Loaded(checkpoint: checkpoint, config: network.config, graph: network.graph)
        } catch {
            let lines = [error.description] + error.details.map { "  \($0)" }
            throw CommandError(error.kind == .unreadable ? .unreadable : .badModel, lines.joined(separator: "\n"))
        }
    }

    /// The folder's name for the customary `model.pth`, else the file's name without its ending.
    private static func stem(of path: String) -> String {
        let parts = path.split(separator: "/").map(String.init)
        let name = parts.last.map { String($0.split(separator: ".").first ?? "model") } ?? "model"
        return name == "model" && parts.count > 1 ? parts[parts.count - 2] : name
    }
}

/// A volume as the network sees it, in float.
struct NetworkInput {
    let tensor: FloatTensor
    let warnings: [String]

    /// - Parameter crop: edge in voxels of the central cube to keep (taken before normalization, as a volume of its own); 0
    ///   keeps all.
    init(paths: [String], config: ModelConfig, crop: Int) throws {
        var warnings: [String] = []
        var values: [Float] = []
        var size = Size3(cube: 0)
        for path in paths {
            var volume = try VoxelVolume.read(path: path)
            if crop > 0 { volume = volume.centralCrop(crop) }
            let codes = volume.header.axisCodes
            guard let map = AxisMap(stored: codes, model: config.orientation) else {
                throw CommandError(
                    .badImage, "\(path): orientation \(codes) cannot be turned into \(config.orientation)")
            }
            let grid = try GridMap(
                path: path, inputSize: map.modelSize(of: volume.dims),
                inputSpacing: map.modelSpacing(of: volume.header.spacing),
                modelSpacing: SIMD3(config.spacing[0], config.spacing[1], config.spacing[2]),
                modelSize: crop > 0 ? GridSize(0, 0, 0) : GridSize(config.dims[0], config.dims[1], config.dims[2]))
            let intensity = IntensityMap(config.volumeNormalization, of: volume, warnings: &warnings)
            let input = ModelInput(
                volume: volume, axisMap: map, grid: grid,
                coder: VoxelCoder<UInt8>(map: intensity, scale: 1, zeroPoint: 0))
            values += input.numbers()
            size = Size3(depth: grid.modelSize.z, height: grid.modelSize.y, width: grid.modelSize.x)
            warnings += volume.header.warnings
        }
        tensor = FloatTensor(channels: paths.count, size: size, values: values)
        self.warnings = warnings
    }
}

extension VoxelVolume {
    /// The central cube, or all of an axis that is shorter.
    func centralCrop(_ edge: Int) -> VoxelVolume {
        let size = GridSize(min(edge, dims.x), min(edge, dims.y), min(edge, dims.z))
        let start = GridSize((dims.x - size.x) / 2, (dims.y - size.y) / 2, (dims.z - size.z) / 2)
        return cropped(start: start, size: size)
    }
}

extension ModelConfig {
    /// The rule as the volume library has it. The configuration was checked.
    var volumeNormalization: Volume.Normalization {
        switch normalization.kind {
        case "quantile":
            .quantile(low: normalization.low ?? 0, high: normalization.high ?? 1, epsilon: normalization.epsilon ?? 0)
        case "minmax": .minMax
        case "zscore": .zScore(nonzeroOnly: false, clip: normalization.clip ?? 0)
        case "zscore-nonzero": .zScore(nonzeroOnly: true, clip: normalization.clip ?? 0)
        default: .none
        }
    }
}
