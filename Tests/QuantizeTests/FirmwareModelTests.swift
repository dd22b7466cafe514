import FixedPoint
import FlatGraph
import Foundation
import GraphIR
import MKRuntime
import Ops
import TestSupport
import Testing

@testable import Quantize

/// The models and inputs of Firmware-Sim give the committed checksums in this build too, in every instruction set of the CPU.
/// With MKEDGE_WRITE_FIRMWARE_MODELS=1 the models and inputs are made anew (the checksums then change: `make -C Firmware-Sim
/// bits` prints them).
@Suite struct FirmwareModelTests {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Firmware-Sim")

    struct Model: Sendable {
        var name: String
        var extent: Extent
        var channels: Int
    }
    static let models = [
        Model(name: "meshnet", extent: Extent(depth: 24, height: 20, width: 22), channels: 1),
        Model(name: "kmamba", extent: Extent(cube: 16), channels: 2),
    ]

    static func bytes(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: folder.appending(path: "models/\(name)")))
    }

    /// Five layers of ten channels with random weights: 20 KB, a receptive field of 21 voxels.
    static func meshnet() -> [UInt8] {
        var options = TestModels.Options()
        (options.channels, options.classes, options.dilations, options.lookupAfter) = (10, 4, [1, 2, 4, 2, 1], nil)
        return TestModels.bytes(options)
    }

    /// In header, graph and weights: every one of the file's bits.
    @Test func everyFlippedBitOfTheMeshnetIsDetected() throws {
        let bytes = try Self.bytes("meshnet.mkq")
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: MKQ.alignment)
        defer { memory.deallocate() }
        memory.copyBytes(from: bytes)
        _ = try ModelFile(validating: UnsafeRawBufferPointer(memory), owner: nil)
        var undetected: [Int] = []
        for bit in 0..<(8 * bytes.count) {
            memory[bit / 8] ^= 1 << UInt8(bit % 8)
            if (try? ModelFile(validating: UnsafeRawBufferPointer(memory), owner: nil)) != nil {
                undetected.append(bit)
            }
            memory[bit / 8] ^= 1 << UInt8(bit % 8)
        }
        bytes.withUnsafeBytes { #expect(memory.elementsEqual($0)) }
        #expect(undetected == [])
    }

    @Test func meshnetIsWhatItIsMadeOf() throws {
        #expect(try Self.bytes("meshnet.mkq") == Self.meshnet())
    }

    @Test(arguments: models) func checksumsAreTheCommittedOnes(_ model: Model) throws {
        let table = try String(contentsOf: Self.folder.appending(path: "tables/bits.txt"), encoding: .utf8)
        let line = try #require(table.split(separator: "\n").first { $0.hasPrefix(model.name + " ") })
        let memory = TestModels.Memory(try Self.bytes("\(model.name).mkq"))
        let file = try memory.file()
        let codes = try Self.bytes("\(model.name).raw")
        let plan = try RunPlan(file: file, volume: model.extent, mode: .whole, threads: 1, materializeScores: true)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.arenaBytes, alignment: 64)
        defer { arena.deallocate() }
        for isa in ISA.allCases where isa.isSupported {
            var labels = [UInt8](repeating: 0, count: model.extent.voxels)
            var scores = CRC32C()
            let session = try Session(file: file, plan: plan, arena: arena, isa: isa)
            let observer: OpObserver = { op, layout, tensor in
                guard op == file.opCount - 2 else { return }
                for block in 0..<layout.blocks {
                    for row in 0..<layout.extent.rows {
                        let words = tensor + layout.rowOffset(block: block, z: 0, y: row)
                        scores.update(UnsafeRawBufferPointer(start: words, count: layout.extent.width * 4))
                    }
                }
            }
            try codes.withUnsafeBufferPointer { codes in
                try labels.withUnsafeMutableBytes {
                    try session.run(codes: codes, labels: $0, parallel: SerialPool(), observer: observer)
                }
            }
            let sum = labels.withUnsafeBytes { CRC32C.checksum($0) }
            #expect(Set(labels).count > 1, "one label everywhere would hide differences")
            #expect(
                line == "\(model.name) labels \(Self.hex(sum)) scores \(Self.hex(scores.value))", "\(isa.name)")
        }
    }

    private static func hex(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    @Test(.enabled(if: ProcessInfo.processInfo.environment["MKEDGE_WRITE_FIRMWARE_MODELS"] != nil, "not asked for"))
    func write() throws {
        try Data(Self.meshnet()).write(to: Self.folder.appending(path: "models/meshnet.mkq"))
        try Data(try kmamba()).write(to: Self.folder.appending(path: "models/kmamba.mkq"))
        for model in Self.models {
            var generator = SplitMix64(UInt64(model.channels))
            var codes: [UInt8] = []
            for channel in 0..<model.channels {
                for z in 0..<model.extent.depth {
                    for y in 0..<model.extent.height {
                        for x in 0..<model.extent.width {
                            // A few shells with noise, so that neighbouring voxels have something to do with each other.
                            let distance = (z - 9) * (z - 9) + (y - 8) * (y - 8) + (x - 7 - channel) * (x - 7 - channel)
                            let shell = distance / 12 % 2 == 0 ? 150 : 30
                            codes.append(UInt8(shell + Int.random(in: 0...90, using: &generator)))
                        }
                    }
                }
            }
            try Data(codes).write(to: Self.folder.appending(path: "models/\(model.name).raw"))
        }
    }

    /// The network of Tests/Goldens/kmamba-tiny in integers.
    private func kmamba() throws -> [UInt8] { try KMambaIntegerTests.tinyModel().bytes }
}
