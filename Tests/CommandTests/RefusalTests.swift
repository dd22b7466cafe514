import Foundation
import TestSupport
import Testing

/// A spoiled input, and what the program must say of it.
struct Refusal: Sendable, CustomStringConvertible {
    enum Target: Sendable { case checkpoint, config, model, image, segmentArguments, convertArguments, calibration }

    var name: String
    var target: Target
    var status: Int32
    var says: String
    /// Bytes of the spoiled file from those of the sound one.
    var spoil: @Sendable ([UInt8]) -> [UInt8] = { $0 }
    var arguments: [String] = []

    var description: String { name }

    static func text(_ from: String, _ to: String) -> @Sendable ([UInt8]) -> [UInt8] {
        { bytes in
            var data = Data(bytes)
            let target = Data(from.utf8)
            var start = data.startIndex
            while let found = data.range(of: target, in: start..<data.endIndex) {
                data.replaceSubrange(found, with: Data(to.utf8))
                start = found.lowerBound + to.utf8.count
            }
            return [UInt8](data)
        }
    }

    static func set(_ at: Int, _ bytes: [UInt8]) -> @Sendable ([UInt8]) -> [UInt8] {
        {
            var copy = $0; copy.replaceSubrange(at..<(at + bytes.count), with: bytes); return copy
        }
    }

    static func cut(_ count: Int) -> @Sendable ([UInt8]) -> [UInt8] { { Array($0.prefix(count)) } }

    static let checkpoints: [Refusal] = [
        .init(name: "empty checkpoint", target: .checkpoint, status: 6, says: "model.bad", spoil: cut(0)),
        .init(name: "eight bytes", target: .checkpoint, status: 6, says: "model.bad", spoil: cut(8)),
        .init(name: "truncated header", target: .checkpoint, status: 6, says: "header", spoil: cut(100)),
        .init(
            name: "truncated data", target: .checkpoint, status: 6, says: "data_offsets",
            spoil: { Array($0.dropLast(4)) }),
        .init(name: "trailing data", target: .checkpoint, status: 6, says: "model.bad", spoil: { $0 + [1, 2, 3] }),
        .init(name: "huge header", target: .checkpoint, status: 6, says: "header", spoil: set(5, [0x7F])),
        .init(name: "unknown magic", target: .checkpoint, status: 6, says: "neither", spoil: set(8, [0x00])),
        .init(name: "wrong dtype", target: .checkpoint, status: 6, says: "dtype", spoil: text("F32", "Q32")),
        .init(name: "integer weights", target: .checkpoint, status: 6, says: "type", spoil: text("F32", "I32")),
        .init(
            name: "renamed tensor", target: .checkpoint, status: 6, says: "model.2.weight",
            spoil: text("model.2.weight", "model.7.weight")),
        .init(
            name: "negative shape", target: .checkpoint, status: 6, says: "shape",
            spoil: text("[3, 4, 1, 1, 1]", "[3,-4, 1, 1, 1]")),
        .init(
            name: "wrong shape", target: .checkpoint, status: 6, says: "model.4.weight",
            spoil: text("[3, 4, 1, 1, 1]", "[4, 3, 1, 1, 1]")),
        .init(
            name: "NaN weight", target: .checkpoint, status: 6, says: "nan",
            spoil: { Array($0.dropLast(4)) + [0, 0, 0xC0, 0x7F] }),
        .init(
            name: "zip without directory", target: .checkpoint, status: 6, says: "zip",
            spoil: set(0, [0x50, 0x4B, 3, 4])),
    ]

    static let configs: [Refusal] = [
        .init(name: "empty config", target: .config, status: 6, says: "JSON", spoil: cut(0)),
        .init(name: "half a config", target: .config, status: 6, says: "JSON", spoil: cut(60)),
        .init(
            name: "no layers", target: .config, status: 6, says: "layers is missing",
            spoil: text("\"layers\"", "\"other\"")),
        .init(
            name: "even kernel", target: .config, status: 6, says: "layers[0].kernel_size=4",
            spoil: text(
                "\"out_channels\": 4, \"kernel_size\": 3, \"padding\": 1",
                "\"out_channels\": 4, \"kernel_size\": 4, \"padding\": 1")),
        .init(
            name: "stride 2", target: .config, status: 6, says: "stride=2",
            spoil: text("\"stride\": 1", "\"stride\": 2")),
        .init(
            name: "dilation 0", target: .config, status: 6, says: "dilation=0",
            spoil: text("\"dilation\": 1", "\"dilation\": 0")),
        .init(
            name: "padding -1", target: .config, status: 6, says: "padding=-1",
            spoil: text("\"padding\": 1", "\"padding\": -1")),
        .init(
            name: "text for a number", target: .config, status: 6, says: "layers[0].dilation",
            spoil: text("\"dilation\": 1", "\"dilation\": \"one\"")),
        .init(
            name: "missing key", target: .config, status: 6, says: "layers[0].stride is missing",
            spoil: text("\"stride\": 1, ", "")),
        .init(name: "bad orientation", target: .config, status: 6, says: "orientation=RAR", spoil: text("RAS", "RAR")),
        .init(
            name: "bad patch", target: .config, status: 6, says: "window.patch", spoil: text("[16, 16, 16]", "[16, 16]")
        ),
        .init(name: "bad overlap", target: .config, status: 6, says: "overlap=0.95", spoil: text("0.5", "0.95")),
        .init(name: "bad scheme", target: .config, status: 6, says: "scheme=tiles", spoil: text("monai", "tiles")),
        .init(
            name: "gelu and elu", target: .config, status: 6, says: "gelu",
            spoil: text("\"gelu\": false", "\"gelu\": true, \"elu\": true")),
        .init(
            name: "too few layers", target: .config, status: 6, says: "not used",
            spoil: { bytes in
                let text = String(decoding: bytes, as: UTF8.self)
                let cut = text.range(of: ", {\"in_channels\": 4, \"out_channels\": 3")!
                let end = text.range(of: "}]", range: cut.lowerBound..<text.endIndex)!
                return Array((text[..<cut.lowerBound] + "]" + text[end.upperBound...]).utf8)
            }),
    ]

