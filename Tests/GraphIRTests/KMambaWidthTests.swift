import Testing

@testable import GraphIR

/// A network of SegMamba's widths, three scan orders and 16 states, with random weights: every tensor of the specification has its
/// place, and none is left over.
@Suite struct KMambaWidthTests {
    static let dims = [48, 96, 192, 384]
    static let config = """
        {"architecture": "kmamba3d", "in_channels": 4, "classes": 4, "dims": [48, 96, 192, 384], "depths": [2, 2, 2, 2],
         "kan_stages": [0, 0, 1, 1], "d_state": 16, "stem_kernel": 7, "full_width": 48, "scan_dirs": ["fwd", "bwd", "slice"],
         "patch": [64, 64, 64]}
        """

    private static func affine(_ name: String, _ n: Int) -> [(String, [Int])] {
        [("\(name).weight", [n]), ("\(name).bias", [n])]
    }

    private static func mixer(_ name: String, _ n: Int) -> [(String, [Int])] {
        let (inner, rank, states) = (2 * n, (n + 15) / 16, 16)
        return [("\(name).in_proj.weight", [2 * inner, n]), ("\(name).out_proj.weight", [n, inner])]
            + ["", "_b", "_s"].flatMap { end in
                [
                    ("\(name).conv1d\(end).weight", [inner, 1, 4]), ("\(name).conv1d\(end).bias", [inner]),
                    ("\(name).x_proj\(end).weight", [rank + 2 * states, inner]),
                    ("\(name).dt_proj\(end).weight", [inner, rank]), ("\(name).dt_proj\(end).bias", [inner]),
                    ("\(name).A\(end)_log", [inner, states]), ("\(name).D\(end)", [inner]),
                ]
            }
    }

    private static func block(_ name: String, _ n: Int, hasSplines: Bool) -> [(String, [Int])] {
        var result = affine("\(name).norm", n) + mixer("\(name).mixer", n)
        guard hasSplines else {
            return result + affine("\(name).ffn.norm", n) + [
                ("\(name).ffn.fc1.weight", [2 * n, n]), ("\(name).ffn.fc1.bias", [2 * n]),
                ("\(name).ffn.fc2.weight", [n, 2 * n]), ("\(name).ffn.fc2.bias", [n]),
            ]
        }
        result += affine("\(name).kan.norm", n)
        for j in 1...2 {
            result += [
                ("\(name).kan.fc\(j).base_weight", [n, n]), ("\(name).kan.fc\(j).spline_weight", [n, n, 8]),
                ("\(name).kan.fc\(j).spline_scaler", [n, n]), ("\(name).kan.dw\(j).conv.weight", [n, 1, 3, 3, 3]),
                ("\(name).kan.dw\(j).conv.bias", [n]), ("\(name).kan.dw\(j).bn.running_mean", [n]),
                ("\(name).kan.dw\(j).bn.running_var", [n]),
            ]
            result += affine("\(name).kan.dw\(j).bn", n)
        }
        return result
    }

    private static func up(_ name: String, _ inputs: Int, _ n: Int) -> [(String, [Int])] {
        [
            ("\(name).up.weight", [inputs, n, 2, 2, 2]), ("\(name).res.conv1.weight", [n, 2 * n, 3, 3, 3]),
            ("\(name).res.conv2.weight", [n, n, 3, 3, 3]), ("\(name).res.conv3.weight", [n, 2 * n, 1, 1, 1]),
        ] + (1...3).flatMap { affine("\(name).res.norm\($0)", n) }
    }

    static let shapes: [(String, [Int])] = {
        var result: [(String, [Int])] = [("stem.weight", [48, 4, 7, 7, 7]), ("stem.bias", [48])]
        for (s, n) in dims.enumerated() {
            if s > 0 {
                result += affine("stages.\(s).down.norm", dims[s - 1])
                result += [
                    ("stages.\(s).down.conv.weight", [n, dims[s - 1], 2, 2, 2]), ("stages.\(s).down.conv.bias", [n]),
                ]
            }
            for (i, k) in [3, 3, 1, 1].enumerated() {
                result += [
                    ("stages.\(s).gsc.conv\(i + 1).weight", [n, n, k, k, k]),
                    ("stages.\(s).gsc.conv\(i + 1).bias", [n]),
                ]
                result += affine("stages.\(s).gsc.norm\(i + 1)", n)
            }
            for b in 0..<2 { result += block("stages.\(s).blocks.\(b)", n, hasSplines: s >= 2) }
            result += affine("stages.\(s).out_norm", n)
        }
        for level in 0..<3 { result += up("dec.\(level)", dims[level + 1], dims[level]) }
        result += up("full", 48, 48) + [("full.skip.weight", [48, 4, 3, 3, 3])] + affine("full.skip_norm", 48)
        return result + [("head.weight", [4, 48, 1, 1, 1]), ("head.bias", [4])]
    }()

    /// A safetensors file of half-precision values around ±1/64 (variances positive).
    private static func file() -> [UInt8] {
        var (entries, data) = ([String](), [UInt8]())
        var state: UInt32 = 1
        for (name, shape) in shapes {
            let (count, begin) = (shape.reduce(1, *), data.count)
            let sign: UInt8 = name.hasSuffix("running_var") ? 0 : 0x80
            data.reserveCapacity(begin + 2 * count)
            for _ in 0..<count {
                state = state &* 1_664_525 &+ 1_013_904_223
                data.append(UInt8(truncatingIfNeeded: state >> 8))
                data.append(0x24 | UInt8(truncatingIfNeeded: state >> 24) & sign)
            }
            let dimensions = shape.map(String.init).joined(separator: ",")
            entries.append(tensorEntry(name, "F16", "[\(dimensions)]", begin, data.count))
        }
        return safetensors("{\(entries.joined(separator: ","))}", data)
    }

    @Test func everyTensorFindsItsPlace() throws {
        // What PyTorch counts for this configuration (its knots and running statistics left out).
        let parameters = Self.shapes.filter { !$0.0.contains(".running_") }.reduce(0) { $0 + $1.1.reduce(1, *) }
        #expect(parameters == 27_485_716)
        let config = try ModelConfig(json: Array(Self.config.utf8), path: "model.json", fallbackName: "wide")
        let checkpoint = try Checkpoint.read(bytes: Self.file(), path: "wide.safetensors")
        let graph = try NetworkImporter.network(checkpoint: checkpoint, config: config).graph
        let sizes = try graph.sizes(input: Size3(cube: 64))
        func shape(_ name: String) -> [Int]? {
            graph.nodes.first { $0.name == name }.map { [graph.channels[$0.output], sizes[$0.output].depth] }
        }
        #expect(shape("stem") == [48, 32])
        for (s, n) in Self.dims.enumerated() {
            #expect(shape("stages.\(s).out_norm") == [n, 32 >> s])
            #expect(shape("stages.\(s).blocks.1.mixer.slice.bc") == [32, 32 >> s])
            #expect(shape("stages.\(s).blocks.1.mixer.slice.back") == [2 * n, 32 >> s])
        }
        #expect(shape("stages.3.blocks.1.kan.fc2.basis") == [9 * 384, 4])
        #expect(shape("head") == [4, 64])
        #expect(graph.nodes.count { if case .scan = $0.op { true } else { false } } == 3 * 8)
    }
}
