import Foundation
import TestSupport

/// Runs a built program as a user would.
struct Tool {
    var status: Int32
    var output: String
    var errors: String

    /// The programs lie beside the test bundle.
    static let folder: String = {
        let bundle = CommandLine.arguments[0]
        var url = URL(fileURLWithPath: bundle).deletingLastPathComponent()
        for _ in 0..<6 {
            if FileManager.default.isExecutableFile(atPath: url.appendingPathComponent("mkrun").path) {
                return url.path
            }
            url = url.deletingLastPathComponent()
        }
        return "\(Shared.packageRoot)/.build/release"
    }()

    /// - Parameter dataLimit: such as "64MiB": the system gives the program no more private memory than that.
    static func run(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], dataLimit: String? = nil
    ) throws -> Tool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "\(folder)/\(program)")
        process.arguments = arguments
        if let dataLimit {
            let kibibytes = Int(dataLimit.dropLast(3))! << 10
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments =
                ["-c", "ulimit -d \(kibibytes); exec \"$0\" \"$@\"", "\(folder)/\(program)"] + arguments
        }
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let (out, err) = (Pipe(), Pipe())
        process.standardOutput = out
        process.standardError = err
        try process.run()
        // Messages are far smaller than a pipe's buffer.
        process.waitUntilExit()
        func text(_ pipe: Pipe) -> String {
            String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        }
        return Tool(status: process.terminationStatus, output: text(out), errors: text(err))
    }
}

/// A folder of its own for a test, removed at the end.
final class Scratch {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "mkedge-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    func write(_ bytes: [UInt8], _ name: String) throws -> String {
        try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }

    var contents: Set<String> { Set((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []) }
}
