import Foundation
import ONNXSchema
import Testing

@testable import GraphIR

/// Files that mean harm: paths out of the folder, ranges beyond a file, cycles, sizes beyond measure; and damaged configurations.
@Suite struct ONNXHostileTests {
    /// A model whose first weight lies in `location`.
    private func model(_ entries: [String: String]) -> ONNXBuilder {
        var builder = ONNXBuilder.step()
        builder.model.graph.initializer[0].clearRawData()
        builder.model.graph.initializer[0].dataLocation = 1
        builder.model.graph.initializer[0].externalData = entries.sorted { $0.key < $1.key }.map { key, value in
            var entry = Onnx_StringStringEntryProto()
            (entry.key, entry.value) = (key, value)
            return entry
        }
        return builder
    }

    private func read(_ builder: ONNXBuilder, in folder: URL) throws -> FloatGraph {
        let path = folder.appending(path: "net.onnx").path
        return try ONNXImporter.graph(
            model: try #require(try Checkpoint.read(bytes: try builder.bytes(), path: path).onnx))
    }

    private func withFolder(_ body: (URL) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "mkedge-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // The weight has 216 elements of four bytes; 64 bytes stand before it.
        try Data(repeating: 0, count: 64 + 864).write(to: folder.appending(path: "weights.bin"))
        try body(folder)
    }

    @Test func externalDataStaysBesideTheModelAndInItsFile() throws {
        try withFolder { folder in
            let sound = ["location": "weights.bin", "offset": "64", "length": "864"]
            #expect(try read(model(sound), in: folder).nodes.count > 4)
            let places = ["", ".", "..", "/etc/passwd", "../weights.bin", "./weights.bin", "a/../weights.bin", "w\0"]
            for place in places + [String(repeating: "w", count: 300)] {
                let error = try #require(throws: ImportError.self) {
                    try read(model(sound.merging(["location": place]) { $1 }), in: folder)
                }
                #expect(error.description.contains("(must be a file beside the model)"), "\(error)")
            }
            let ranges = [
                ("-1", "864"), ("64", "-5"), ("65", "864"), ("928", "864"), ("9223372036854775807", "864"),
                ("64", "9223372036854775807"), ("x", "864"), ("64", "x"), ("64", "860"), ("99999999999999999999", "1"),
            ]
            for (offset, length) in ranges {
                #expect(throws: ImportError.self, "\(offset) \(length)") {
                    try read(model(["location": "weights.bin", "offset": offset, "length": length]), in: folder)
                }
            }
            #expect(throws: ImportError.self) { try read(model(["location": "missing.bin"]), in: folder) }
        }
    }

    /// Random entries: read or refused, never a trap.
    @Test func damagedExternalDataDoesNoHarm() throws {
        try withFolder { folder in
            var random = SeededGenerator(state: 11)
            let pieces = ["weights.bin", "", "..", "/", "0", "64", "864", "928", "-", "9", "e9", " ", "\0", "weights"]
            let path = folder.appending(path: "net.onnx").path
            let reader = ONNXTensorReader(path: path)
            var tensor = ONNXBuilder.step().model.graph.initializer[0]
            tensor.clearRawData()
            tensor.dataLocation = 1
            var found = 0
            for _ in 0..<100_000 {
                var entries = ["location": "weights.bin", "offset": "64", "length": "864"]
                for _ in 0..<Int.random(in: 0...2, using: &random) {
                    let key = ["location", "offset", "length", "checksum"].randomElement(using: &random)!
                    entries[key] = (0..<Int.random(in: 0...3, using: &random)).map { _ in
                        pieces.randomElement(using: &random)!
                    }.joined()
                }
                tensor.dims[0] = [4, 4, 4, 0, -1, 1 << 40, .max].randomElement(using: &random)!
                tensor.externalData = entries.map { key, value in
                    var entry = Onnx_StringStringEntryProto()
                    (entry.key, entry.value) = (key, value)
                    return entry
                }
                do throws(ImportError) {
                    let constant = try reader.read(tensor)
                    #expect(constant.values.count <= 216)
                    found += 1
                } catch {
                    if error.message.isEmpty || error.description.contains("\n") { Issue.record("\(error)") }
                }
            }
            #expect(1000..<100_000 ~= found, "\(found)")
        }
    }

    @Test func damagedConfigurationsDoNoHarm() {
        let original = configJSON(
            extras: "\"window\":{\"patch\":[64,64,64],\"overlap\":0.5},\"orientation\":\"RAS\",\"labels\":[\"a\",\"b\"]"
        )
        let words = [
            "-1", "1e999", "9223372036854775808", "null", "{}", "[", "\"", "\\ud800", "0.0", "true", ",", "[]]",
        ]
        var random = SeededGenerator(state: 12)
        var read = 0
        for round in 0..<100_000 {
            var bytes = original
            for _ in 0...Int.random(in: 0..<3, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                case 1: bytes[at] = UInt8.random(in: 0...255, using: &random)
                case 2:
                    let end = min(bytes.count, at + Int.random(in: 0...6, using: &random))
                    bytes.replaceSubrange(at..<end, with: Array(words.randomElement(using: &random)!.utf8))
                default: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...8, using: &random)))
                }
                if bytes.isEmpty { bytes = [0] }
            }
            do throws(ImportError) {
                _ = try ModelConfig(json: bytes, path: "f", fallbackName: "f")
                read += 1
            } catch {
                if error.message.isEmpty || error.description.contains("\n") {
                    Issue.record("round \(round): \(error)")
                }
            }
        }
        #expect(1000..<100_000 ~= read, "\(read)")
    }

    /// Twenty thousand doublings of the grid, sizes that leave an Int, a file that only refers to itself.
    @Test func sizesBeyondMeasureAreRefused() throws {
        var grown = ONNXBuilder(rank: 2)
        grown.weight("s", [4], { $0 < 2 ? 1 : 2 })
        for index in 0..<200 { grown.node("Upsample", [index == 0 ? "x" : "u\(index)", "s"], "u\(index + 1)") }
        grown.weight("w", [3, 2, 1, 1])
        grown.node("Conv", ["u200", "w"], "scores")
        let graph = try ONNXImporter.graph(
            model: try #require(try Checkpoint.read(bytes: try grown.bytes(), path: "f").onnx))
        #expect(throws: GraphError.self) { try graph.checkStorable() }
        #expect(throws: GraphError.self) { try graph.sizes(input: Size3(cube: 64)) }
        #expect(graph.cell == Size3(cube: 1))

        var cyclic = ONNXBuilder.step()
        cyclic.model.graph.node[0].input[0] = "scores"
        let error = try #require(throws: ImportError.self) {
            try ONNXImporter.graph(
                model: try #require(try Checkpoint.read(bytes: try cyclic.bytes(), path: "f").onnx))
        }
        #expect(error.details.contains { $0.contains("scores does not exist before it") }, "\(error.details)")
    }
}
