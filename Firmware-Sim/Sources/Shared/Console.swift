import CPlatform

/// Text to the terminal or the debugger, a piece at a time: there are no strings to build.
enum Console {
    static func print(_ text: StaticString) {
        text.withUTF8Buffer { bytes in
            unsafe bytes.baseAddress!.withMemoryRebound(to: CChar.self, capacity: bytes.count) {
                unsafe mkp_write($0, bytes.count)
            }
        }
    }

    static func print(_ value: Int) { print(Int64(value)) }

    static func print(_ value: Int64) {
        var digits = InlineArray<20, UInt8>(repeating: 0)
        var magnitude = value.magnitude
        var first = 20
        repeat {
            first -= 1
            digits[first] = 48 + UInt8(truncatingIfNeeded: magnitude % 10)
            magnitude /= 10
        } while magnitude > 0
        if value < 0 {
            first -= 1
            digits[first] = 45
        }
        write(digits.span.extracting(first..<20))
    }

    /// As mkrun and mkquant print checksums: eight digits.
    static func printHex(_ value: UInt32) {
        var digits = InlineArray<8, UInt8>(repeating: 0)
        for i in 0..<8 {
            let digit = UInt8(truncatingIfNeeded: value >> UInt32(28 - 4 * i)) & 15
            digits[i] = digit < 10 ? 48 + digit : 87 + digit
        }
        write(digits.span)
    }

    private static func write(_ digits: Span<UInt8>) {
        unsafe digits.withUnsafeBufferPointer { bytes in
            unsafe bytes.baseAddress!.withMemoryRebound(to: CChar.self, capacity: bytes.count) {
                unsafe mkp_write($0, bytes.count)
            }
        }
    }
}
