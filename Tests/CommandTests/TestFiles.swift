import Foundation

/// Sound inputs, small enough to spoil by hand.
enum TestFiles {
    /// A NIfTI-1 file of uint8 voxels, 1 mm, with the given direction of the stored axes (+1 right/anterior/superior) and
    /// order of the world axes. Signs other than +-1 are voxel sizes.
    static func nifti(
        _ voxels: [UInt8], dims: [Int], axes: [Int] = [0, 1, 2], signs: [Float] = [1, 1, 1],
        origin: [Float] = [0, 0, 0]
    ) -> [UInt8] {
        var header = [UInt8](repeating: 0, count: 352)
        func put<T>(_ value: T, _ at: Int) {
            withUnsafeBytes(of: value) { header.replaceSubrange(at..<(at + $0.count), with: $0) }
        }
        put(Int32(348), 0)
        for (index, value) in ([3] + dims + [1, 1, 1, 1]).enumerated() { put(Int16(value), 40 + 2 * index) }
        put(Int16(2), 70)  // uint8
        put(Int16(8), 72)
        for index in 0..<8 { put((1...3).contains(index) ? abs(signs[index - 1]) : Float(1), 76 + 4 * index) }
        put(Float(352), 108)
        put(Float(1), 112)
        put(UInt8(2), 123)  // mm
        put(Int16(2), 254)  // sform code
        for world in 0..<3 {
            for stored in 0..<3 { put(axes[stored] == world ? signs[stored] : Float(0), 280 + 16 * world + 4 * stored) }
            put(origin[world], 280 + 16 * world + 12)
        }
        header.replaceSubrange(344..<348, with: [0x6E, 0x2B, 0x31, 0])
        return header + voxels
    }

    static func volume(_ edge: Int = 20) -> [UInt8] {
        nifti(
            (0..<(edge * edge * edge)).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 5) }, dims: [edge, edge, edge])
    }

    static let layers = [(1, 4, 3, 1), (4, 4, 3, 2), (4, 3, 1, 1)]

    static var config: String {
        let list = layers.map { input, output, kernel, dilation in
            "{\"in_channels\": \(input), \"out_channels\": \(output), \"kernel_size\": \(kernel), "
                + "\"padding\": \(dilation * (kernel - 1) / 2), \"stride\": 1, \"dilation\": \(dilation)}"
        }
        return """
            {"header": "test", "bnorm": false, "gelu": false, "layers": [\(list.joined(separator: ", "))],
             "mkedge": {"name": "test", "orientation": "RAS",
              "window": {"patch": [16, 16, 16], "overlap": 0.5, "scheme": "monai", "weight": "gaussian"}}}
            """
    }

    /// The weights of `config` as safetensors.
    static var checkpoint: [UInt8] {
        var data: [UInt8] = []
        var entries: [String] = []
        var seed: UInt64 = 1
        // Scores are differences of hidden channels, so that which is largest changes from voxel to voxel.
        let head: [Float] = [1, -1, 0, 0, 0, 1, -1, 0, -1, 0, 1, 0]
        func add(_ name: String, _ shape: [Int]) {
            let start = data.count
            for index in 0..<shape.reduce(1, *) {
                seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let random = Float(Int32(truncatingIfNeeded: seed >> 32)) / Float(1 << 31) * 0.4
                let value = shape.count == 1 ? 0.05 : shape[0] == 3 ? head[index] : random
                withUnsafeBytes(of: value) { data += $0 }
            }
            entries.append(
                "\"\(name)\":{\"dtype\":\"F32\",\"shape\":\(shape),\"data_offsets\":[\(start),\(data.count)]}")
        }
        for (index, (input, output, kernel, _)) in layers.enumerated() {
            add("model.\(2 * index).weight", [output, input, kernel, kernel, kernel])
            add("model.\(2 * index).bias", [output])
        }
        return safetensors("{\(entries.joined(separator: ","))}", data)
    }

    static func safetensors(_ header: String, _ data: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { bytes += $0 }
        return bytes + Array(header.utf8) + data
    }
}

/// A folder with a checkpoint, its configuration, a volume, and the model made from them by the real converter.
final class Bench {
    let scratch: Scratch
    let checkpoint: String
    let config: String
    let volume: String
    let model: String

    init() throws {
        scratch = try Scratch()
        checkpoint = try scratch.write(TestFiles.checkpoint, "model.safetensors")
        config = try scratch.write(Array(TestFiles.config.utf8), "model.json")
        volume = try scratch.write(TestFiles.volume(), "head.nii")
        model = scratch.file("model.mkq")
        let made = try Tool.run(
            "mkquant", ["convert", checkpoint, "--config", config, "--calibrate", volume, "-o", model, "--quiet"])
        guard made.status == 0 else { throw Failure(text: made.errors) }
    }

    struct Failure: Error { var text: String }
}
