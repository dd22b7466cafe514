import ArgumentParser
import FlatGraph
import Glibc
import HostRuntime
import MKRuntime
import Volume

/// Process exit statuses, the same for every program and command.
public enum ExitStatus: Int32, Sendable {
    case ok = 0
    case usage = 2
    case unreadable = 3
    case badImage = 4
    case inputsDisagree = 5
    case badModel = 6
    case overBudget = 7
    case output = 8
    case someFailed = 9
    case fidelity = 10
    case interrupted = 130

    public static let help = """
        Exit status: 0 ok, 2 usage, 3 input missing or unreadable, 4 malformed or unsupported image, 5 inputs disagree, \
        6 model bad or incompatible, 7 memory budget cannot be met, 8 output failure, 10 fidelity below the bound asked \
        for, 130 interrupted.
        """
}

/// An error with a place to go: one line for stderr and an exit status.
public struct CommandError: Error, CustomStringConvertible {
    public var status: ExitStatus
    public var description: String

    public init(_ status: ExitStatus, _ description: String) {
        self.status = status
        self.description = description
    }
}

/// Turns whatever a command throws into one line and an exit status, and ends the process.
public enum Program {
    public static func run(_ command: (some ParsableCommand).Type) -> Never {
        ProcessMemory.returnFreedMemory()
        stopCleanly()
        do {
            var parsed = try command.parseAsRoot()
            try parsed.run()
            exit(ExitStatus.ok.rawValue)
        } catch let error as CommandError {
            fail(error.description, error.status.rawValue)
        } catch let error as VolumeError {
            fail(error.description, error.exitCode)
        } catch let error as ModelOpenError {
            fail(error.description, error.exitCode)
        } catch let error as RuntimeError {
            fail(error.description, ExitStatus.badModel.rawValue)
        } catch {
            endParsing(command, error)
        }
    }

    private static func fail(_ message: String, _ status: Int32) -> Never {
        Terminal.clearLine()
        Terminal.error("error: \(message)")
        exit(status)
    }

    /// Help and version requests are no errors; wrong arguments exit with 2, not with the parser's 64.
    private static func endParsing(_ command: (some ParsableCommand).Type, _ error: any Error) -> Never {
        let code = command.exitCode(for: error)
        let message = command.fullMessage(for: error)
        if code == .success {
            if !message.isEmpty { print(message) }
            exit(ExitStatus.ok.rawValue)
        }
        Terminal.clearLine()
        if !message.isEmpty { Terminal.error(message) }
        exit(code == .validationFailure ? ExitStatus.usage.rawValue : code.rawValue)
    }

    /// An interrupted run leaves no half-written file.
    private static func stopCleanly() {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            _ = signal(number) { _ in
                UnfinishedOutput.remove()
                _exit(ExitStatus.interrupted.rawValue)
            }
        }
        // A reader that closed the pipe shows up as a failed write.
        _ = signal(SIGPIPE, SIG_IGN)
    }
}
