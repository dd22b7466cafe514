import Testing

@testable import GraphIR

/// Sound files, and what must come out of them.
@Suite struct CheckpointReadingTests {
    private func read(_ bytes: [UInt8]) throws -> Checkpoint {
        try Checkpoint.read(bytes: bytes, path: "f.pth")
    }

    // MARK: safetensors

    @Test func elementTypes() throws {
        var data: [UInt8] = []
        data.little(Int(bitPattern: UInt(Double(-1.5).bitPattern)), bytes: 8)
        data += [UInt8](floats: [0.25, 3])
        data.little(0x3C00, bytes: 2)  // half 1
        data.little(0x8001, bytes: 2)  // half, the smallest subnormal, negative
        data.little(0x7BFF, bytes: 2)  // half 65504
        data.little(0xC040, bytes: 2)  // bfloat16 -3
        data.little(7, bytes: 8)
        let header = [
            tensorEntry("d", "F64", "[]", 0, 8), tensorEntry("f", "F32", "[2]", 8, 16),
            tensorEntry("h", "F16", "[3,1]", 16, 22), tensorEntry("b", "BF16", "[1,1]", 22, 24),
            tensorEntry("bn.num_batches_tracked", "I64", "[]", 24, 32),
            "\"__metadata__\":{\"format\":\"pt\"}",
        ]
        let checkpoint = try read(safetensors("{" + header.joined(separator: ",") + "}   ", data))
        #expect(checkpoint.container == .safetensors)
        #expect(checkpoint.tensors.map(\.name) == ["d", "f", "h", "b"])
        #expect(checkpoint["d"] == NamedTensor(name: "d", shape: [], values: [-1.5]))
        #expect(checkpoint["f"]?.values == [0.25, 3])
        #expect(checkpoint["h"]?.values == [1, -0x1p-24, 65504])
        #expect(checkpoint["h"]?.shape == [3, 1])
        #expect(checkpoint["b"]?.values == [-3])
        #expect(checkpoint["bn.num_batches_tracked"] == nil)
    }

    @Test func orderOfTheHeaderDoesNotMatter() throws {
        let header = [
            tensorEntry("b", "F32", "[1]", 4, 8), tensorEntry("e", "F32", "[0,5]", 4, 4),
            tensorEntry("a", "F32", "[1]", 0, 4),
        ]
        let checkpoint = try read(
            safetensors("{" + header.joined(separator: ",") + "}", [UInt8](floats: [1, 2])))
        #expect(checkpoint.tensors.map(\.name) == ["a", "e", "b"])
        #expect(checkpoint["b"]?.values == [2])
        #expect(checkpoint["e"]?.values == [])
    }

    /// Float16 of the standard library is the oracle for the whole range.
    @Test func everyHalf() {
        for bits in UInt16.min...UInt16.max {
            let expected = Float(Float16(bitPattern: bits))
            let found = StoredType.float16.value([UInt8(bits & 255), UInt8(bits >> 8)], 0)
            #expect(found == expected || found.isNaN && expected.isNaN, "\(bits)")
        }
    }

    // MARK: torch zip

    private func expectSix(_ bytes: [UInt8], name: String = "w") throws {
        let checkpoint = try read(bytes)
        #expect(checkpoint.container == .torchZip)
        #expect(checkpoint[name] == NamedTensor(name: name, shape: [2, 3], values: sixFloats))
    }

    @Test func stateDict() throws {
        try expectSix(torchZip(TensorSpec()))
        try expectSix(torchZip(TensorSpec(isParameter: true)))
        try expectSix(torchZip(stateDictPickle([TensorSpec()], metadata: false)))
    }

    @Test(arguments: [["state_dict"], ["model"]]) func nesting(_ keys: [String]) throws {
        try expectSix(torchZip(stateDictPickle([TensorSpec()], under: keys)))
    }

    @Test(arguments: ["", "archive/", "a/b/", "model.last/"]) func anyFolder(_ folder: String) throws {
        try expectSix(torchZip(stateDictPickle([TensorSpec()]), folder: folder))
    }

    @Test func comment() throws {
        try expectSix(
            torchZip(TensorSpec()) { $0.comment = Array("PK\u{5}\u{6} is not the end here, too short".utf8) })
    }

    @Test func bigEndian() throws {
        let storage = [UInt8](floats: sixFloats, bigEndian: true)
        try expectSix(
            torchZip(stateDictPickle([TensorSpec()]), ["0": storage]) {
                $0.add("archive/byteorder", Array("big".utf8))
            })
        try expectSix(torchZip(TensorSpec()) { $0.add("archive/byteorder", Array("little".utf8)) })
    }

