import Glibc
import Testing

@testable import GraphIR

/// One published network: the facts of the data folder's README, and the first weights as another program reads them.
struct RealFile: Sendable, CustomTestStringConvertible {
    var model: String
    var container: Checkpoint.Container
    var tensors: Int
    var parameters: Int
    var firstName: String
    var firstShape: [Int]
    var lastName: String
    var lastShape: [Int]
    var sha256: String
    /// Bits of the first tensor's first three values and its last.
    var bits: [UInt32]

    var testDescription: String { model }

    /// ../shared/data/meshnet beside the checkout.
    static let folder: String = {
        let parts = #filePath.split(separator: "/").dropLast(4)
        return "/" + parts.joined(separator: "/") + "/shared/data/meshnet"
    }()

    var path: String { "\(Self.folder)/\(model)/model.pth" }

    static var isPresent: Bool { unsafe access("\(folder)/mindgrab/model.pth", R_OK) == 0 }

    static let all = [
        RealFile(
            model: "model5_gw_ae", container: .safetensors, tensors: 20, parameters: 5598,
            firstName: "model.0.weight", firstShape: [5, 1, 3, 3, 3], lastName: "model.18.weight",
            lastShape: [3, 5, 1, 1, 1], sha256: "8b83b35b971305b9",
            bits: [0x3dec_e1e6, 0x3ec6_3d47, 0x3e7c_e478, 0xbd9e_5ffc]),
        RealFile(
            model: "mindgrab", container: .torchZip, tensors: 27, parameters: 146_237,
            firstName: "model.0.0.weight", firstShape: [15, 1, 3, 3, 3], lastName: "model.25.bias",
            lastShape: [2],
            sha256: "31f1bda17b8d3eee",
            bits: [0x3c33_082d, 0x3c98_ba91, 0xbd49_26c9, 0xbd33_937b]),
        RealFile(
            model: "model21_104class", container: .safetensors, tensors: 18, parameters: 86_372,
            firstName: "model.0.weight", firstShape: [21, 1, 3, 3, 3], lastName: "model.16.weight",
            lastShape: [104, 21, 1, 1, 1], sha256: "09e80b88aac5069c",
            bits: [0xc024_a47e, 0x3f97_5069, 0xbf45_c110, 0xbf84_5ebd]),
    ]
}

@Suite struct CheckpointRealFileTests {
    @Test(.enabled(if: RealFile.isPresent, "needs ../shared/data/meshnet"), arguments: RealFile.all)
    func published(_ file: RealFile) throws {
        let checkpoint = try Checkpoint.read(path: file.path)
        #expect(checkpoint.container == file.container)
        #expect(checkpoint.sha256.hasPrefix(file.sha256))
        #expect(checkpoint.tensors.count == file.tensors)
        #expect(checkpoint.tensors.reduce(0) { $0 + $1.values.count } == file.parameters)
        #expect(checkpoint[file.firstName]?.shape == file.firstShape)
        let values = try #require(checkpoint[file.firstName]?.values)
        #expect((values.prefix(3) + values.suffix(1)).map(\.bitPattern) == file.bits)
        #expect(checkpoint[file.lastName]?.shape == file.lastShape)
        #expect(checkpoint["model.99.weight"] == nil)
        for tensor in checkpoint.tensors { #expect(tensor.values.count == tensor.shape.reduce(1, *)) }
    }
}
