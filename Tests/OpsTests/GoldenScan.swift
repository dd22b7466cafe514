import Ops
import TestSupport
import Testing

extension GoldenKernels {
    static func decayWeight(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let (steps, rates) = try (test.values("step", as: UInt16.self), test.values("rate", as: UInt16.self))
        let bits = try test.values("bits", as: Int32.self)
        let perRow = steps.count / bits.count
        return steps.indices.map { Int(Exponent.weight(step: steps[$0], rate: rates[$0], bits: bits[$0 / perRow])) }
    }

    /// The scan in pieces of each length that the case names; all must agree.
    static func scan(_ test: GoldenCase, _ isa: ISA) throws -> [Int] {
        let rates = try test["rates"].shape
        let scan = Scan(
            channels: rates[0], states: rates[1], isReversed: try test.number("is_reversed") != 0,
            inputZeroPoint: try test.number("zero_point"))
        let table = try scanTable(scan, test)
        let results = try test.numbers("cuts").map { try run(scan, table, isa, test, cut: $0) }
        #expect(results.allSatisfy { $0 == results[0] }, "\(test.name): the cuts matter")
        return results[0]
    }

    private static func run(
        _ scan: Scan, _ table: [UInt32], _ isa: ISA, _ test: GoldenCase, cut: Int
    ) throws -> [Int] {
        let (x, step) = try (test.input("x", zeroPoint: scan.inputZeroPoint), test.input("step"))
        let (matrices, output) = try (test.input("matrices"), test.output())
        let layouts = Scan.Layouts(x: x.layout, step: step.layout, matrices: matrices.layout, output: output.layout)
        let scratch = UnsafeMutableRawPointer.allocate(byteCount: scan.chunkBytes, alignment: 64)
        let state = UnsafeMutablePointer<Int32>.allocate(capacity: scan.stateBytes / 4)
        defer {
            scratch.deallocate()
            state.deallocate()
        }
        scan.reset(state)
        let tokens = output.layout.extent.voxels
        table.withUnsafeBytes { table in
            let buffers = Scan.Buffers(
                x: x.base, step: step.base, matrices: matrices.base, table: table.baseAddress!, state: state,
                output: output.base)
            for start in stride(from: 0, to: tokens, by: cut) {
                scan.run(
                    isa: isa, buffers, layouts, groups: 0..<scan.groups, tokens: start..<min(start + cut, tokens),
                    scratch: scratch)
            }
        }
        // Only voxels: the scan leaves the gaps to its caller.
        return codes(output, test)
    }

    /// The constants as docs/format.md lays them out.
    private static func scanTable(_ scan: Scan, _ test: GoldenCase) throws -> [UInt32] {
        var table = try test.values("softplus_table", as: UInt32.self) + [0, 0, 0]
        let names = ["step_shift", "injection_shift", "exponent_bits", "multiplier", "skip", "shift"]
        let constants = try names.map { try test.values($0, as: Int32.self) }
        let absent: [Int32] = [1, 1, 1, 0, 0, 33]
        let rates = try test.values("rates", as: UInt32.self)
        func rate(_ channel: Int, _ state: Int) -> UInt32 {
            channel < scan.channels && state < scan.states ? rates[channel * scan.states + state] : 0
        }
        for group in 0..<scan.groups {
            let channels = group * Scan.group..<(group + 1) * Scan.group
            for (values, none) in zip(constants, absent) {
                table += channels.map { UInt32(bitPattern: $0 < scan.channels ? values[$0] : none) }
            }
            for state in stride(from: 0, to: scan.states, by: 2) {
                table += channels.map { rate($0, state) | rate($0, state + 1) << 16 }
            }
        }
        return table
    }
}
