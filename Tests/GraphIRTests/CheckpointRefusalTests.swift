import Glibc
import Testing

@testable import GraphIR

/// Runs a reader that must refuse, and checks how.
func expectRefusal(_ refusal: Refusal) {
    do {
        _ = try Checkpoint.read(bytes: refusal.bytes(), path: "f.pth")
        Issue.record("\(refusal.name): accepted")
    } catch {
        #expect(error.kind == refusal.kind, "\(error)")
        #expect(error.message.contains(refusal.message), "\(error)")
        #expect(error.description == "f.pth: " + error.message)
        #expect(!error.description.contains("\n"))
    }
}

@Suite struct CheckpointRefusalTests {
    @Test(arguments: safetensorsRefusals) func safetensors(_ refusal: Refusal) { expectRefusal(refusal) }

    @Test(arguments: zipRefusals) func zip(_ refusal: Refusal) { expectRefusal(refusal) }

    private func expectUnreadable(_ path: String, _ kind: ImportError.Kind, _ message: String) {
        do {
            _ = try Checkpoint.read(path: path)
            Issue.record("\(path): accepted")
        } catch {
            #expect(error.kind == kind, "\(error)")
            #expect(error.description.hasPrefix(path + ": "))
            #expect(error.message.contains(message), "\(error)")
        }
    }

    private func temporaryName() -> String {
        "/tmp/checkpoint-test-\(getpid())-\(UInt64.random(in: 0...(.max)))"
    }

    @Test func missing() { expectUnreadable("/tmp/there/is/no/such/file.pth", .unreadable, "No such file") }

    @Test func folder() { expectUnreadable("/tmp", .unreadable, "not a regular file") }

    @Test func device() { expectUnreadable("/dev/zero", .unreadable, "not a regular file") }

    /// Must not wait for somebody to write into it.
    @Test func namedPipe() throws {
        let path = temporaryName()
        try #require(unsafe mkfifo(path, 0o600) == 0)
        defer { unsafe unlink(path) }
        expectUnreadable(path, .unreadable, "not a regular file")
    }

    /// A sparse file of 3 GiB: refused for its size, before anything is allocated.
    @Test func tooLarge() throws {
        let path = temporaryName()
        let descriptor = unsafe open(path, O_CREAT | O_RDWR | O_EXCL, 0o600)
        try #require(descriptor >= 0)
        defer { unsafe unlink(path) }
        defer { close(descriptor) }
        try #require(ftruncate(descriptor, 3 << 30) == 0)
        expectUnreadable(path, .unsupported, "3221225472 bytes (limit 2147483648)")
    }

    @Test func emptyFile() throws {
        let path = temporaryName()
        let descriptor = unsafe open(path, O_CREAT | O_RDWR | O_EXCL, 0o600)
        try #require(descriptor >= 0)
        close(descriptor)
        defer { unsafe unlink(path) }
        expectUnreadable(path, .malformed, "not a checkpoint: 0 bytes")
    }

    @Test(.enabled(if: geteuid() != 0, "root may read any file")) func forbidden() throws {
        let path = temporaryName()
        let descriptor = unsafe open(path, O_CREAT | O_RDWR | O_EXCL, 0)
        try #require(descriptor >= 0)
        close(descriptor)
        defer { unsafe unlink(path) }
        expectUnreadable(path, .unreadable, "ermission denied")
    }
}
