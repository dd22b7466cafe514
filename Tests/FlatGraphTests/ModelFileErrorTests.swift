import FlatGraph
import TestSupport
import Testing

/// One lie in an otherwise sound file, behind correct checksums, and what the reader says of it.
struct Lie: CustomStringConvertible, Sendable {
    var section: Section
    /// Byte offset within the section.
    var offset: Int
    var bytes: [UInt8]
    var says: String

    var description: String { "\(section)+\(offset)=\(bytes)" }
}

@Suite struct ModelFileErrorTests {
    static let ops = OpRecord.size
    static let tensors = TensorRecord.size
    /// The default test network: conv0, conv1, lookup, conv2, head, argmax.
    static let lies: [Lie] = [
        Lie(section: .model, offset: 8, bytes: [200, 0, 0, 0], says: "model[0].inputTensor=200"),
        Lie(section: .model, offset: 12, bytes: [255, 255, 255, 255], says: "model[0].labelTensor="),
        Lie(section: .model, offset: 16, bytes: [9], says: "model[0]: a field has an unknown or reserved value"),
        Lie(section: .model, offset: 17, bytes: [65], says: "model[0]: a field has an unknown"),
        Lie(section: .model, offset: 24, bytes: [0, 0, 0, 0, 0, 0, 0xF8, 0x7F], says: "model[0].normalization"),
        Lie(section: .model, offset: 38, bytes: [0xF0, 0xBF], says: "model[0].quantiles"),
        Lie(section: .model, offset: 56, bytes: [1, 0, 0, 0], says: "model[0].spacing=1"),
        Lie(section: .model, offset: 68, bytes: [0, 0, 1, 0], says: "model[0].dims=65536"),
        Lie(section: .model, offset: 80, bytes: [0, 0, 0, 0], says: "model[0].patch=0"),
        Lie(section: .model, offset: 80, bytes: [0, 16, 0, 0], says: "model[0].windowTable"),
        Lie(section: .model, offset: 92, bytes: [0xE8, 3], says: "model[0].overlap=1000"),
        Lie(section: .model, offset: 127, bytes: [1], says: "model[0]: a field has an unknown"),
        Lie(section: .tensors, offset: tensors + 8, bytes: [7], says: "tensors[1]: a field"),
        Lie(section: .tensors, offset: tensors + 12, bytes: [0, 0, 0, 0], says: "tensors[1].channels=0"),
        Lie(section: .tensors, offset: tensors + 12, bytes: [9, 0, 0, 0], says: "ops[0].weightsBytes"),
        Lie(section: .tensors, offset: tensors + 16, bytes: [1, 0], says: "extent=1"),
        Lie(section: .tensors, offset: tensors + 24, bytes: [99, 0, 0, 0], says: "tensors[1].scales=99"),
        Lie(section: .tensors, offset: tensors + 28, bytes: [2, 0, 0, 0], says: "tensors[1].scales"),
        Lie(section: .tensors, offset: 0, bytes: [255, 255, 0, 0], says: "tensors[0].name"),
        Lie(section: .tensors, offset: 5 * tensors + 9, bytes: [3], says: "tensors[5].zeroPoint=3"),
        Lie(section: .scales, offset: 0, bytes: [0, 0, 0, 0x80], says: "scales[0].scale"),
        Lie(section: .scales, offset: 4, bytes: [0, 0, 0xC0, 0x7F], says: "scales[1].scale"),
        Lie(section: .ops, offset: 8, bytes: [77, 0], says: "ops[0]: a field has an unknown"),
        Lie(section: .ops, offset: 12, bytes: [50, 0, 0, 0], says: "ops[0].operands=50"),
        Lie(section: .ops, offset: 16, bytes: [2, 0, 0, 0], says: "ops[0].operandCount=2"),
        Lie(section: .ops, offset: 20, bytes: [70, 0, 0, 0], says: "ops[0].output=70"),
        Lie(section: .ops, offset: 20, bytes: [0, 0, 0, 0], says: "ops[0]"),
        Lie(section: .ops, offset: 24, bytes: [2, 0], says: "ops[0].kernel=2"),
        Lie(section: .ops, offset: 24, bytes: [17, 0], says: "ops[0].kernel=17"),
        Lie(section: .ops, offset: 30, bytes: [0, 0], says: "ops[0].dilation=0"),
        Lie(section: .ops, offset: 36, bytes: [3, 0], says: "ops[0].padding=3"),
        Lie(section: .ops, offset: 36, bytes: [0, 0], says: "ops[0].extent"),
        Lie(section: .ops, offset: 48, bytes: [1], says: "ops[0].weightsOffset=1"),
        Lie(section: .ops, offset: 55, bytes: [0x7F], says: "ops[0].weightsOffset"),
        Lie(section: .ops, offset: 56, bytes: [1], says: "ops[0].weightsBytes"),
        Lie(section: .ops, offset: 64, bytes: [90, 0, 0, 0], says: "ops[0].channelOffset=90"),
        Lie(section: .ops, offset: 2 * ops + 68, bytes: [255, 255, 255, 127], says: "ops[2].tableOffset"),
        Lie(section: .ops, offset: 5 * ops + 20, bytes: [1, 0, 0, 0], says: "ops[5]"),
        Lie(section: .operands, offset: 0, bytes: [99, 0, 0, 0], says: "operands[0].tensor=99"),
        Lie(section: .operands, offset: 0, bytes: [3, 0, 0, 0], says: "ops[0]"),
        Lie(section: .operands, offset: 4, bytes: [2, 0, 0, 0], says: "ops[1].operand=2: graph is not in order"),
        Lie(section: .channels, offset: 7, bytes: [0xFF], says: "ops[0].multiplier"),
        Lie(section: .channels, offset: 8, bytes: [31], says: "ops[0].shift=31"),
        Lie(section: .channels, offset: 8, bytes: [54], says: "ops[0].shift=54"),
        Lie(section: .channels, offset: 12, bytes: [1], says: "ops[0].multiplier"),
        Lie(
            section: .channels, offset: 0, bytes: [255, 255, 255, 127],
            says: "ops[0].channels: channel 0 could overflow"),
        Lie(section: .weights, offset: 1, bytes: [5], says: "ops[0].weight of an absent channel=5"),
        Lie(section: .weights, offset: 0, bytes: [0x80], says: "ops[0].weight=-128"),
        Lie(section: .labels, offset: 4, bytes: [255, 255, 0, 0], says: "labels[0].name"),
        Lie(section: .labels, offset: 15, bytes: [1], says: "labels[0]: a field"),
        Lie(section: .strings, offset: 2, bytes: [0xFF], says: "not UTF-8"),
        Lie(section: .strings, offset: 2, bytes: [0x1B], says: "not UTF-8"),
        Lie(section: .strings, offset: 2, bytes: [0xC0, 0x80], says: "not UTF-8"),
        Lie(section: .provenance, offset: 0, bytes: [255, 255, 255, 255], says: "provenance[0].key"),
        Lie(section: .channelNames, offset: 0, bytes: [255, 255, 255, 255], says: "channelNames[0].name"),
        Lie(
            section: .features, offset: 0, bytes: Array("scan-i32".utf8) + [0], says: "requires the feature 'scan-i32'"),
    ]

