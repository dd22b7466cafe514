/// Why a `.mkq` file was refused. Plain numbers, so that the same type works with no operating system; the text for
/// people is made in `ModelFileError+Text.swift`.
public struct ModelFileError: Error, Equatable, Sendable {
    public enum Reason: UInt8, Sendable {
        case tooShort = 1
        case badMagic
        case unsupportedVersion
        case wrongLength
        case headerChecksum
        case badSectionTable
        case sectionChecksum
        case nonzeroPadding
        case unknownFeature
        case badRecord
        case indexOutOfRange
        case badString
        case badGraph
        case badShape
        case badValue
        case accumulatorOverflow
        case tooLarge
        case misaligned
    }

    /// Where in the file: a section, or the header.
    public enum Place: UInt8, Sendable {
        case header = 0
        case model, tensors, ops, operands, scales, channels, weights, tables, strings, labels, provenance
        case channelNames, features
    }

    public var reason: Reason
    public var place: Place
    /// Record index in the section, where there is one.
    public var index: Int
    /// The field within the record.
    public var field: StaticString
    public var value: Int
    public var expected: Int

    public init(
        _ reason: Reason, _ place: Place, index: Int = 0, field: StaticString = "", value: Int = 0, expected: Int = 0
    ) {
        self.reason = reason
        self.place = place
        self.index = index
        self.field = field
        self.value = value
        self.expected = expected
    }

    public static func == (a: ModelFileError, b: ModelFileError) -> Bool {
        a.reason == b.reason && a.place == b.place && a.index == b.index && a.value == b.value
    }
}
