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
    /// What is wrong, without the file's name. At most a few hundred characters.
    public var message: String
    /// More, a line each: what else is wrong with a source of many parts.
    public var details: [String] = [] {
        didSet { details = details.map { Self.oneLine($0, limit: 400) } }
    }

    /// The message may quote names from an untrusted file, so control characters are escaped and its middle is left
    /// out when it is long.
    public init(_ kind: Kind, _ file: String, _ message: String) {
        self.kind = kind
        self.file = file
        self.message = Self.oneLine(message, limit: 400)
    }

    /// `FILE: MESSAGE`, always one line.
    public var description: String { "\(Self.oneLine(file, limit: 4096)): \(message)" }

    private static func oneLine(_ text: String, limit: Int) -> String {
        var result = ""
        // Counted in scalars: a single Character may hold any number of combining marks.
        let scalars = text.unicodeScalars
        let tail = limit / 4
        let isLong =
            scalars.index(scalars.startIndex, offsetBy: limit, limitedBy: scalars.endIndex)
            .map { $0 < scalars.endIndex } ?? false
        for scalar in isLong ? scalars.prefix(limit - tail) : scalars[...] { append(scalar, to: &result) }
        if isLong {
            result += "…"
            for scalar in scalars.suffix(tail) { append(scalar, to: &result) }
        }
        return result
    }

    private static func append(_ scalar: Unicode.Scalar, to text: inout String) {
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator, .format, .surrogate:
            text += "\\u{" + String(scalar.value, radix: 16) + "}"
        default: text.unicodeScalars.append(scalar)
        }
    }
}
