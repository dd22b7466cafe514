import Foundation
import GraphIR

/// The data folder beside the repository; tests that need it are skipped, with a message, where it is absent.
enum SharedData {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "shared/data")

    static var isPresent: Bool {
        FileManager.default.fileExists(atPath: root.appending(path: "meshnet").path)
    }

    static func path(_ name: String) -> String { root.appending(path: name).path }

    static func network(_ name: String) throws -> FloatGraph {
        let config = try ModelConfig(path: path("meshnet/\(name)/model.json"), fallbackName: name)
        return try MeshNetImporter.graph(
            checkpoint: .read(path: path("meshnet/\(name)/model.pth")), config: config)
    }

    /// Voxels of a gzipped uint8 NIfTI-1 cube, in the order of the file.
    static func voxels(_ name: String) throws -> [UInt8] {
        let process = Process()
        process.executableURL = URL(filePath: "/bin/gzip")
        process.arguments = ["-dc", path(name)]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let bytes = [UInt8](try pipe.fileHandleForReading.readToEnd() ?? Data())
        process.waitUntilExit()
        // vox_offset is a float at byte 108; 352 in these files.
        let offset = bytes[108..<112].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return Array(bytes[Int(Float(bitPattern: offset))...])
    }

    /// Central cube of `side` voxels of a 256-cube.
    static func crop(_ voxels: [UInt8], side: Int) -> [UInt8] {
        let start = (256 - side) / 2
        return (0..<(side * side * side)).map { i in
            let (z, y, x) = (i / (side * side), i / side % side, i % side)
            return voxels[((z + start) * 256 + y + start) * 256 + x + start]
        }
    }

    /// Quantile normalization as the data folder's README defines it.
    static func normalized(_ voxels: [UInt8]) -> [Float] {
        let sorted = voxels.sorted()
        func quantile(_ q: Double) -> Double {
            let rank = q * Double(sorted.count - 1)
            let low = Int(rank)
            let high = min(low + 1, sorted.count - 1)
            return Double(sorted[low]) + (rank - Double(low)) * (Double(sorted[high]) - Double(sorted[low]))
        }
        let (low, high) = (quantile(0.02), quantile(0.98))
        return voxels.map { Float(min(max((Double($0) - low) / (high - low + 0.001), 0), 1)) }
    }
}
