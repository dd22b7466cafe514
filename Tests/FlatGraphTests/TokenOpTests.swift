import FlatGraph
import Foundation
import Ops
import TestSupport
import Testing

@Suite struct TokenOpTests {
    /// Constants that are allowed: softplus rises by 2^10 a step, everything else is what absent channels have.
    static let scanTable: [UInt32] =
        (0..<UInt32(Scan.softplusEntries)).map { $0 << 10 } + [0, 0, 0]
        + [1, 1, 1, 0, 0, 33].flatMap { [UInt32](repeating: $0, count: Scan.group) }
        + [UInt32](repeating: 0, count: Scan.group)

    func refusal(_ change: (inout [UInt32]) -> Void) -> String {
        var options = TestModels.Options()
        options.scanTable = Self.scanTable
        change(&options.scanTable!)
        do {
            _ = try parse(TestModels.bytes(options))
            return ""
        } catch { return "\(error)" }
    }

    @Test func constantsOfAScanAreChecked() {
        #expect(refusal { _ in } == "")
        #expect(refusal { $0[512] = 1 << 31 | 1 }.contains("softplus="))
        #expect(refusal { $0[100] = 1 << 31 }.contains("softplus step="))
        #expect(refusal { $0[100] -= 1 << 11 }.contains("softplus step=-1024"))
        let fields = ["stepShift", "injectionShift", "exponentBits", "multiplier", "skip", "shift"]
        for (index, name) in fields.enumerated() where name != "skip" {
            #expect(refusal { $0[516 + index * Scan.group + 3] = 1 << 31 }.contains("\(name)="))
        }
    }

    /// Every kind of op has golden vectors (Tools/golden), and the model's name for it is here.
    @Test func everyKindHasGoldenVectors() throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: "\(Shared.packageRoot)/Tests/Goldens/ops")
        var raw: UInt16 = 1
        while let kind = OpRecord.Kind(rawValue: raw) {
            let name = Self.model(of: kind)
            #expect(files.contains { $0.hasPrefix("\(name)-") }, "\(kind): no cases of \(name)")
            raw += 1
        }
        #expect(raw > 16)
    }

    private static func model(of kind: OpRecord.Kind) -> String {
        switch kind {
        case .conv3d: "conv3d"
        case .lookup: "lookup"
        case .add: "add"
        case .concat: "concat"
        case .argmax: "argmax"
        case .groupNorm: "norm"
        case .layerNorm: "layer_norm"
        case .addWide: "add_wide"
        case .depthToSpace: "depth_to_space"
        case .depthwise: "depthwise"
        case .tokenConv: "token_conv"
        case .kanBasis: "kan_basis"
        case .scan: "scan"
        case .gate: "gate"
        case .narrow: "narrow"
        case .lookupWide: "lookup_wide"
        case .sliceOrder: "slice_order"
        case .maxPool: "max_pool"
        case .multiply: "multiply"
        case .resize: "resize"
        case .globalPool: "global_pool"
        }
    }
}
