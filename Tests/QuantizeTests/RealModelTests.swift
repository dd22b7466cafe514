import GraphIR
import Quantize
import TestSupport
import Testing
import Volume

/// Published MeshNets on a crop of a real head, against labels that PyTorch computed in float32.
@Suite(.enabled(if: Shared.isPresent, Comment(rawValue: Shared.skipMessage)), .serialized)
struct RealModelTests {
    struct Result {
        var toReference: Agreement
        var floatToReference: Agreement
    }

    private func run(_ name: String, wide: WideLayers = .none) throws -> Result {
        let config = try ModelConfig(
            json: SourceFile.read(path: Shared.path("meshnet/\(name)/model.json")), path: name, fallbackName: name)
        let checkpoint = try Checkpoint.read(path: Shared.path("meshnet/\(name)/model.pth"))
        let graph = try MeshNetImporter.graph(checkpoint: checkpoint, config: config)
        let head = try VoxelVolume.read(path: Shared.path("mri/t1_crop.nii.gz"))
        let crop = head.cropped(start: GridSize(80, 80, 80), size: GridSize(96, 96, 96))
        var warnings: [String] = []
        let input = ModelInput(
            volume: crop, axisMap: AxisMap(stored: crop.header.axisCodes, model: "LIA")!,
            grid: try GridMap(path: name, inputSize: crop.dims, inputSpacing: crop.header.spacing),
            coder: VoxelCoder<UInt8>(
                map: IntensityMap(.quantile(low: 0.02, high: 0.98, epsilon: 0.001), of: crop, warnings: &warnings),
                scale: 1, zeroPoint: 0))
        let sample = FloatTensor(channels: 1, size: Size3(cube: 96), values: input.numbers())
        var options = Converter.Options()
        options.threads = 2
        options.wide = wide
        var converter = Converter(graph: graph, options: options, report: { _, _ in })
        converter.calibrate(sample, volume: 1, of: 1)
        let model = try converter.convert(
            inputCoding: .input(config.normalization),
            metadata: Metadata.builder(
                config: config, classes: graph.classCount, inputChannels: 1, provenance: []), samples: [sample])
        let comparison = try converter.compare(model, sample)
        let reference = try VoxelVolume.read(path: Shared.path("meshnet/reference/\(name)_t1_crop_c96.nii.gz")).labels()
        return Result(
            toReference: Agreement(reference: reference, prediction: comparison.integerLabels, emptyRule: .skip),
            floatToReference: Agreement(reference: reference, prediction: comparison.floatLabels, emptyRule: .skip))
    }

    /// The crop is the harder case: no air, streaks near the faces, narrow margins. A label can only flip where the float
    /// margin between the two best classes is below twice the integer error of a score; docs/arithmetic.md derives the
    /// bounds from the share of such voxels.
    @Test func model5OnTheCrop() throws {
        let result = try run("model5_gw_ae")
        #expect(result.floatToReference.voxelAgreement >= 0.9999)
        #expect(result.toReference.voxelAgreement >= 0.94)
        #expect(result.toReference.meanForegroundDice! >= 0.93)
        print(
            "model5_gw_ae c96: agreement \(result.toReference.voxelAgreement), Dice \(result.toReference.meanForegroundDice!)"
        )
    }

    @Test func model21OnTheCrop() throws {
        let result = try run("model21_104class")
        #expect(result.floatToReference.voxelAgreement >= 0.9999)
        #expect(result.toReference.voxelAgreement >= 0.98)
        #expect(result.toReference.meanForegroundDice! >= 0.95)
        print(
            "model21_104class c96: agreement \(result.toReference.voxelAgreement), Dice \(result.toReference.meanForegroundDice!)"
        )
    }

    /// With 16 bits between the convolutions only the input, its convolution's weights and ten to twelve bits of the others'
    /// weights are rounded: every score's error falls to an eighth or less, and so does the share of labels that flip.
    @Test func sixteenBitsBetweenConvolutionsOnTheCrop() throws {
        let result = try run("model5_gw_ae", wide: .all)
        #expect(result.toReference.voxelAgreement >= 0.99)
        #expect(result.toReference.meanForegroundDice! >= 0.99)
        print(
            "model5_gw_ae c96 in 16 bits: agreement \(result.toReference.voxelAgreement), Dice "
                + "\(result.toReference.meanForegroundDice!)")
    }

    @Test func aLayerThatCannotBeWideIsNamed() throws {
        let error = #expect(throws: QuantizeError.self) {
            try run("model5_gw_ae", wide: .layers(["model.0", "model.99"]))
        }
        #expect("\(error!)".contains("model.99"))
        #expect("\(error!)".contains("model.16"))
    }
}
