import FixedPoint
import FlatGraph
import Ops
import TestSupport
import Testing

func parse(_ bytes: [UInt8]) throws -> ModelFile {
    try TestModels.Memory(bytes).file()
}

/// Recomputes section and header checksums, so that a change gets past them and meets the check it is meant for.
func resealed(_ bytes: [UInt8]) -> [UInt8] {
    func u64(_ at: Int) -> Int { (0..<8).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) } }
    func crc(_ slice: ArraySlice<UInt8>) -> UInt32 { Array(slice).withUnsafeBytes { CRC32C.checksum($0) } }
    var result = bytes
    func put(_ value: UInt32, _ at: Int) {
        for i in 0..<4 { result[at + i] = UInt8(truncatingIfNeeded: value >> UInt32(8 * i)) }
    }
    for section in 0..<Section.allCases.count {
        let entry = MKQ.headerBytes + section * MKQ.sectionEntryBytes
        let (offset, length) = (u64(entry + 8), u64(entry + 16))
        guard offset >= 0, length >= 0, offset <= bytes.count, length <= bytes.count - offset else { continue }
        put(crc(result[offset..<(offset + length)]), entry + 4)
    }
    put(0, 24)
    put(crc(result[..<(MKQ.headerBytes + Section.allCases.count * MKQ.sectionEntryBytes)]), 24)
    return result
}

@Suite struct ModelFileTests {
    @Test func writtenFilesAreReadBack() throws {
        var options = TestModels.Options()
        options.inputs = 4
        options.residual = true
        options.concat = true
        let memory = TestModels.Memory(TestModels.bytes(options))
        let file = try memory.file()
        #expect(file.string(file.record.name) == "test network")
        #expect(file.classCount == 3)
        #expect(file.label(2).value == 4)
        #expect(file.string(file.channelName(3)) == "channel 3")
        #expect(file.record.patch == (16, 16, 16))
        #expect(file.record.high == 0.98)
        #expect(
            (0..<file.opCount).map { file.op($0).kind } == [
                .conv3d, .concat, .conv3d, .lookup, .conv3d, .add, .conv3d, .argmax,
            ])
        let conv = file.conv3D(file.op(2))
        #expect(conv.inChannels == 10 && conv.outChannels == 5 && conv.dilation == Extent(cube: 2))
    }

    /// The bytes of version 1 are a promise to files in the field. If this fails the format changed: raise the version.
    @Test func goldenBytes() throws {
        let bytes = TestModels.bytes()
        #expect(bytes.count == 7296)
        #expect(bytes.withUnsafeBytes { CRC32C.checksum($0) } == 3_670_436_650)
        #expect(TestModels.bytes() == bytes)
    }

    @Test func everySingleBitFlipIsDetected() throws {
        let bytes = TestModels.bytes()
        var undetected: [Int] = []
        for byte in bytes.indices {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[byte] ^= 1 << UInt8(bit)
                if (try? parse(damaged)) != nil { undetected.append(byte * 8 + bit) }
            }
        }
        #expect(undetected == [])
    }

    @Test func everyTruncationIsDetected() {
        let bytes = TestModels.bytes()
        for length in stride(from: 0, to: bytes.count, by: 7) {
            #expect(throws: ModelFileError.self, "length \(length)") { try parse(Array(bytes[..<length])) }
        }
        #expect(throws: ModelFileError.self) { try parse(bytes + [0]) }
    }

    /// A file of 16-bit image codes says so in its features, by which a reader that knows only bytes refuses it.
    @Test func wideImagesAreAFeature() throws {
        var options = TestModels.Options()
        options.wideInput = true
        let bytes = TestModels.bytes(options)
        let file = try parse(bytes)
        #expect(file.codeBytes == 2 && file.tensor(0).storage == .i16)
        #expect(try parse(TestModels.bytes()).codeBytes == 1)
        let features = file.section(.features)
        let names = (0..<file.count(.features)).map { index in
            let name = (0..<MKQ.featureNameBytes).map { features.u8(index * MKQ.featureNameBytes + $0) }
            return String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
        }
        #expect(names.contains("input-i16"))
        // Codes of 16 bits have no zero point, and an image is no label map.
        options.inputZeroPoint = 3
        #expect(throws: ModelFileError(.badValue, .tensors, index: 0, field: "zeroPoint", value: 3)) {
            try parse(TestModels.bytes(options))
        }
        options.inputZeroPoint = 0
        let entry = MKQ.headerBytes + (Int(Section.tensors.rawValue) - 1) * MKQ.sectionEntryBytes
        let tensors = (0..<8).reduce(0) { $0 | Int(bytes[entry + 8 + $1]) << (8 * $1) }
        var labels = bytes
        #expect(labels[tensors + 8] == TensorRecord.Storage.i16.rawValue)
        labels[tensors + 8] = TensorRecord.Storage.labels.rawValue
        #expect(throws: ModelFileError.self) { try parse(resealed(labels)) }
    }

    /// Random changes behind correct checksums: whatever they hit, the reader either refuses or the file is in range.
    @Test(arguments: [nil, .slice, .volume] as [VoxelSpan?], [false, true])
    func mutatedContentsNeverTrap(_ span: VoxelSpan?, wideInput: Bool) {
        var options = TestModels.Options()
        options.excitation = span
        options.wideInput = wideInput
        let bytes = TestModels.bytes(options)
        var generator = SplitMix64(5)
        var refused = 0
        for _ in 0..<4000 {
            var damaged = bytes
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let at = Int.random(in: MKQ.headerBytes..<bytes.count, using: &generator)
                damaged[at] = [0, 1, 0x7F, 0x80, 0xFF, UInt8.random(in: 0...255, using: &generator)]
                    .randomElement(using: &generator)!
            }
            do {
                _ = try parse(resealed(damaged))
            } catch {
                refused += 1
                #expect(!"\(error)".contains("\n"))
            }
        }
        #expect(refused > 1000)
    }
}
