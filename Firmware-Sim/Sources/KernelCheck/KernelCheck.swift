import CPlatform
import Ops
import TestSupport

/// Runs the cases of the package's kernel tests on the CPU at hand (or the one an emulator pretends to be) and compares every
/// instruction set with the portable kernels.
struct KernelCheck {
    var outputs = 0
    var differences = 0

    mutating func compare(_ name: StaticString, _ layout: TensorLayout, _ kernel: (ISA, TestTensor) -> Void) {
        let fill: UInt8 = 0x5A
        let expected = TestTensor(layout, zeroPoint: fill)
        kernel(.portable, expected)
        for isa in ISA.allCases where isa != .portable && isa.isSupported {
            let output = TestTensor(layout, zeroPoint: fill)
            kernel(isa, output)
            outputs += 1
            if output.bytes == expected.bytes, output.guardsIntact, output.unusedBytes == expected.unusedBytes { continue }
            differences += 1
            Console.print(name)
            Console.print(" differs in ")
            Console.print(isa.name)
            Console.print(", width ")
            Console.print(layout.extent.width)
            Console.print("\n")
        }
    }

    mutating func convolutions(_ count: Int) {
        var generator = SplitMix64(7)
        for seed in 0..<count {
            let test = ConvCase.random(&generator, seed: UInt64(seed))
            guard let fixture = ConvFixture(test) else { continue }
            let expected = fixture.run(.portable)
            for isa in ISA.allCases where isa != .portable && isa.isSupported {
                let output = fixture.run(isa)
                outputs += 1
                if output.bytes == expected.bytes, output.guardsIntact { continue }
                differences += 1
                Console.print("conv3d differs in ")
                Console.print(isa.name)
                Console.print(", seed ")
                Console.print(seed)
                Console.print("\n")
            }
        }
    }

    mutating func scans() {
        for (index, states) in [1, 7, 8, 15, 16, 17, 32].enumerated() {
            let extent = Extent(depth: 1 + index % 2, height: 3, width: 5 + 7 * index)
            let fixture = RandomScan(
                channels: 3 + 6 * index, states: states, extent: extent, reversed: index % 2 == 1, seed: UInt64(index))
            let expected = fixture.run(.portable)
            for isa in ISA.allCases where isa != .portable && isa.isSupported {
                outputs += 1
                let output = fixture.run(isa)
                if output.bytes == expected.bytes, output.guardsIntact { continue }
                differences += 1
                Console.print("scan differs in ")
                Console.print(isa.name)
                Console.print(", states ")
                Console.print(states)
                Console.print("\n")
            }
        }
    }

    mutating func tokens(_ test: TokenCase) {
        for reversed in [false, true] {
            KernelCases.tokenConv(test, reversed) { compare("tokenConv", $0, $1) }
        }
        for element in [ElementType.u8, .i16] {
            KernelCases.depthwise(test, element) { compare("depthwise", $0, $1) }
            KernelCases.norm(test, element) { compare("norm", $0, $1) }
        }
        for inPlace in [false, true] {
            KernelCases.addWide(test, inPlace) { compare("addWide", $0, $1) }
        }
        for outputs in [5, 9, 16, 1] {
            KernelCases.kanBasis(test, outputs) { compare("kanBasis", $0, $1) }
        }
        for element in [ElementType.u8, .i16] {
            KernelCases.kanEdges(test, element) { compare("kanEdges", $0, $1) }
            KernelCases.sliceOrder(test, element) { compare("sliceOrder", $0, $1) }
            KernelCases.lookupWide(test, element) { compare("lookupWide", $0, $1) }
            KernelCases.depthToSpace(test, element) { compare("depthToSpace", $0, $1) }
        }
        KernelCases.lookup(test) { compare("lookup", $0, $1) }
        KernelCases.layerNorm(test) { compare("layerNorm", $0, $1) }
        KernelCases.gate(test) { compare("gate", $0, $1) }
        KernelCases.add(test) { compare("add", $0, $1) }
    }
}

@_cdecl("mk_program")
public func kernelCheck(_ count: Int32, _ arguments: UnsafePointer<UnsafePointer<CChar>?>) -> Int32 {
    var check = KernelCheck()
    check.convolutions(120)
    check.scans()
    for test in TokenCase.all where test.width < 20 || test.width % 16 < 2 { check.tokens(test) }
    for isa in ISA.allCases where isa.isSupported {
        Console.print(isa.name)
        Console.print(" ")
    }
    Console.print(": ")
    Console.print(check.outputs)
    Console.print(" outputs compared with portable, ")
    Console.print(check.differences)
    Console.print(" differ\n")
    return check.differences == 0 && check.outputs > 0 ? 0 : 1
}
