import Testing

@testable import GraphIR

/// Damaged at random, a file is read or refused; it never traps, and never brings a value that is not finite.
@Suite struct CheckpointMutationTests {
    private static let count = 100_000

    private func mutate(_ original: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
        var bytes = original
        for _ in 0...Int.random(in: 0..<4, using: &random) {
            let at = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes[at] = UInt8.random(in: 0...255, using: &random)
            case 2: bytes[at] = [0, 0x7F, 0x80, 0xFF].randomElement(using: &random)!
            case 3: bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
            case 4: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...8, using: &random)))
            default:
                let from = Int.random(in: 0..<bytes.count, using: &random)
                let length = min(8, bytes.count - max(at, from))
                bytes.replaceSubrange(at..<(at + length), with: Array(bytes[from..<(from + length)]))
            }
            if bytes.isEmpty { bytes = [0] }
        }
        return bytes
    }

    /// Number of files that were still read.
    private func survivors(seed: UInt64, _ make: (inout SeededGenerator) -> [UInt8]) -> Int {
        var random = SeededGenerator(state: seed)
        var read = 0
        for round in 0..<Self.count {
            let bytes = make(&random)
            do {
                let checkpoint = try Checkpoint.read(bytes: bytes, path: "f")
                read += 1
                let isSound = checkpoint.tensors.allSatisfy {
                    $0.values.allSatisfy(\.isFinite) && $0.values.count == $0.shape.reduce(1, *)
                }
                if !isSound { Issue.record("round \(round): unsound tensors") }
            } catch {
                if error.message.isEmpty || error.description.contains("\n") {
                    Issue.record("round \(round): \(error)")
                }
            }
        }
        return read
    }

    @Test func safetensorsFiles() {
        let header = [tensorEntry("a", "F32", "[2,1]", 0, 8), tensorEntry("b", "F16", "[4]", 8, 16)].joined(
            separator: ",")
        let original = safetensors(
            "{\(header)}", [UInt8](floats: [1, 2]) + [UInt8](repeating: 0x3C, count: 8))
        let read = survivors(seed: 1) { mutate(original, &$0) }
        #expect(200..<Self.count ~= read, "\(read)")
    }

    @Test func zipFiles() {
        let original = torchZip(TensorSpec(), TensorSpec(name: "v", shape: [3], strides: [2]))
        let read = survivors(seed: 2) { mutate(original, &$0) }
        #expect(200..<Self.count ~= read, "\(read)")
    }

    /// The zip's checksums hide the pickle from most of the damage above; here they are right.
    @Test func pickles() {
        let original = stateDictPickle([
            TensorSpec(), TensorSpec(name: "v", shape: [3], strides: [2], isParameter: true),
        ])
        let read = survivors(seed: 3) { torchZip(mutate(original, &$0)) }
        #expect(50..<Self.count ~= read, "\(read)")
    }

    /// Programs of nothing but allowed opcodes reach states that damage does not.
    @Test func randomPrograms() {
        let text = "( N K\u{1} K\u{2} } ] ) t l a e s u R Q b 0 q\u{0} q\u{1} h\u{0} h\u{1}"
        let words: [[UInt8]] = text.split(separator: " ").map { Array($0.utf8) }
        var pieces = words + [[0x85], [0x86], [0x87], [0x93], [0x94], [0x88]]
        pieces += [
            Array("ccollections\nOrderedDict\n)R".utf8), Array("ctorch\nFloatStorage\n".utf8),
            Array("ctorch._utils\n_rebuild_tensor_v2\n".utf8),
            Array("ctorch._utils\n_rebuild_parameter\n".utf8),
            [0x8C, 7] + Array("storage".utf8), [0x8C, 1, 0x30],
            [0x8A, 8] + [UInt8](repeating: 0x7F, count: 8), [0x8A, 1, 0xFF],
        ]
        var tensor = PickleWriter()
        tensor.tensor(TensorSpec())
        pieces.append(Array(tensor.bytes.dropFirst(2)))
        let read = survivors(seed: 4) { random in
            let length = Int.random(in: 1..<40, using: &random)
            return torchZip(
                [0x80, 2] + (0..<length).flatMap { _ in pieces.randomElement(using: &random)! } + [0x2E])
        }
        #expect(read < Self.count)
    }

    /// Sound programs of random values, with tensors that mostly lie: deeper than damage gets.
    @Test func randomValues() {
        let read = survivors(seed: 5) { random in
            var writer = PickleWriter()
            writer.op("}q\u{0}")
            for item in 0..<Int.random(in: 1...3, using: &random) {
                writer.string(item == 0 && Bool.random(using: &random) ? "state_dict" : "t\(item)")
                value(depth: 0, &writer, &random)
                writer.op("s")
            }
            return torchZip(writer.stop())
        }
        #expect(200..<Self.count ~= read, "\(read)")
    }

    private func value(depth: Int, _ writer: inout PickleWriter, _ random: inout SeededGenerator) {
        switch Int.random(in: 0..<(depth < 3 ? 8 : 3), using: &random) {
        case 0: writer.integer(Int.random(in: -3...3, using: &random))
        case 1: writer.op("h\u{0}")
        case 2, 3: writer.tensor(randomTensor(&random))
        case 4:
            writer.op("(")
            for _ in 0..<Int.random(in: 0..<3, using: &random) { value(depth: depth + 1, &writer, &random) }
            writer.op(["t", "l"].randomElement(using: &random)!)
        case 5:
            value(depth: depth + 1, &writer, &random)
            writer.op("q\u{0}")
        default:
            writer.op("}")
            for item in 0..<Int.random(in: 0..<3, using: &random) {
                writer.string("d\(item)")
                value(depth: depth + 1, &writer, &random)
                writer.op("s")
            }
        }
    }

    private func randomTensor(_ random: inout SeededGenerator) -> TensorSpec {
        func pick(_ values: [Int]) -> Int { values.randomElement(using: &random)! }
        let rank = pick([0, 1, 1, 2, 2, 3, 33])
        var spec = TensorSpec()
        spec.offset = pick([0, 0, 0, 1, 5, 6, -1, .max])
        spec.shape = (0..<rank).map { _ in pick([0, 1, 1, 2, 3, -1, 1 << 32, .max]) }
        spec.strides = (0..<rank).map { _ in pick([0, 1, 1, 2, 3, -1, 1 << 62, .max, .min]) }
        if rank > 1, pick([0, 1, 2, 3]) == 0 { spec.strides.removeLast() }
        spec.isParameter = Bool.random(using: &random)
        return spec
    }
}
