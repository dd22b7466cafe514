import Foundation
import Ops
import TestSupport
import Testing

/// Every kernel equals the NumPy model of its op (Tools/golden) bit for bit. `MKEDGE_GOLDEN_VECTORS` names another folder
/// of cases than the committed one.
@Suite struct GoldenVectorTests {
    static let folder =
        ProcessInfo.processInfo.environment["MKEDGE_GOLDEN_VECTORS"] ?? "\(Shared.packageRoot)/Tests/Goldens/ops"
    static let isas = ISA.allCases.filter(\.isSupported)

    @Test(arguments: isas) func kernelsEqualTheModel(_ isa: ISA) throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder)
            .filter { $0.hasSuffix(".safetensors") }.sorted()
        var ops: Set<String> = []
        for file in files {
            let test = try GoldenCase(contentsOf: URL(fileURLWithPath: "\(Self.folder)/\(file)"))
            let kernel = try #require(GoldenKernels.all[test.op], "\(file): no kernel for op '\(test.op)'")
            ops.insert(test.op)
            try compare(kernel(test, isa), test, isa)
        }
        #expect(ops == Set(GoldenKernels.all.keys), "ops with cases in \(Self.folder)")
    }

    private func compare(_ result: [Int], _ test: GoldenCase, _ isa: ISA) throws {
        let expected = try test["expected"]
        #expect(result.count == expected.values.count, "\(test.name) \(isa) \(expected.shape)")
        let wrong = zip(result, expected.values).enumerated().filter { $1.0 != $1.1 }
        guard let first = wrong.first else { return }
        Issue.record(
            """
            \(test.name) \(isa): \(wrong.count) of \(result.count) values differ, at \(first.offset) of \
            \(expected.shape) \(first.element.0) instead of \(first.element.1)
            """)
    }
}
