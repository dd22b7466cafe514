import Foundation
import GraphIR
import Testing

/// Small KMamba-3D networks with random weights, and what PyTorch makes of a random input (Tools/train/kmamba/golden.py).
struct KMambaGolden: Sendable, CustomTestStringConvertible {
    static let tiny = KMambaGolden(name: "kmamba-tiny", size: Size3(cube: 32))
    static let all = [
        tiny, KMambaGolden(name: "kmamba-tiny-batch", size: Size3(depth: 32, height: 16, width: 32)),
        KMambaGolden(name: "kmamba-tiny-slices", size: Size3(depth: 32, height: 16, width: 48)),
    ]

    let name: String
    let size: Size3
    var testDescription: String { name }
    var folder: URL {
        URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Goldens/\(name)")
    }

    func network() throws -> (graph: FloatGraph, config: ModelConfig) {
        let checkpoint = try Checkpoint.read(path: folder.appending(path: "model.safetensors").path)
        let config = try ModelConfig(path: folder.appending(path: "model.json").path, fallbackName: "tiny")
        return try NetworkImporter.network(checkpoint: checkpoint, config: config)
    }

    func tensor(_ name: String) throws -> [Float] {
        let file = try Checkpoint.read(path: folder.appending(path: "io.safetensors").path)
        return try #require(file[name]).values
    }

    func input() throws -> FloatTensor { FloatTensor(channels: 2, size: size, values: try tensor("input")) }
}

@Suite struct KMambaTests {
    @Test(arguments: KMambaGolden.all) func scoresEqualPyTorch(_ golden: KMambaGolden) throws {
        let graph = try golden.network().graph.foldingBatchNorm()
        let expected = try golden.tensor("scores")
        var scores: [Float] = []
        let labels = FloatExecutor(graph).run(try golden.input()) { (index, tensor) throws(Never) in
            if index == graph.nodes.count - 2 { scores = tensor.values }
        }
        #expect(scores.count == expected.count)
        let worst = zip(scores, expected).map { abs($0 - $1) }.max() ?? .infinity
        let most = expected.map(abs).max() ?? 0
        // The stored scores are half-precision: 2^-11 relative; the rest is float32 summed in another order.
        #expect(worst < most * 0x1p-10, "worst \(worst) of \(most)")
        let wanted = try golden.tensor("labels")
        let equal = zip(labels, wanted).reduce(0) { $0 + ($1.0 == UInt16($1.1) ? 1 : 0) }
        // Labels may differ only where two scores are that close.
        #expect(equal >= labels.count - labels.count / 1000)
    }

    /// Batch normalizations are in the convolutions before them but for those that read the trunk.
    @Test func batchNormIsFolded() throws {
        let graph = try KMambaGolden.all[1].network().graph
        func norms(_ graph: FloatGraph) -> [String] {
            graph.nodes.filter { if case .batchNorm = $0.op { true } else { false } }.map(\.name)
        }
        #expect(norms(graph).count == 36)
        #expect(norms(graph.foldingBatchNorm()).allSatisfy { $0.hasSuffix("down.norm") || $0.hasSuffix("out_norm") })
    }

    @Test(arguments: [
        (#""scan_dirs": ["bwd"]"#, "scan_dirs="), (#""scan_dirs": ["fwd", "fwd"]"#, "scan_dirs="),
        (#""scan_dirs": ["fwd", "up"]"#, "scan_dirs="), (#""conv_norm": "layer""#, "conv_norm=layer"),
    ]) func otherVariantsAreRefused(_ field: String, _ says: String) {
        let json = #"{"architecture": "kmamba3d", "in_channels": 1, "classes": 2, \#(field)}"#
        #expect {
            _ = try ModelConfig(json: Array(json.utf8), path: "model.json", fallbackName: "x")
        } throws: {
            "\($0)".contains(says)
        }
    }
}

@Suite struct KMambaNameTests {
    /// The golden network under SegMamba's and efficient-kan's names, from a wrapped module: the same graph.
    @Test func otherNamesGiveTheSameGraph() throws {
        let original = try Checkpoint.read(path: KMambaGolden.tiny.folder.appending(path: "model.safetensors").path)
        let renamed = original.tensors.map { tensor in
            NamedTensor(name: "module." + Self.segMamba(tensor.name), shape: tensor.shape, values: tensor.values)
        }
        #expect(renamed.contains { $0.name == "module.vit.stages.2.0.mamba.A_b_log" })
        #expect(renamed.contains { $0.name == "module.decoder3.conv_block.conv2.conv.weight" })
        let checkpoint = try Checkpoint.read(bytes: safetensors(renamed), path: "renamed.safetensors")
        let config = try ModelConfig(
            path: KMambaGolden.tiny.folder.appending(path: "model.json").path, fallbackName: "tiny")
        let graph = try NetworkImporter.network(checkpoint: checkpoint, config: config).graph
        #expect(graph.nodes == (try KMambaGolden.tiny.network().graph.nodes))
    }

