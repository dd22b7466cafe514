/// What Dice and HD95 are for a region that is absent from the reference, the prediction or both. Challenges and
/// libraries differ, and the choice moves a mean by more than most networks differ, so it is always named.
///
/// | rule | both empty | only the reference empty | only the prediction empty |
/// |---|---|---|---|
/// | `brats2020` | 1, 0 mm | 0, 373.13 mm | 0, 373.13 mm |
/// | `brats2023` | 1, 0 mm | 0, 374 mm | 0, 374 mm |
/// | `nnunet` | none, none | 0, none | 0, none |
/// | `monai` | none, none | none, none | 0, none |
///
/// Sources: BraTS 2020, as its participants report it (nnU-Net issue 380): the penalty is the diagonal of the grid of
/// 240 x 240 x 155 voxels of 1 mm; BraTS 2023, the whole-volume ("legacy") fields of BraTS-2023-Metrics, not its lesion-wise
/// scores; nnU-Net v2 `evaluate_predictions.py`, which has no distances; MONAI 1.6.1, `compute_dice` with its default
/// `ignore_empty=True` and `compute_hausdorff_distance(percentile=95)`: its distances to nothing are infinite, but their
/// interpolated percentile is NaN.
public enum EmptyRule: String, CaseIterable, Sendable {
    case brats2020, brats2023, nnunet, monai

    /// Dice (0...1) and HD95 (mm); nil is no value, left out of means, as the libraries leave out NaN.
    public struct Values: Equatable, Sendable {
        public let dice: Double?
        public let hd95: Double?
    }

    /// - Returns: nil when neither is empty: then the metrics have their own definition.
    public func values(referenceIsEmpty: Bool, predictionIsEmpty: Bool) -> Values? {
        switch (referenceIsEmpty, predictionIsEmpty) {
        case (false, false): nil
        case (true, true): bothEmpty
        case (true, false): Values(dice: self == .monai ? nil : 0, hd95: penalty)
        case (false, true): Values(dice: 0, hd95: penalty)
        }
    }

    private var bothEmpty: Values {
        switch self {
        case .brats2020, .brats2023: Values(dice: 1, hd95: 0)
        case .nnunet, .monai: Values(dice: nil, hd95: nil)
        }
    }

    /// HD95 in mm when one of the two is empty.
    private var penalty: Double? {
        switch self {
        case .brats2020: (2 * 240.0 * 240 + 155 * 155).squareRoot()
        case .brats2023: 374
        case .nnunet, .monai: nil
        }
    }
}
