import GraphIR
import Testing

/// Whole networks against the label maps that PyTorch computed from the same weights.
@Suite(
    .serialized, .enabled(if: SharedData.isPresent, "the shared data folder is absent: no reference labels"))
struct ReferenceLabelTests {
    @Test(arguments: ["model5_gw_ae", "model21_104class", "mindgrab"])
    func labelsAgree(_ name: String) throws {
        let graph = try SharedData.network(name)
        let size = Size3(cube: 96)
        let voxels = SharedData.crop(try SharedData.voxels("mri/t1_crop.nii.gz"), side: 96)
        let input = FloatTensor(channels: 1, size: size, values: SharedData.normalized(voxels))
        let start = ContinuousClock.now
        let labels = FloatExecutor(graph).run(input) { (_, _) throws(Never) in }
        let elapsed = ContinuousClock.now - start
        let reference = try SharedData.voxels("meshnet/reference/\(name)_t1_crop_c96.nii.gz")
        #expect(reference.count == labels.count)
        let equal = zip(labels, reference).reduce(0) { $0 + ($1.0 == UInt16($1.1) ? 1 : 0) }
        let agreement = Double(equal) / Double(labels.count)
        let rate = Double(try graph.multiplyAdds(input: size)) / (elapsed / .seconds(1)) / 1e9
        print(
            "\(name) 96^3: agreement \(agreement) (\(labels.count - equal) voxels differ), \(elapsed), \(rate) GMAC/s"
        )
        #expect(agreement >= 0.9999)
    }
}
