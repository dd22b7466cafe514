/// Comparison and numbers of C strings, without making Swift strings of them.
@safe struct Argument {
    private let text: UnsafePointer<CChar>

    init(_ text: UnsafePointer<CChar>) { unsafe self.text = text }

    static func == (a: Argument, b: StaticString) -> Bool {
        b.withUTF8Buffer { bytes in
            for i in 0..<bytes.count where unsafe UInt8(bitPattern: a.text[i]) != bytes[i] { return false }
            return unsafe a.text[bytes.count] == 0
        }
    }

    func hasSuffix(_ suffix: StaticString) -> Bool {
        let count = length
        guard count >= suffix.utf8CodeUnitCount else { return false }
        return unsafe Argument(text + (count - suffix.utf8CodeUnitCount)) == suffix
    }

    var length: Int {
        var count = 0
        while unsafe text[count] != 0 { count += 1 }
        return count
    }

    var pointer: UnsafePointer<CChar> { unsafe text }

    /// `count` numbers of 1 ... 32767 with a separator between; nil for anything else.
    func numbers(_ count: Int, separator: UInt8) -> (Int, Int, Int)? {
        var values = (0, 0, 0)
        var index = 0
        var at = 0
        while index < count {
            var value = 0
            while case let digit = unsafe Int(text[at]) - 48, (0...9).contains(digit), value < 40_000 {
                value = value * 10 + digit
                at += 1
            }
            guard (1...32_767).contains(value) else { return nil }
            switch index {
            case 0: values.0 = value
            case 1: values.1 = value
            default: values.2 = value
            }
            index += 1
            let end = unsafe text[at]
            guard end == (index < count ? CChar(bitPattern: separator) : 0) else { return nil }
            at += 1
        }
        return values
    }
}
