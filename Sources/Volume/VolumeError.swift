import Glibc

/// Why a volume could not be read, used or written. One line, meant for the user as it is.
public struct VolumeError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Process exit status: 3 input missing or unreadable, 4 malformed or unsupported image,
    /// 5 inputs disagree, 8 output failure.
    public let exitCode: Int32
    /// The file as the user named it.
    public let file: String
    /// What is wrong, usually `field=value (must be ...)`. No line break.
    public let message: String

    public init(exitCode: Int32, file: String, message: String) {
        self.exitCode = exitCode
        self.file = file
        self.message = message
    }

    /// `FILE: message`, one line whatever the file is called, without a trailing line break.
    public var description: String {
        let name = file.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7f ? "?" : String($0) }.joined()
        return "\(name): \(message)"
    }

    /// Exit 3: the file is absent or cannot be read. The reason is that of `errno`.
    static func unreadable(_ file: String, _ action: String, errno code: Int32) -> VolumeError {
        VolumeError(exitCode: 3, file: file, message: "\(action): \(reason(code))")
    }

    /// Exit 4 with a free message.
    static func malformed(_ file: String, _ message: String) -> VolumeError {
        VolumeError(exitCode: 4, file: file, message: message)
    }

    /// Exit 8 with a free message.
    static func output(_ file: String, _ message: String) -> VolumeError {
        VolumeError(exitCode: 8, file: file, message: message)
    }

    /// The system's words for an error number.
    static func reason(_ code: Int32) -> String {
        unsafe String(cString: strerror(code))
    }
}