    static let models: [Refusal] = [
        .init(name: "empty model", target: .model, status: 6, says: "empty file", spoil: cut(0)),
        .init(name: "short model", target: .model, status: 6, says: "not a .mkq file", spoil: cut(63)),
        .init(
            name: "half a model", target: .model, status: 6, says: "truncated",
            spoil: { Array($0.prefix($0.count / 2)) }),
        .init(
            name: "not a model", target: .model, status: 6, says: "magic",
            spoil: { _ in [UInt8](repeating: 65, count: 4096) }),
        .init(name: "line ends converted", target: .model, status: 6, says: "magic", spoil: set(4, [0x0A])),
        .init(name: "next version", target: .model, status: 6, says: "format version 2", spoil: set(8, [2])),
        .init(name: "flipped header", target: .model, status: 6, says: "header checksum", spoil: set(70, [0x55])),
        .init(
            name: "flipped graph", target: .model, status: 6, says: "checksum",
            spoil: {
                var b = $0; b[520] ^= 1; return b
            }),
        .init(
            name: "flipped tail", target: .model, status: 6, says: "damaged",
            spoil: {
                var b = $0; b[b.count - 40] ^= 1; return b
            }),
        .init(name: "trailing bytes", target: .model, status: 6, says: "truncated or damaged", spoil: { $0 + [0] }),
    ]

    static let images: [Refusal] = [
        .init(name: "empty image", target: .image, status: 4, says: "bad", spoil: cut(0)),
        .init(name: "header only", target: .image, status: 4, says: "bad", spoil: cut(352)),
        .init(name: "one voxel short", target: .image, status: 4, says: "bad", spoil: { Array($0.dropLast()) }),
        .init(name: "no magic", target: .image, status: 4, says: "magic", spoil: set(344, [0x78])),
        .init(name: "dim[0]=0", target: .image, status: 4, says: "dim[0]", spoil: set(40, [0, 0])),
        .init(name: "dim[0]=9", target: .image, status: 4, says: "dim[0]", spoil: set(40, [9, 0])),
        .init(name: "dim[1]=0", target: .image, status: 4, says: "dim[1]", spoil: set(42, [0, 0])),
        .init(name: "dim[2] negative", target: .image, status: 4, says: "dim[2]", spoil: set(44, [0xFB, 0xFF])),
        .init(name: "two-dimensional", target: .image, status: 4, says: "bad", spoil: set(40, [2, 0])),
        .init(
            name: "18 GB claimed", target: .image, status: 4, says: "bad",
            spoil: set(42, [0xD0, 7, 0xB8, 0x0B, 0xDC, 5])),
        .init(
            name: "4D", target: .image, status: 4, says: "--volume",
            spoil: { bytes in
                var b = bytes
                b[40] = 4
                b[48] = 2
                return b + Array(bytes[352...])
            }),
        .init(name: "RGB", target: .image, status: 4, says: "datatype", spoil: set(70, [128, 0, 24, 0])),
        .init(name: "complex", target: .image, status: 4, says: "datatype", spoil: set(70, [32, 0, 64, 0])),
        .init(name: "unknown type", target: .image, status: 4, says: "datatype", spoil: set(70, [0xE7, 3])),
        .init(name: "bitpix lies", target: .image, status: 4, says: "bitpix", spoil: set(72, [16, 0])),
        .init(
            name: "vox_offset 100", target: .image, status: 4, says: "vox_offset", spoil: set(108, [0, 0, 0xC8, 0x42])),
        .init(
            name: "vox_offset NaN", target: .image, status: 4, says: "vox_offset", spoil: set(108, [0, 0, 0xC0, 0x7F])),
        .init(
            name: "no orientation", target: .image, status: 4, says: "--assume-orientation", spoil: set(254, [0, 0])),
        .init(
            name: "singular sform", target: .image, status: 4, says: "sform",
            spoil: {
                var b = $0; for i in 280..<328 { b[i] = 0 }; return b
            }),
        .init(name: "text file", target: .image, status: 4, says: "bad", spoil: { _ in Array("hello\n".utf8) }),
    ]

