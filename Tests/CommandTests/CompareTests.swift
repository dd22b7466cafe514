import Foundation
import TestSupport
import Testing

/// `mkquant compare` and what else knows every op of a model by name.
@Suite struct CompareTests {
    private struct Network {
        let scratch: Scratch
        let source: String
        let config: String
        let volumes: [String]
        let model: String

        /// - Parameter name: in Tests/Goldens, without its suffix.
        init(_ name: String, channels: Int) throws {
            scratch = try Scratch()
            source = "\(Shared.packageRoot)/Tests/Goldens/\(name).onnx"
            let text = "{\"architecture\": \"onnx\", \"mkedge\": {\"normalization\": {\"kind\": \"minmax\"}}}"
            config = try scratch.write(Array(text.utf8), "net.json")
            var files: [String] = []
            for c in 0..<channels {
                let voxels = (0..<4096).map { i -> UInt8 in
                    let (x, y, z) = (i % 16 - 8, i / 16 % 16 - 8, i / 256 - 8)
                    return UInt8(truncatingIfNeeded: (x * x + y * y + z * z + 40 * c) + (i &* 29 >> 3) % 23)
                }
                files.append(try scratch.write(TestFiles.nifti(voxels, dims: [16, 16, 16]), "volume\(c).nii"))
            }
            volumes = files
            model = scratch.file("net.mkq")
            let made = try Tool.run(
                "mkquant",
                ["convert", source, "--config", config, "--calibrate"] + files + ["-o", model, "--quiet"])
            #expect(made.status == 0, "\(made.errors)")
        }

        /// By layer.
        func signalToNoise() throws -> [String: Double] {
            let run = try Tool.run(
                "mkquant",
                ["compare", source, "--config", config, "--model", model] + volumes + ["--json", "--quiet"])
            #expect(run.status == 0, "\(run.errors)")
            let found = try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any]
            let layers = found?["layers"] as? [[String: Any]] ?? []
            return Dictionary(
                uniqueKeysWithValues: layers.map {
                    // Without any noise there is no number.
                    ($0["name"] as? String ?? "?", $0["sqnr_db"] as? Double ?? .infinity)
                })
        }
    }

    /// A convolution with its ReLU writes bytes, of which another op makes the 16 bits of a sum: these bytes are the ReLU's, although the
    /// tensor has another name.
    @Test func bytesOfAWideSumAreComparedWithTheirReLU() throws {
        let network = try Network("onnx-nodes/block-rectified-sum", channels: 4)
        let inspect = try Tool.run("mkquant", ["inspect", network.model])
        #expect(inspect.output.contains("/conv/Conv.bytes") && inspect.output.contains("addWide"))
        let layers = try network.signalToNoise()
        #expect(layers.count == 6 && layers["/conv/Conv"] != nil, "\(layers.keys.sorted())")
        // Compared with the convolution's own output, what the ReLU cuts off would leave less than 10 dB.
        for (name, ratio) in layers { #expect(ratio > 25, "\(name): \(ratio) dB") }
    }

    @Test func networksWithGlobalPoolingGoTheWholeWay() throws {
        let network = try Network("onnx/unet-excitation-batch", channels: 1)
        let inspect = try Tool.run("mkquant", ["inspect", network.model])
        #expect(inspect.output.contains("globalPool"))
        let layers = try network.signalToNoise()
        let pooled = layers.filter { $0.key.contains("ReduceMean") || $0.key.contains("Gemm") }
        // Two layers behind each of five means, all in 16 bits of what has eight.
        #expect(pooled.count == 15, "\(layers.keys.sorted())")
        for (name, ratio) in pooled { #expect(ratio > 25, "\(name): \(ratio) dB") }
        let labels = network.scratch.file("labels.nii")
        let segment = try Tool.run("mkrun", ["segment", network.model, network.volumes[0], "-o", labels, "--quiet"])
        #expect(segment.status == 0, "\(segment.errors)")
        let bench = try Tool.run(
            "mkrun", ["bench", network.model, "--volume", "16x16x16", "--rounds", "1", "--per-op"])
        #expect(bench.status == 0 && bench.output.contains("ReduceMean"), "\(bench.errors) \(bench.output)")
    }
}
