import Glibc

/// stderr for people: messages and a progress line. stdout is kept for results.
public enum Terminal {
    public static var isInteractive: Bool { isatty(STDERR_FILENO) == 1 }

    public static func error(_ line: String) {
        raw(line + "\n")
    }

    public static func warn(_ lines: [String]) {
        for line in lines { error("warning: \(line)") }
    }

    static func raw(_ text: String) {
        _ = unsafe text.utf8CString.withUnsafeBufferPointer {
            unsafe write(STDERR_FILENO, $0.baseAddress!, $0.count - 1)
        }
    }

    public static func clearLine() {
        if isInteractive { raw("\r\u{1B}[K") }
    }
}

/// Progress of work that takes more than a second: one line that is overwritten on a terminal, a line per quarter
/// otherwise.
public final class Progress {
    private let isQuiet: Bool
    private let start = Clock.seconds
    private var lastDrawn = 0.0
    private var lastQuarter = 0
    private var stage = ""

    public init(quiet: Bool) { isQuiet = quiet }

    /// - Parameter fraction: 0 ... 1 of this stage.
    public func update(_ stage: String, _ fraction: Double) {
        guard !isQuiet else { return }
        let now = Clock.seconds
        if stage != self.stage { (self.stage, lastQuarter) = (stage, 0) }
        guard now - start > 1 else { return }
        let percent = Int(fraction * 100)
        if Terminal.isInteractive {
            guard now - lastDrawn > 0.1 else { return }
            lastDrawn = now
            Terminal.raw("\r\u{1B}[K\(stage) \(percent) %")
        } else if percent / 25 > lastQuarter {
            lastQuarter = percent / 25
            Terminal.error("\(stage) \(percent) %")
        }
    }

    public func finish() {
        if !isQuiet { Terminal.clearLine() }
    }
}

public enum Clock {
    /// Seconds of a clock that only runs forward.
    public static var seconds: Double {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