    @Test func strides() throws {
        let transposed = TensorSpec(name: "t", shape: [3, 2], strides: [1, 3])
        let column = TensorSpec(name: "c", offset: 1, shape: [2], strides: [3])
        let repeated = TensorSpec(name: "r", offset: 5, shape: [2, 2], strides: [0, 0])
        let hugeStride = TensorSpec(name: "h", offset: 2, shape: [1, 2], strides: [.max, 1])
        let checkpoint = try read(torchZip(transposed, column, repeated, hugeStride))
        #expect(checkpoint["t"]?.values == [1, 4, -2, 5, 3.5, 6])
        #expect(checkpoint["c"]?.values == [-2, 5])
        #expect(checkpoint["r"]?.values == [6, 6, 6, 6])
        #expect(checkpoint["h"]?.values == [3.5, 4])
    }

    @Test func scalarsAndEmpty() throws {
        let scalar = TensorSpec(name: "s", offset: 2, shape: [], strides: [])
        let empty = TensorSpec(name: "e", shape: [0, 7], strides: [7, 1])
        let checkpoint = try read(torchZip(scalar, empty))
        #expect(checkpoint["s"] == NamedTensor(name: "s", shape: [], values: [3.5]))
        #expect(checkpoint["e"] == NamedTensor(name: "e", shape: [0, 7], values: []))
    }

    @Test func storageTypes() throws {
        var double: [UInt8] = []
        double.little(Int(Double(0.5).bitPattern), bytes: 8)
        let specs = [
            TensorSpec(name: "d", storage: "DoubleStorage", key: "d", count: 1, shape: [1], strides: [1]),
            TensorSpec(name: "h", storage: "HalfStorage", key: "h", count: 1, shape: [1], strides: [1]),
            TensorSpec(name: "b", storage: "BFloat16Storage", key: "b", count: 1, shape: [1], strides: [1]),
            TensorSpec(
                name: "bn.num_batches_tracked", storage: "LongStorage", key: "missing", count: 1, shape: [],
                strides: []),
        ]
        let checkpoint = try read(
            torchZip(stateDictPickle(specs), ["d": double, "h": [0, 0xC0], "b": [0x80, 0x3F]]))
        #expect(checkpoint.tensors.map(\.values) == [[0.5], [-2], [1]])
    }

    /// Protocol 4 framing, short strings, STACK_GLOBAL, MEMOIZE, and numbers, lists and None beside the tensors.
    @Test func protocolFour() throws {
        var writer = PickleWriter(version: 4)
        writer.bytes += [0x95, 4, 0, 0, 0, 0, 0, 0, 0]
        func short(_ text: String) { writer.bytes += [0x8C, UInt8(text.utf8.count)] + Array(text.utf8) }
        short("collections")
        short("OrderedDict")
        writer.bytes += [0x93, 0x94]
        writer.op(")R(")
        writer.string("epoch")
        writer.bytes += [UInt8(ascii: "J"), 0xFE, 0xFF, 0xFF, 0xFF, UInt8(ascii: "0"), UInt8(ascii: "K"), 9]
        writer.string("history")
        writer.op("](K\u{1}M\u{1}\u{2}Ne")
        writer.string("lr")
        writer.op("G")
        writer.bytes += [0x3F, 0xF0, 0, 0, 0, 0, 0, 0]
        writer.string("w")
        writer.tensor(TensorSpec())
        writer.op("u")
        try expectSix(torchZip(writer.stop()))
    }

    /// Objects that hold themselves, and very deep ones, are no tensors and cost nothing.
    @Test func recursion() throws {
        var writer = PickleWriter()
        writer.op("}q\u{0}")
        writer.string("self")
        writer.op("h\u{0}s")
        writer.string("list")
        writer.op("]q\u{1}h\u{1}as")
        writer.string("deep")
        writer.op(")")
        writer.bytes += [UInt8](repeating: 0x85, count: 1_000_000)
        writer.op("s")
        writer.string("w")
        writer.tensor(TensorSpec())
        writer.op("s")
        try expectSix(torchZip(writer.stop()))
    }

    // MARK: Helpers of the readers

    @Test func sha256Vectors() {
        #expect(SHA256.hex([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(
            SHA256.hex(Array("abc".utf8))
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let million = [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000)
        #expect(SHA256.hex(million) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
        let two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
        #expect(
            SHA256.hex(Array(two.utf8)) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
    }

    @Test func crc32Vector() { #expect(CRC32.checksum(Array("123456789".utf8)[...]) == 0xCBF4_3926) }

    @Test func messagesAreOneShortLine() {
        let error = ImportError(
            .malformed, "a\nb.pth",
            "tensor \u{1B}[31m\n\u{2028}" + String(repeating: "x", count: 100_000) + " end")
        #expect(error.description.hasPrefix("a\\u{a}b.pth: tensor \\u{1b}[31m\\u{a}\\u{2028}xxx"))
        #expect(error.description.hasSuffix("x end"))
        #expect(error.description.unicodeScalars.count < 500)
        #expect(ImportError(.malformed, "f", "α=1").description == "f: α=1")
    }
}
