import Glibc
import Ops

extension ISA {
    /// The instruction set that `MKEDGE_ISA` forces, else the best of this CPU.
    public static func selected() throws -> ISA {
        guard let value = unsafe getenv("MKEDGE_ISA") else { return .best }
        let text = unsafe String(cString: value)
        guard let isa = ISA.allCases.first(where: { "\($0.name)" == text }) else {
            let names = ISA.allCases.map { "\($0.name)" }.joined(separator: ", ")
            throw CommandError(.usage, "MKEDGE_ISA=\(text) (must be one of \(names))")
        }
        guard isa.isSupported else { throw CommandError(.usage, "MKEDGE_ISA=\(text): this CPU does not have it") }
        return isa
    }
}