    static let arguments: [Refusal] = [
        .init(
            name: "missing image", target: .segmentArguments, status: 3, says: "absent.nii", arguments: ["absent.nii"]),
        .init(
            name: "no memory", target: .segmentArguments, status: 7, says: "needs",
            arguments: ["IMAGE", "--memory", "1MiB"]),
        .init(
            name: "bad memory", target: .segmentArguments, status: 2, says: "memory",
            arguments: ["IMAGE", "--memory", "lots"]),
        .init(
            name: "no threads", target: .segmentArguments, status: 2, says: "threads",
            arguments: ["IMAGE", "--threads", "0"]),
        .init(
            name: "bad mode", target: .segmentArguments, status: 2, says: "mode",
            arguments: ["IMAGE", "--mode", "slowly"]),
        .init(
            name: "bad tile", target: .segmentArguments, status: 2, says: "tile",
            arguments: ["IMAGE", "--tile", "0x4"]),
        .init(
            name: "unknown channel", target: .segmentArguments, status: 3, says: "flair=", arguments: ["flair=IMAGE"]),
        .init(name: "two images", target: .segmentArguments, status: 2, says: "twice", arguments: ["IMAGE", "IMAGE"]),
        .init(
            name: "bad percentile", target: .convertArguments, status: 2, says: "ranges",
            arguments: ["--ranges", "percentile:7"]),
        .init(name: "bad crop", target: .convertArguments, status: 2, says: "crop", arguments: ["--crop", "3"]),
        .init(
            name: "unreachable fidelity", target: .convertArguments, status: 10, says: "nothing written",
            arguments: ["--check", "1", "--ranges", "percentile:0.51"]),
        .init(
            name: "calibration missing", target: .calibration, status: 3, says: "absent.nii", arguments: ["absent.nii"]),
        .init(
            name: "calibration is no image", target: .calibration, status: 4, says: "model.json", arguments: ["CONFIG"]),
    ]

    static let all = checkpoints + configs + models + images + arguments
}

@Suite(.serialized) struct RefusalTests {
    @Test func thereAreAtLeastSixtyCases() { #expect(Refusal.all.count >= 60) }

    /// One line on stderr that names the fault, the right status, and no file that was not there before.
    @Test func everyRefusalIsOneClearLine() throws {
        let bench = try Bench()
        for refusal in Refusal.all { try check(refusal, bench) }
    }

    private func check(_ refusal: Refusal, _ bench: Bench) throws {
        let (program, arguments) = try command(refusal, bench)
        let before = bench.scratch.contents
        let result = try Tool.run(program, arguments)
        #expect(result.status == refusal.status, "\(refusal): status \(result.status), said \(result.errors)")
        #expect(result.errors.contains(refusal.says), "\(refusal): said \(result.errors)")
        #expect(bench.scratch.contents == before, "\(refusal) left \(bench.scratch.contents.subtracting(before))")
        if refusal.status != 2 {
            let lines = result.errors.split(separator: "\n").filter { !$0.hasPrefix("warning:") }
            #expect(lines.count == 1 && lines.first?.hasPrefix("error: ") == true, "\(refusal): \(result.errors)")
        }
        #expect(result.output.isEmpty, "\(refusal): printed \(result.output)")
    }

    private func command(_ refusal: Refusal, _ bench: Bench) throws -> (String, [String]) {
        let out = bench.scratch.file("out")
        func convert(_ checkpoint: String, _ config: String, _ volume: String, _ more: [String] = []) -> (
            String, [String]
        ) {
            (
                "mkquant",
                ["convert", checkpoint, "--config", config, "--calibrate", volume, "-o", out + ".mkq", "--quiet"] + more
            )
        }
        func segment(_ model: String, _ images: [String]) -> (String, [String]) {
            ("mkrun", ["segment", model] + images + ["-o", out + ".nii.gz", "--quiet"])
        }
        func spoiled(_ source: String, _ ending: String) throws -> String {
            let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: source)))
            return try bench.scratch.write(refusal.spoil(bytes), "model.bad" + ending)
        }
        let replaced = refusal.arguments.map {
            $0.replacingOccurrences(of: "IMAGE", with: bench.volume).replacingOccurrences(
                of: "CONFIG", with: bench.config)
        }
        switch refusal.target {
        case .checkpoint: return convert(try spoiled(bench.checkpoint, ""), bench.config, bench.volume)
        case .config: return convert(bench.checkpoint, try spoiled(bench.config, ".json"), bench.volume)
        case .model: return segment(try spoiled(bench.model, ".mkq"), [bench.volume])
        case .image: return segment(bench.model, [try spoiled(bench.volume, ".nii")])
        case .segmentArguments: return segment(bench.model, replaced)
        case .convertArguments: return convert(bench.checkpoint, bench.config, bench.volume, replaced)
        case .calibration: return convert(bench.checkpoint, bench.config, replaced[0])
        }
    }
}
