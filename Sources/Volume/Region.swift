/// A named union of labels that is judged as one mask, as challenges do.
public struct Region: Equatable, Sendable {
    public let name: String
    /// Ascending, each once, never empty.
    public let labels: [UInt16]

    public init(name: String, labels: [UInt16]) {
        precondition(!labels.isEmpty, "a region of no labels")
        self.name = name
        self.labels = Set(labels).sorted()
    }

    /// Regions that a challenge scores.
    public enum Preset: String, CaseIterable, Sendable {
        /// BraTS 2023 labels: 1 necrotic core, 2 oedema, 3 enhancing tumour.
        case brats
        /// BraTS 2012 to 2021 labels: 4 is the enhancing tumour.
        case brats2020

        /// Whole tumour, tumour core, enhancing tumour.
        public var regions: [Region] {
            let enhancing: UInt16 = self == .brats ? 3 : 4
            return [
                Region(name: "WT", labels: [1, 2, enhancing]), Region(name: "TC", labels: [1, enhancing]),
                Region(name: "ET", labels: [enhancing]),
            ]
        }
    }

    /// Reads `NAME=1,3`: a name without `=` or `,`, then labels in 1...65535.
    /// - Returns: nil for anything else.
    public init?(text: String) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, !parts[0].contains(",") else { return nil }
        var labels: [UInt16] = []
        for part in parts[1].split(separator: ",", omittingEmptySubsequences: false) {
            guard let label = UInt16(part), label > 0 else { return nil }
            labels.append(label)
        }
        self.init(name: String(parts[0]), labels: labels)
    }
}