    @Test func twoTensorsForOneNameAreRefused() throws {
        let original = try Checkpoint.read(path: KMambaGolden.tiny.folder.appending(path: "model.safetensors").path)
        let head = try #require(original["head.bias"])
        let twin = NamedTensor(name: "out.conv.conv.bias", shape: head.shape, values: head.values)
        let checkpoint = try Checkpoint.read(
            bytes: safetensors(original.tensors + [twin]), path: "twice.safetensors")
        let config = try ModelConfig(
            path: KMambaGolden.tiny.folder.appending(path: "model.json").path, fallbackName: "tiny")
        #expect {
            _ = try NetworkImporter.network(checkpoint: checkpoint, config: config)
        } throws: {
            "\($0)".contains("head.bias and out.conv.conv.bias both stand for head.bias")
        }
    }

    private static func segMamba(_ name: String) -> String {
        var parts = name.split(separator: ".").map(String.init)
        if parts[0] == "stem" { return "vit.downsample_layers.0.0." + parts[1] }
        if parts[0] == "head" { return "out.conv.conv." + parts[1] }
        if parts[0] == "stages" {
            let stage = parts[1]
            switch parts[2] {
            case "down": return "vit.downsample_layers.\(stage).\(parts[3] == "norm" ? 0 : 1).\(parts[4])"
            case "gsc":
                let number = parts[3].last! == "1" ? "" : String(parts[3].last!)
                return "vit.gscs.\(stage).\(parts[3].hasPrefix("conv") ? "proj" : "norm")\(number).\(parts[4])"
            case "out_norm": return "vit.norm\(stage).\(parts[3])"
            default:
                if parts[4] == "mixer" { parts[4] = "mamba" }
                if parts[4] == "kan", let number = Int(parts[5].dropFirst(2)), parts[5].hasPrefix("fc") {
                    parts.replaceSubrange(5...5, with: ["layers", "\(number - 1)"])
                }
                return "vit.stages.\(stage).\(parts[3])." + parts[4...].joined(separator: ".")
            }
        }
        let at = parts[0] == "full" ? 1 : 2
        let decoder = "decoder" + (parts[0] == "full" ? "1" : "\(Int(parts[1])! + 2)")
        switch parts[at] {
        case "up": return "\(decoder).transp_conv.conv.weight"
        case "res" where parts[at + 1].hasPrefix("conv"): return "\(decoder).conv_block.\(parts[at + 1]).conv.weight"
        case "res": return "\(decoder).conv_block.\(parts[at + 1]).\(parts[at + 2])"
        default: return name
        }
    }
}

@Suite struct KANBasisTests {
    /// Cox-de Boor recursion on the extended uniform knots.
    private func coxDeBoor(_ k: Int, _ degree: Int, _ x: Double, _ knot: (Int) -> Double) -> Double {
        if degree == 0 { return x >= knot(k) && x < knot(k + 1) ? 1 : 0 }
        let left = (x - knot(k)) / (knot(k + degree) - knot(k)) * coxDeBoor(k, degree - 1, x, knot)
        let right =
            (knot(k + degree + 1) - x) / (knot(k + degree + 1) - knot(k + 1)) * coxDeBoor(k + 1, degree - 1, x, knot)
        return left + right
    }

    @Test(arguments: [5, 8]) func splinesEqualTheRecursionAtEveryCode(_ grid: Int) {
        let basis = KANBasis(grid: grid)
        for code in -128...127 {
            let x = Double(code) * basis.cell / 16
            var sum = 0.0
            for k in 0..<(grid + 3) {
                let expected = coxDeBoor(k, 3, x) { -1 + Double($0 - 3) * basis.cell }
                #expect(abs(basis.spline(k, x) - expected) < 1e-12, "spline \(k) at code \(code)")
                sum += basis.spline(k, x)
            }
            if abs(x) < 1 { #expect(abs(sum - 1) < 1e-12) }
            #expect(basis.output(grid + 3, x) >= 0)
        }
    }
}
