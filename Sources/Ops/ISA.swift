import COps

/// Instruction sets a kernel can run in. `portable` is the specification; every other one equals it bit for bit.
public enum ISA: UInt8, CaseIterable, Sendable {
    case portable = 0
    case avx2 = 1
    case avx512vnni = 2

    /// Name in `MKEDGE_ISA`, reports and benchmarks.
    public var name: StaticString {
        switch self {
        case .portable: "portable"
        case .avx2: "avx2"
        case .avx512vnni: "avx512vnni"
        }
    }

    public var isSupported: Bool {
        let features = mk_cpu_features()
        return switch self {
        case .portable: true
        case .avx2: features & UInt32(MK_CPU_AVX2) != 0
        case .avx512vnni: features & UInt32(MK_CPU_AVX512VNNI) != 0
        }
    }

    /// The fastest set that this CPU has.
    public static var best: ISA {
        if ISA.avx512vnni.isSupported { return .avx512vnni }
        return ISA.avx2.isSupported ? .avx2 : .portable
    }
}
