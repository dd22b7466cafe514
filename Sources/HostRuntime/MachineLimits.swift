import CHost
import COps
import Ops

/// What one core does at most with an instruction set: register-only loops of the steps that bound the kernels
/// (Sources/COps/limit_body.h), and a copy through buffers of several sizes. Figures are per second, the best of all measurements.
@safe public final class MachineLimits {
    /// Multiply-adds of 8-bit codes, and of 16-bit codes.
    public private(set) var multiplyAdds = 0.0
    public private(set) var wideMultiplyAdds = 0.0
    /// Accumulators that become bytes.
    public private(set) var requantizations = 0.0
    /// Updates of a state of the selective scan by a token.
    public private(set) var scanUpdates = 0.0
    private var bandwidths: [Int: Double] = [:]

    private typealias Loop = @convention(c) (Int64) -> Int64
    private typealias Copy = @convention(c) (UnsafeMutablePointer<UInt8>?, Int64) -> Int64
    private let dot: Loop
    private let dot16: Loop
    private let requantize: Loop
    private let scan: Loop
    private let copy: Copy

    /// Measures for about a tenth of a second. nil for the portable kernels, which no one instruction bounds.
    public init?(_ isa: ISA) {
        switch isa {
        #if arch(x86_64)
            case .avx2:
                dot = mk_limit_dot_avx2
                dot16 = mk_limit_dot16_avx2
                requantize = mk_limit_requantize_avx2
                scan = mk_limit_scan_avx2
                unsafe copy = unsafe mk_limit_copy_avx2
            case .avxvnni, .avx512vnni256:
                dot = isa == .avxvnni ? mk_limit_dot_avxvnni : mk_limit_dot_avx512vnni256
                dot16 = isa == .avxvnni ? mk_limit_dot16_avxvnni : mk_limit_dot16_avx512vnni256
                requantize = mk_limit_requantize_avx2
                scan = mk_limit_scan_avx2
                unsafe copy = unsafe mk_limit_copy_avx2
            case .avx512vnni:
                dot = mk_limit_dot_avx512vnni
                dot16 = mk_limit_dot16_avx512vnni
                requantize = mk_limit_requantize_avx512vnni
                scan = ISA.hasDoubleShifts ? mk_limit_scan_avx512vbmi2 : mk_limit_scan_avx512vnni
                unsafe copy = unsafe mk_limit_copy_avx512vnni
        #elseif arch(arm64)
            case .neon, .dotprod, .i8mm:
                switch isa {
                case .dotprod: dot = mk_limit_dot_dotprod
                case .i8mm: dot = mk_limit_dot_i8mm
                default: dot = mk_limit_dot_neon
                }
                dot16 = mk_limit_dot16_neon
                requantize = mk_limit_requantize_neon
                scan = mk_limit_scan_neon
                unsafe copy = unsafe mk_limit_copy_neon
        #endif
        case .portable: return nil
        }
        refresh()
    }

    /// Measures the loops once more and keeps what was better: a neighbour on the same core can only slow one down.
    public func refresh() {
        multiplyAdds = max(multiplyAdds, Self.rate(dot))
        wideMultiplyAdds = max(wideMultiplyAdds, Self.rate(dot16))
        requantizations = max(requantizations, Self.rate(requantize))
        scanUpdates = max(scanUpdates, Self.rate(scan))
        for size in bandwidths.keys { bandwidths[size] = max(bandwidths[size]!, measure(size)) }
    }

    /// Bytes read and written per second when that many are used again and again: the cache level decides.
    public func bandwidth(workingSet bytes: Int) -> Double {
        var size = 1 << 14
        while size < bytes, size < 1 << 27 { size <<= 1 }
        if let known = bandwidths[size] { return known }
        let found = measure(size)
        bandwidths[size] = found
        return found
    }

    /// Rounds until it takes five milliseconds, then the best of four times.
    private static func rate(_ loop: Loop) -> Double {
        var rounds: Int64 = 1000
        var best = 0.0
        var runs = 0
        while runs < 4 {
            let start = mk_nanoseconds()
            let done = loop(rounds)
            let taken = Double(mk_nanoseconds() - start) * 1e-9
            guard taken > 5e-3 else {
                rounds *= 4
                continue
            }
            best = max(best, Double(done) / taken)
            runs += 1
        }
        return best
    }

    private func measure(_ size: Int) -> Double {
        guard let arena = Arena(byteCount: size) else { return 0 }
        let bytes = unsafe arena.bytes.bindMemory(to: UInt8.self).baseAddress
        _ = unsafe copy(bytes, Int64(size))
        return Self.rate(passes: max(1, (1 << 24) / size)) { unsafe copy(bytes, Int64(size)) }
    }

    private static func rate(passes: Int, _ copy: () -> Int64) -> Double {
        var best = 0.0
        for _ in 0..<4 {
            let start = mk_nanoseconds()
            var done: Int64 = 0
            for _ in 0..<passes { done += copy() }
            best = max(best, Double(done) / (Double(mk_nanoseconds() - start) * 1e-9))
        }
        return best
    }
}
