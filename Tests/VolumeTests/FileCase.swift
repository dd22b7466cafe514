import Foundation
import Testing
import Volume

/// A damaged or odd file and what must come of it.
struct FileCase: Sendable, CustomTestStringConvertible {
    let name: String
    /// File names and contents; the first is opened.
    let files: [(String, [UInt8])]
    let options: NIfTIOptions
    /// Part of the error message (refused) or of one warning (accepted; empty: no warning at all).
    let text: String

    var testDescription: String { name }

    init(_ name: String, _ text: String, options: NIfTIOptions = NIfTIOptions(), files: [(String, [UInt8])]) {
        self.name = name
        self.files = files
        self.options = options
        self.text = text
    }

    init(
        _ name: String, _ text: String, fileName: String = "a.nii", options: NIfTIOptions = NIfTIOptions(),
        change: (inout NIfTIBytes) -> Void = { _ in }, finish: ([UInt8]) -> [UInt8] = { $0 }
    ) {
        var made = NIfTIBytes()
        change(&made)
        self.init(name, text, options: options, files: [(fileName, finish(made.file()))])
    }
}

/// Random bytes do not compress, so a flipped byte lies in stored data and only the checksum can see it.
func noise(_ count: Int) -> [UInt8] {
    var random = TestRandom(state: 7)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
}

func noisyFile() -> [UInt8] {
    NIfTIBytes(dim: [3, 64, 64, 128, 1, 1, 1, 1]).header() + [0, 0, 0, 0] + noise(64 * 64 * 128)
}

func flipped(_ bytes: [UInt8], at index: Int) -> [UInt8] {
    var result = bytes
    result[index] ^= 0x10
    return result
}

extension FileCase {
    /// An accepted file without warnings.
    init(
        _ name: String, fileName: String = "a.nii", options: NIfTIOptions = NIfTIOptions(),
        change: (inout NIfTIBytes) -> Void = { _ in }, finish: ([UInt8]) -> [UInt8] = { $0 }
    ) {
        self.init(name, "", fileName: fileName, options: options, change: change, finish: finish)
    }
    init(_ name: String, files: [(String, [UInt8])]) { self.init(name, "", files: files) }
}
