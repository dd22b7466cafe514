#if !hasFeature(Embedded)
    extension ModelFileError: CustomStringConvertible {
        /// One line without a line break, e.g. `ops[3].dilation=0 (must be 1...64)`.
        public var description: String {
            let at = place == .header ? "header" : "\(place)[\(index)]"
            let spot = field.utf8CodeUnitCount == 0 ? at : "\(at).\(field)"
            switch reason {
            case .tooShort: return "not a .mkq file: \(value) bytes (a header has \(expected))"
            case .badMagic: return "not a .mkq file: magic bytes are missing or damaged"
            case .unsupportedVersion: return "format version \(value) (this build reads \(expected))"
            case .wrongLength: return "file has \(value) bytes but its header says \(expected): truncated or damaged"
            case .headerChecksum: return "header checksum \(hex(value)) does not match \(hex(expected)): damaged"
            case .badSectionTable: return "section table: \(place).\(field)=\(value) (must be \(expected))"
            case .sectionChecksum:
                return "section \(place) checksum \(hex(value)) does not match \(hex(expected)): damaged"
            case .nonzeroPadding: return "byte \(value) between sections is not zero: damaged"
            case .unknownFeature: return "requires the feature '\(featureName)', which this build does not have"
            case .badRecord: return "\(spot): a field has an unknown or reserved value"
            case .indexOutOfRange: return "\(spot)=\(value) is out of range (limit \(expected))"
            case .badString: return "\(spot): string at \(value) is outside the strings section or not UTF-8"
            case .badGraph:
                return "\(spot)=\(value): \(expected == 0 ? "graph is not in order" : "expected \(expected)")"
            case .badShape: return "\(spot)=\(value) does not fit (expected \(expected))"
            case .badValue: return "\(spot)=\(value) (limit \(expected))"
            case .accumulatorOverflow:
                return "\(spot): channel \(value) could overflow the 32-bit accumulator"
            case .misaligned: return "the file's memory is not aligned to \(expected) bytes"
            case .tooLarge: return "\(spot)=\(value) is larger than this build allows (\(expected))"
            }
        }

        private func hex(_ value: Int) -> String { "0x" + String(UInt32(truncatingIfNeeded: value), radix: 16) }

        /// Feature names are at most 16 ASCII characters, carried in the two numbers.
        private var featureName: String {
            var name = ""
            for half in [UInt64(bitPattern: Int64(value)), UInt64(bitPattern: Int64(expected))] {
                for byte in 0..<8 {
                    let code = UInt8(truncatingIfNeeded: half &>> UInt64(8 * byte))
                    if code == 0 { continue }
                    name.unicodeScalars.append((32..<127).contains(code) ? Unicode.Scalar(code) : "?")
                }
            }
            return name
        }
    }
#endif
