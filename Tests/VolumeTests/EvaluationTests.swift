import Foundation
import Testing
import Volume

@Suite struct EvaluationTests {
    private func evaluate(
        _ reference: [UInt16], _ prediction: [UInt16], size: GridSize, spacing: SIMD3<Double> = SIMD3(1, 1, 1),
        labels: [UInt16]? = nil, regions: [Region] = [], rule: EmptyRule = .nnunet
    ) -> Evaluation {
        Evaluation(
            reference: reference, prediction: prediction, size: size, spacing: spacing,
            voxelML: spacing.x * spacing.y * spacing.z / 1000, labels: labels, regions: regions, emptyRule: rule)
    }

    /// The table of docs/eval.md, value by value.
    @Test(arguments: EmptyRule.allCases) func emptyRules(_ rule: EmptyRule) {
        let diagonal = 373.12866...373.12867
        let full: [UInt16] = [1, 0]
        let none: [UInt16] = [0, 0]
        func score(_ reference: [UInt16], _ prediction: [UInt16]) -> RegionScore {
            evaluate(reference, prediction, size: GridSize(2, 1, 1), labels: [1], rule: rule).labels[0]
        }
        let (both, noReference, noPrediction) = (score(none, none), score(none, full), score(full, none))
        #expect(noPrediction.dice == 0 && score(full, full).dice == 1 && score(full, full).hd95 == 0)
        switch rule {
        case .brats2020:
            #expect(both.dice == 1 && both.hd95 == 0 && noReference.dice == 0)
            #expect(diagonal.contains(noReference.hd95!) && diagonal.contains(noPrediction.hd95!))
        case .brats2023:
            #expect(both.dice == 1 && both.hd95 == 0 && noReference.dice == 0)
            #expect(noReference.hd95 == 374 && noPrediction.hd95 == 374)
        case .nnunet:
            #expect(both.dice == nil && both.hd95 == nil && noReference.dice == 0)
            #expect(noReference.hd95 == nil && noPrediction.hd95 == nil)
        case .monai:
            #expect(both.dice == nil && both.hd95 == nil && noReference.dice == nil)
            #expect(noReference.hd95 == nil && noPrediction.hd95 == nil)
        }
        #expect(noReference.differencePercent == nil && noPrediction.differencePercent == -100)
    }

    @Test func regionsAreUnions() {
        let reference: [UInt16] = [0, 1, 2, 3, 3, 0, 0, 4]
        let prediction: [UInt16] = [1, 2, 2, 1, 3, 3, 0, 4]
        let spacing = SIMD3<Double>(2, 1, 3)
        let found = evaluate(
            reference, prediction, size: GridSize(8, 1, 1), spacing: spacing,
            regions: Region.Preset.brats.regions + [Region(name: "far", labels: [4, 9])])
        #expect(found.regions.map(\.region.name) == ["WT", "TC", "ET", "far"])
        #expect(found.regions.map(\.referenceVoxels) == [4, 3, 2, 1])
        #expect(found.regions.map(\.predictionVoxels) == [6, 4, 2, 1])
        // WT: 1...4 within 0...5. TC: {1, 3, 4} and {0, 3, 4, 5}. ET: {3, 4} and {4, 5}.
        #expect(found.regions.map(\.intersection) == [4, 2, 1, 1])
        #expect(found.regions.map(\.dice) == [0.8, 4.0 / 7, 0.5, 1])
        #expect(found.regions.map(\.referenceML) == [4, 3, 2, 1].map { $0 * 0.006 })
        #expect(found.regions[0].differencePercent == 50)
        #expect(found.regions[3].hd95 == 0)
        // Directed sets of ET in mm: {2, 0} and {0, 2}; the 95th percentile of two values is 0.95 of the way.
        #expect(found.regions[2].hd95.map { ($0 - 1.9).magnitude < 1e-12 } == true)
        #expect(found.labels.map { $0.region.labels } == [[1], [2], [3], [4]])
        #expect(found.voxelAgreement == 0.5)
    }

    /// Cropping to the region changes nothing: scores are those of the same masks moved about in a larger image.
    @Test func placeInTheImageDoesNotMatter() {
        var random = TestRandom(state: 31)
        let (small, large) = (GridSize(6, 5, 4), GridSize(13, 11, 9))
        for _ in 0..<30 {
            let a = (0..<small.count).map { _ in UInt16.random(in: 0...2, using: &random) }
            let b = (0..<small.count).map { _ in UInt16.random(in: 0...2, using: &random) }
            let shift = [Int.random(in: 0...7, using: &random), Int.random(in: 0...6, using: &random), 3]
            func moved(_ labels: [UInt16]) -> [UInt16] {
                var result = [UInt16](repeating: 0, count: large.count)
                for index in labels.indices {
                    let (x, y, z) = (index % 6 + shift[0], index / 6 % 5 + shift[1], index / 30 + shift[2])
                    result[(z * large.y + y) * large.x + x] = labels[index]
                }
                return result
            }
            let spacing = SIMD3<Double>(0.5, 1.25, 3)
            let regions = [Region(name: "all", labels: [1, 2])]
            let here = evaluate(a, b, size: small, spacing: spacing, regions: regions)
            let there = evaluate(moved(a), moved(b), size: large, spacing: spacing, regions: regions)
            #expect(here.labels == there.labels && here.regions == there.regions)
        }
    }

    @Test func meansLeaveOutWhatHasNoValue() {
        let mean = Evaluation.Mean([1, nil, 0.5, nil])
        #expect(mean.value == 0.75 && mean.count == 2)
        #expect(Evaluation.Mean([nil]).value == nil && Evaluation.Mean([]).count == 0)
    }

    @Test func regionsAsText() {
        #expect(Region(text: "TC=3,1,3") == Region(name: "TC", labels: [1, 3]))
        for bad in ["", "TC", "=1", "TC=", "TC=1,", "TC=a", "TC=0", "TC=70000", "TC=-1", "a,b=1"] {
            #expect(Region(text: bad) == nil, "\(bad)")
        }
    }
}
