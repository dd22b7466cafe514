import FixedPoint
import Ops
import Testing

@Suite struct RequantizerTests {
    /// Against 128-bit arithmetic, where nothing can overflow, at the ends of every range and at ties.
    @Test func equalsWideArithmeticOnEdges() {
        let accumulators: [Int32] = [.min, .min + 1, -1 << 30, -65537, -3, -2, -1, 0, 1, 2, 3, 65535, 1 << 30, .max]
        let multipliers: [Int32] = [0, 1, 2, 1 << 30, (1 << 30) + 1, .max - 1, .max]
        for a in accumulators {
            for m in multipliers {
                for shift: Int32 in 33...53 {
                    for zp: Int32 in [0, 1, 128, 255] {
                        let exact =
                            Int128(zp)
                            + ((Int128(a) * Int128(m) + (Int128(1) << Int128(shift - 1))) >> Int128(shift))
                        let requantizer = Requantizer(multiplier: m, shift: shift)
                        #expect(Int128(requantizer.scaled(a, zeroPoint: zp)) == exact)
                        #expect(Int128(requantizer.u8(a, zeroPoint: zp)) == min(max(exact, 0), 255))
                        #expect(Int128(requantizer.i16(a, zeroPoint: zp)) == min(max(exact, -32768), 32767))
                    }
                }
            }
        }
    }

    @Test func tiesRoundUp() {
        // multiplier 2^30, shift 33: an eighth. 4/8 = 0.5 → 1, -4/8 = -0.5 → 0, 12/8 = 1.5 → 2, -12/8 = -1.5 → -1.
        let eighth = Requantizer(multiplier: 1 << 30, shift: 33)
        #expect([4, -4, 12, -12].map { eighth.scaled($0) } == [1, 0, 2, -1])
    }

    @Test func crcKnownAnswers() {
        // RFC 3720 B.4: 32 bytes of zeros, of ones, and 0...31; and the customary check string.
        func crc(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { CRC32C.checksum($0) } }
        #expect(crc([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(crc([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(crc((0..<32).map { UInt8($0) }) == 0x46DD_794E)
        #expect(crc(Array("123456789".utf8)) == 0xE306_9283)
    }
}
