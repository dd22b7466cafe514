import COps

/// Instruction sets a kernel can run in. `portable` is the specification; every other one equals it bit for bit.
public enum ISA: UInt8, CaseIterable, Sendable {
    case portable = 0
    #if arch(x86_64)
        case avx2 = 1
        /// `vpdpbusd` of 256 bits, in the encoding of processors without AVX-512, and in that of AVX-512. Ops that multiply no bytes
        /// run as `avx2`.
        case avxvnni = 6
        case avx512vnni256 = 7
        case avx512vnni = 2
    #elseif arch(arm64)
        case neon = 3
        /// `sdot`. Ops that multiply no bytes run as `neon`, here and with `i8mm`.
        case dotprod = 4
        /// `usdot`, which takes unsigned codes.
        case i8mm = 5
    #endif

    /// Name in `MKEDGE_ISA`, reports and benchmarks.
    public var name: StaticString {
        switch self {
        case .portable: "portable"
        #if arch(x86_64)
            case .avx2: "avx2"
            case .avxvnni: "avxvnni"
            case .avx512vnni256: "avx512vnni256"
            case .avx512vnni: "avx512vnni"
        #elseif arch(arm64)
            case .neon: "neon"
            case .dotprod: "dotprod"
            case .i8mm: "i8mm"
        #endif
        }
    }

    /// Bit of `mk_cpu_features`; 0 for what every CPU has.
    private var feature: UInt32 {
        switch self {
        case .portable: 0
        #if arch(x86_64)
            case .avx2: UInt32(MK_CPU_AVX2)
            case .avxvnni: UInt32(MK_CPU_AVXVNNI)
            case .avx512vnni256, .avx512vnni: UInt32(MK_CPU_AVX512VNNI)
        #elseif arch(arm64)
            case .neon: 0
            case .dotprod: UInt32(MK_CPU_DOTPROD)
            case .i8mm: UInt32(MK_CPU_I8MM)
        #endif
        }
    }

    /// The set whose kernels ops without products of bytes use.
    public var vectors: ISA {
        switch self {
        #if arch(x86_64)
            case .avxvnni, .avx512vnni256: .avx2
        #elseif arch(arm64)
            case .dotprod, .i8mm: .neon
        #endif
        default: self
        }
    }

    /// Whether `avx512vnni` may shift two halves as one, too, which the first CPUs with VNNI cannot. Not a set of its own: only the
    /// states of the selective scan gain by it.
    public static let hasDoubleShifts = mk_cpu_features() & UInt32(MK_CPU_AVX512VBMI2) != 0

    public var isSupported: Bool { mk_cpu_features() & feature == feature }

    /// The fastest set that this CPU has: they are listed from slow to fast.
    public static var best: ISA {
        var best = ISA.portable
        for isa in allCases where isa.isSupported { best = isa }
        return best
    }
}
