/// Why a source file was refused: one line that names the file, the place and the value.
public struct ImportError: Error, CustomStringConvertible, Equatable, Sendable {
    public enum Kind: Sendable {
        /// Missing, a folder, or not permitted.
        case unreadable
        /// Damaged, truncated, or lying about itself.
        case malformed
        /// Sound, but beyond what this version converts.
        case unsupported
    }

    public var kind: Kind
    public var file: String
    public var message: String

    public init(_ kind: Kind, _ file: String, _ message: String) {
        self.kind = kind
        self.file = file
        self.message = message
    }

    public var description: String { "\(file): \(message)" }
}
