import FlatGraph
import Ops

/// How an image meets a model: axis order, resampling, the model's grid and the way back.
public struct ModelGrid: Sendable {
    public let axisMap: AxisMap
    public let grid: GridMap
    public let normalization: Normalization

    /// Size of the volume that the network sees.
    public var extent: Extent {
        let size = grid.modelSize
        return Extent(depth: size.z, height: size.y, width: size.x)
    }

    /// The network's view of one channel.
    /// - Parameter warnings: gets a line when the image has no contrast.
    func input<Code: InputCode>(
        _ volume: VoxelVolume, _ coding: InputCoding, warnings: inout [String]
    ) -> ModelInput<Code> {
        let coder = VoxelCoder<Code>(
            map: IntensityMap(normalization, of: volume, warnings: &warnings), scale: coding.scale,
            zeroPoint: Code(coding.zeroPoint))
        return ModelInput(volume: volume, axisMap: axisMap, grid: grid, coder: coder)
    }
}

/// The network's input code for x is floor(x / scale + 0.5) + zeroPoint.
struct InputCoding: Sendable {
    var scale: Double
    var zeroPoint: Int
    /// 1 or 2 (`ModelFile.codeBytes`).
    var codeBytes = 1
}

extension InputCoding {
    init(_ file: ModelFile) {
        let tensor = file.tensor(Int(file.record.inputTensor))
        self.init(
            scale: Double(file.scale(Int(tensor.scaleOffset))), zeroPoint: Int(tensor.zeroPoint),
            codeBytes: file.codeBytes)
    }
}

extension ModelGrid {
    /// - Throws: exit 4 when the model's grid over this image is impossible.
    public init(_ header: NIfTIHeader, _ file: ModelFile) throws(VolumeError) {
        let record = file.record
        let letters = [record.orientation.0, record.orientation.1, record.orientation.2]
        let codes = String(decoding: letters, as: UTF8.self)
        guard let map = AxisMap(stored: header.axisCodes, model: codes) else {
            throw VolumeError(
                exitCode: 4, file: header.path,
                message: "orientation=\(header.axisCodes) cannot be turned into \(codes)")
        }
        axisMap = map
        let spacing = SIMD3(Double(record.spacing.0), Double(record.spacing.1), Double(record.spacing.2)) / 1000
        grid = try GridMap(
            path: header.path, inputSize: map.modelSize(of: header.dims),
            inputSpacing: map.modelSpacing(of: header.spacing), modelSpacing: spacing,
            modelSize: GridSize(Int(record.dims.0), Int(record.dims.1), Int(record.dims.2)))
        normalization = Normalization(record)
    }
}

extension Normalization {
    /// The rule of a model file.
    public init(_ record: ModelRecord) {
        switch record.normalization {
        case .none: self = .none
        case .quantile: self = .quantile(low: record.low, high: record.high, epsilon: record.epsilon)
        case .minMax: self = .minMax
        case .zScore: self = .zScore(nonzeroOnly: false, clip: record.clip)
        case .zScoreNonzero: self = .zScore(nonzeroOnly: true, clip: record.clip)
        }
    }
}
