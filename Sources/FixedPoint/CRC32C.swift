/// CRC-32C (Castagnoli, polynomial 0x1EDC6F41, reflected 0x82F63B78, initial value and final xor all ones), as
/// in RFC 3720 appendix B.4. Guards the sections of a `.mkq` file and names the contents of a tensor, so that two
/// machines can be compared line by line.
public struct CRC32C: Sendable {
    private var state: UInt32 = 0xFFFF_FFFF

    public init() {}

    public var value: UInt32 { ~state }

    /// Four bits at a time: the table is 64 bytes of constants, so nothing is initialised lazily or allocated.
    public mutating func update(_ byte: UInt8) {
        state ^= UInt32(byte)
        state = Self.table[Int(state & 15)] ^ (state &>> 4)
        state = Self.table[Int(state & 15)] ^ (state &>> 4)
    }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        for index in bytes.indices { unsafe update(bytes[index]) }
    }

    public static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var crc = CRC32C()
        unsafe crc.update(bytes)
        return crc.value
    }

    private static let table: InlineArray<16, UInt32> = [
        0x0000_0000, 0x105E_C76F, 0x20BD_8EDE, 0x30E3_49B1,
        0x417B_1DBC, 0x5125_DAD3, 0x61C6_9362, 0x7198_540D,
        0x82F6_3B78, 0x92A8_FC17, 0xA24B_B5A6, 0xB215_72C9,
        0xC38D_26C4, 0xD3D3_E1AB, 0xE330_A81A, 0xF36E_6F75,
    ]
}
