/// Overlap of one label in two label maps.
public struct LabelAgreement: Equatable, Sendable {
    public let label: UInt16
    /// Voxels in the reference, in the prediction and in both.
    public let referenceVoxels: Int
    public let predictionVoxels: Int
    public let intersection: Int
    /// 2 * intersection / (reference + prediction); for a label in neither map what the empty rule says (nil: no value).
    public let dice: Double?
}

/// Comparison of a predicted label map with a reference.
public struct Agreement: Equatable, Sendable {
    /// What the Dice of a label is that neither map contains. Challenges differ, so it is never implied.
    public enum EmptyRule: Sendable {
        /// BraTS, ISLES: both right, 1.
        case one
        /// Counted as failure, 0.
        case zero
        /// nnU-Net: no value, left out of the mean.
        case skip
    }

    /// One entry per requested label, or per label that occurs, in ascending order.
    public let labels: [LabelAgreement]
    /// Share of all voxels with equal labels, 0...1.
    public let voxelAgreement: Double
    /// Mean Dice of the entries other than label 0 that have a value, and their number; nil when there are none.
    public let meanForegroundDice: Double?
    public let foregroundCount: Int

    /// - Parameters:
    ///   - labels: which to report; nil for all that occur in either map.
    ///   - reference, prediction: of equal length.
    public init(reference: [UInt16], prediction: [UInt16], labels: [UInt16]? = nil, emptyRule: EmptyRule) {
        precondition(
            reference.count == prediction.count && !reference.isEmpty, "label maps of different size")
        var inReference = [Int](repeating: 0, count: 65536)
        var inPrediction = inReference
        var inBoth = inReference
        for index in reference.indices {
            inReference[Int(reference[index])] += 1
            inPrediction[Int(prediction[index])] += 1
            if reference[index] == prediction[index] { inBoth[Int(reference[index])] += 1 }
        }
        let wanted =
            labels?.sorted() ?? (0...65535).filter { inReference[Int($0)] + inPrediction[Int($0)] > 0 }
        self.labels = wanted.map { label in
            let counts = (inReference[Int(label)], inPrediction[Int(label)], inBoth[Int(label)])
            var dice: Double? = 2 * Double(counts.2) / Double(counts.0 + counts.1)
            if counts.0 + counts.1 == 0 {
                switch emptyRule {
                case .one: dice = 1
                case .zero: dice = 0
                case .skip: dice = nil
                }
            }
            return LabelAgreement(
                label: label, referenceVoxels: counts.0, predictionVoxels: counts.1, intersection: counts.2,
                dice: dice)
        }
        voxelAgreement = Double(inBoth.reduce(0, +)) / Double(reference.count)
        let scores = self.labels.filter { $0.label != 0 }.compactMap(\.dice)
        foregroundCount = scores.count
        meanForegroundDice = scores.isEmpty ? nil : scores.reduce(0, +) / Double(scores.count)
    }

    /// Compares two label volumes, voxel by voxel as stored.
    /// - Parameter warnings: gets a line when the affines differ by more than 1e-3 mm.
    /// - Throws: exit 5 when the shapes differ, exit 4 when a volume does not hold labels.
    public static func compare(
        reference: VoxelVolume, prediction: VoxelVolume, labels: [UInt16]? = nil, emptyRule: EmptyRule,
        warnings: inout [String]
    ) throws(VolumeError) -> Agreement {
        warnings += try GridCheck.check([reference.header, prediction.header], spacingMatters: false)
        return Agreement(
            reference: try reference.labels(), prediction: try prediction.labels(), labels: labels,
            emptyRule: emptyRule)
    }
}
