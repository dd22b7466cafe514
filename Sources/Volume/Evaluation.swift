/// How well a prediction finds one region of the reference.
public struct RegionScore: Equatable, Sendable {
    public let region: Region
    /// Voxels in the reference, in the prediction and in both.
    public let referenceVoxels: Int
    public let predictionVoxels: Int
    public let intersection: Int
    /// 2 * intersection / (reference + prediction), 0...1; by the empty rule when one is empty; nil is no value.
    public let dice: Double?
    /// mm, as `SurfaceDistance` defines it; by the empty rule when one is empty; nil is no value.
    public let hd95: Double?
    /// In millilitres.
    public let referenceML: Double
    public let predictionML: Double

    /// Prediction minus reference.
    public var differenceML: Double { predictionML - referenceML }
    /// Prediction minus reference in per cent of the reference; nil when the reference is empty, whatever the rule.
    public var differencePercent: Double? {
        referenceVoxels == 0 ? nil : 100 * Double(predictionVoxels - referenceVoxels) / Double(referenceVoxels)
    }
}

/// A predicted label map judged against a reference: every label, and named regions.
public struct Evaluation: Equatable, Sendable {
    /// The mean of the entries that have a value, and their number; nil when there are none.
    public struct Mean: Equatable, Sendable {
        public let value: Double?
        public let count: Int

        public init(_ values: [Double?]) {
            let present = values.compactMap { $0 }
            count = present.count
            value = present.isEmpty ? nil : present.reduce(0, +) / Double(present.count)
        }
    }

    public let emptyRule: EmptyRule
    /// Ascending; label 0, the background, is left out.
    public let labels: [RegionScore]
    /// In the order asked for.
    public let regions: [RegionScore]
    /// Share of all voxels with equal labels, 0...1.
    public let voxelAgreement: Double

    /// - Parameters:
    ///   - reference, prediction: label maps, x fastest, `size.count` voxels each.
    ///   - spacing: mm along x, y, z.
    ///   - voxelML: millilitres of one voxel.
    ///   - labels: which to report; nil for all that occur in either map.
    public init(
        reference: [UInt16], prediction: [UInt16], size: GridSize, spacing: SIMD3<Double>, voxelML: Double,
        labels: [UInt16]? = nil, regions: [Region] = [], emptyRule: EmptyRule
    ) {
        let judge = RegionJudge(
            reference: reference, prediction: prediction, size: size, spacing: spacing, voxelML: voxelML,
            emptyRule: emptyRule)
        let wanted = (labels.map { Set($0) } ?? judge.occurring).subtracting([0]).sorted()
        self.emptyRule = emptyRule
        self.labels = wanted.map { judge.score(Region(name: "\($0)", labels: [$0])) }
        self.regions = regions.map { judge.score($0) }
        var equal = 0
        for index in reference.indices where reference[index] == prediction[index] { equal += 1 }
        voxelAgreement = Double(equal) / Double(reference.count)
    }
}

/// Scores one region after another on the same pair of maps.
private struct RegionJudge {
    let reference: [UInt16]
    let prediction: [UInt16]
    let size: GridSize
    let spacing: SIMD3<Double>
    let voxelML: Double
    let emptyRule: EmptyRule
    let inReference: LabelExtents
    let inPrediction: LabelExtents

    init(
        reference: [UInt16], prediction: [UInt16], size: GridSize, spacing: SIMD3<Double>, voxelML: Double,
        emptyRule: EmptyRule
    ) {
        self.reference = reference
        self.prediction = prediction
        self.size = size
        self.spacing = spacing
        self.voxelML = voxelML
        self.emptyRule = emptyRule
        inReference = LabelExtents(reference, size: size)
        inPrediction = LabelExtents(prediction, size: size)
    }

    var occurring: Set<UInt16> { Set(inReference.counts.keys).union(inPrediction.counts.keys) }

    func score(_ region: Region) -> RegionScore {
        let counts = (inReference.count(region.labels), inPrediction.count(region.labels))
        let empty = emptyRule.values(referenceIsEmpty: counts.0 == 0, predictionIsEmpty: counts.1 == 0)
        let common = empty == nil ? compare(region) : (intersection: 0, hd95: nil)
        let values =
            empty
            ?? EmptyRule.Values(
                dice: 2 * Double(common.intersection) / Double(counts.0 + counts.1), hd95: common.hd95)
        return RegionScore(
            region: region, referenceVoxels: counts.0, predictionVoxels: counts.1, intersection: common.intersection,
            dice: values.dice, hd95: values.hd95, referenceML: Double(counts.0) * voxelML,
            predictionML: Double(counts.1) * voxelML)
    }

    /// Overlap and distance, in the box around both masks: memory follows the region, not the image.
    private func compare(_ region: Region) -> (intersection: Int, hd95: Double?) {
        var box = inReference.box(region.labels)!
        box.join(inPrediction.box(region.labels)!)
        var isMember = [Bool](repeating: false, count: 65536)
        for label in region.labels { isMember[Int(label)] = true }
        let (start, part) = (box.start, box.size)
        var masks: [UInt8] = []
        masks.reserveCapacity(part.count)
        var intersection = 0
        for z in start.z..<start.z + part.z {
            for y in start.y..<start.y + part.y {
                let row = (z * size.y + y) * size.x + start.x
                for index in row..<row + part.x {
                    let flags: UInt8 =
                        (isMember[Int(reference[index])] ? 1 : 0) | (isMember[Int(prediction[index])] ? 2 : 0)
                    if flags == 3 { intersection += 1 }
                    masks.append(flags)
                }
            }
        }
        return (intersection, SurfaceDistance(masks: masks, size: part).hd95(spacing: spacing))
    }
}