    @Test(arguments: lies) func aLieIsNamed(_ lie: Lie) throws {
        try expectRefused(TestModels.bytes(), lie)
    }

    private func expectRefused(_ good: [UInt8], _ lie: Lie) throws {
        let entry = MKQ.headerBytes + (Int(lie.section.rawValue) - 1) * MKQ.sectionEntryBytes
        let start = (0..<8).reduce(0) { $0 | Int(good[entry + 8 + $1]) << (8 * $1) }
        var bad = good
        for (i, byte) in lie.bytes.enumerated() { bad[start + lie.offset + i] = byte }
        do {
            _ = try parse(resealed(bad))
            Issue.record("accepted: \(lie)")
        } catch let error as ModelFileError {
            #expect(error.description.contains(lie.says), "said '\(error)'")
            #expect(!error.description.contains("\n"))
        }
    }

    /// The test network with means over the volume: conv0, pool, factors, multiply, beside, conv1, lookup, conv2, head, argmax;
    /// tensors input, conv0, means, factors, product, both, ….
    static let pooledLies: [Lie] = [
        Lie(section: .tensors, offset: 2 * tensors + 43, bytes: [3], says: "tensors[2]: a field"),
        Lie(section: .tensors, offset: 2 * tensors + 44, bytes: [1], says: "tensors[2]: a field"),
        Lie(section: .tensors, offset: 2 * tensors + 16, bytes: [1], says: "tensors[2].span=2"),
        Lie(section: .tensors, offset: 2 * tensors + 22, bytes: [1], says: "tensors[2].span=2"),
        Lie(section: .tensors, offset: 2 * tensors + 43, bytes: [0], says: "ops[1].output storage"),
        Lie(section: .tensors, offset: 2 * tensors + 43, bytes: [1], says: "ops[2].span"),
        Lie(section: .tensors, offset: 2 * tensors + 12, bytes: [4], says: "ops[1].channels=4"),
        Lie(section: .tensors, offset: 2 * tensors + 9, bytes: [4], says: "tensors[2].zeroPoint=4"),
        Lie(section: .tensors, offset: 0 * tensors + 43, bytes: [2], says: "ops[0].span"),
        Lie(section: .tensors, offset: 1 * tensors + 43, bytes: [2], says: "ops[0].span"),
        Lie(section: .tensors, offset: 3 * tensors + 43, bytes: [0], says: "ops[2].span"),
        Lie(section: .tensors, offset: 4 * tensors + 43, bytes: [2], says: "ops[3].span"),
        Lie(section: .tensors, offset: 5 * tensors + 43, bytes: [2], says: "ops[4].span"),
        Lie(section: .ops, offset: 2 * ops + 24, bytes: [3], says: "ops[2].span"),
        // Operands: input | conv0 | means | conv0, factors | product, factors | both | …
        Lie(section: .operands, offset: 4, bytes: [0], says: "ops[1].channels=5"),
        Lie(section: .operands, offset: 12, bytes: [3], says: "ops[3].span"),
        Lie(section: .operands, offset: 16, bytes: [0], says: "ops[3].channels=1"),
        Lie(section: .operands, offset: 20, bytes: [3], says: "ops[4].span"),
        Lie(section: .operands, offset: 28, bytes: [3], says: "ops[5].span"),
        Lie(section: .channels, offset: 5 * 16, bytes: [1], says: "ops[1].multiplier"),
        Lie(section: .channels, offset: 5 * 16 + 7, bytes: [0x80], says: "ops[1].multiplier"),
        Lie(section: .channels, offset: 5 * 16 + 8, bytes: [0], says: "ops[1].shift=0"),
        Lie(section: .channels, offset: 5 * 16 + 8, bytes: [63], says: "ops[1].shift=63"),
    ]

