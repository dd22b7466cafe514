import Ops
import TestSupport
import Testing

/// Every instruction set computes the bytes of the portable kernel. The cases are shared with the check that runs under an
/// emulator (Firmware-Sim).
@Suite struct TokenKernelTests {
    /// Runs `kernel` on every instruction set and compares the outputs.
    private func expectEqual(
        _ layout: TensorLayout, isas: [ISA] = ISA.allCases, _ kernel: (ISA, TestTensor) -> Void
    ) {
        let fill: UInt8 = 0x5A
        let expected = TestTensor(layout, zeroPoint: fill)
        kernel(.portable, expected)
        for isa in isas where isa != .portable && isa.isSupported {
            let output = TestTensor(layout, zeroPoint: fill)
            kernel(isa, output)
            #expect(output.bytes == expected.bytes, "\(isa)")
            #expect(output.guardsIntact, "\(isa)")
            #expect(output.unusedBytes.allSatisfy { $0 == fill }, "\(isa) writes between blocks or behind the last")
        }
    }

    @Test(arguments: TokenCase.all, [false, true]) func tokenConv(_ test: TokenCase, _ reversed: Bool) {
        KernelCases.tokenConv(test, reversed) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all, [ElementType.u8, .i16]) func depthwise(_ test: TokenCase, _ element: ElementType) {
        KernelCases.depthwise(test, element) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all) func lookup(_ test: TokenCase) {
        KernelCases.lookup(test) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all, [ElementType.u8, .i16]) func lookupWide(_ test: TokenCase, _ element: ElementType) {
        KernelCases.lookupWide(test, element) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all, [false, true]) func addWide(_ test: TokenCase, _ inPlace: Bool) {
        KernelCases.addWide(test, inPlace) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all) func layerNorm(_ test: TokenCase) {
        KernelCases.layerNorm(test) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all) func gate(_ test: TokenCase) {
        KernelCases.gate(test) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all, [5, 9, 12, 13, 14, 15, 16, 1]) func kanBasis(_ test: TokenCase, _ outputs: Int) {
        KernelCases.kanBasis(test, outputs) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all, [ElementType.u8, .i16]) func kanEdges(_ test: TokenCase, _ element: ElementType) {
        KernelCases.kanEdges(test, element) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all, [ElementType.u8, .i16]) func sliceOrder(_ test: TokenCase, _ element: ElementType) {
        KernelCases.sliceOrder(test, element) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all, [ElementType.u8, .i16])
    func depthToSpace(_ test: TokenCase, _ element: ElementType) {
        KernelCases.depthToSpace(test, element) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all) func add(_ test: TokenCase) {
        KernelCases.add(test) { expectEqual($0, $1) }
    }

    @Test(arguments: TokenCase.all, [ElementType.u8, .i16]) func norm(_ test: TokenCase, _ element: ElementType) {
        KernelCases.norm(test, element) { expectEqual($0, $1) }
    }
}