    @Test(arguments: pooledLies) func aLieOfMeansIsNamed(_ lie: Lie) throws {
        var options = TestModels.Options()
        options.excitation = .volume
        try expectRefused(TestModels.bytes(options), lie)
    }

    @Test func headerLies() {
        let good = TestModels.bytes()
        func said(_ change: (inout [UInt8]) -> Void) -> String {
            var bad = good
            change(&bad)
            do {
                _ = try parse(bad)
                return "accepted"
            } catch {
                return "\(error)"
            }
        }
        #expect(said { $0 = [] }.contains("not a .mkq file: 0 bytes"))
        #expect(said { $0 = Array($0[..<63]) }.contains("63 bytes"))
        #expect(said { $0[0] = 0x09 }.contains("magic"))
        #expect(said { $0[4] = 0x0A }.contains("magic"))
        #expect(said { $0[8] = 2 }.contains("format version 2 (this build reads 1)"))
        #expect(said { $0[16] ^= 1 }.contains("truncated or damaged"))
        #expect(said { $0[24] ^= 1 }.contains("header checksum"))
        #expect(said { $0[64 + 4] ^= 1 }.contains("header checksum"))
        #expect(
            said {
                $0[64 + 32 + 8] ^= 64; $0 = resealed($0)
            }.contains("section table: tensors.offset"))
        #expect(
            said {
                $0[64 + 16] ^= 1; $0 = resealed($0)
            }.contains("section table: model.records"))
        #expect(
            said {
                $0[64 + 23] = 0x7F; $0 = resealed($0)
            }.contains("section table: model.bytes"))
        #expect(
            said {
                $0[12] = 12; $0 = resealed($0)
            }.contains("section table: header.count"))
        #expect(
            said {
                $0[40] = 1; $0 = resealed($0)
            }.contains("header.reserved"))
        #expect(said { $0[$0.count - 1] = 1 }.contains("not zero"))
        #expect(said { $0[600] ^= 1 }.contains("checksum"))
    }
}
