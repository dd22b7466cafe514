import COps
import CPlatform
import Ops
import TestSupport

/// Instructions that each kernel executes in each instruction set. The emulator lets one pass per nanosecond of its timer
/// (`-icount shift=0`), so that time is what is counted: exactly, but for the timer's steps of 16.
struct KernelCount {
    private func count(_ body: () -> Void) -> UInt64 {
        body()  // so that what is set up once is not counted
        let start = mkp_nanoseconds()
        body()
        return mkp_nanoseconds() &- start
    }

    private func report(_ name: StaticString, _ note: Int, _ kernel: (ISA) -> Hundredths) {
        Console.print(name)
        if note > 0 {
            Console.print("-")
            Console.print(note)
        }
        for isa in ISA.allCases where isa.isSupported {
            Console.print(" ")
            Console.print(isa.name)
            Console.print(" ")
            kernel(isa).print()
        }
        Console.print("\n")
    }

    /// Instructions per 16 multiply-adds of a 3³ convolution at the middle of a volume, requantization and all.
    func convolution(_ name: StaticString, channels: Int, width: Int, element: ElementType = .u8) {
        let conv = Conv3D(
            inChannels: channels, outChannels: channels, kernel: Extent(cube: 3),
            dilation: Extent(cube: 1), padding: Extent(cube: 0), inputElement: element, inputZeroPoint: 0, outputZeroPoint: 0, outputElement: element)
        let input = TestTensor(
            TensorLayout(channels: channels, extent: Extent(depth: 3, height: 4, width: width + 2), element: element),
            zeroPoint: 0)
        let output = TestTensor(
            TensorLayout(channels: channels, extent: conv.outputExtent(of: input.layout.extent), element: element),
            zeroPoint: 0)
        let weights = [Int8](repeating: 1, count: conv.weightBytes)
        let parameters = [mk_channel](
            repeating: mk_channel(bias: 0, multiplier: 1 << 30, shift: 40, reserved: 0), count: channels)
        report(name, channels) { isa in
            let instructions = weights.withUnsafeBufferPointer { weights in
                parameters.withUnsafeBufferPointer { parameters in
                    count {
                        conv.run(
                            isa: isa,
                            buffers: Conv3DBuffers(
                                input: input.base, output: output.base, weights: weights.baseAddress!,
                                channels: parameters.baseAddress!, paddingRow: nil),
                            input: input.layout, output: output.layout, rows: 0..<output.layout.extent.rows,
                            outputExtent: output.layout.extent)
                    }
                }
            }
            let work = channels * channels * 27 * output.layout.extent.voxels
            return Hundredths(instructions &* 16, per: work)
        }
    }

    /// Instructions per value of the output, for case `index` of those that the kernel's tests run.
    func perValue(_ name: StaticString, case index: Int = 0) -> KernelCases.Expectation {
        var left = index
        return { layout, kernel in
            left -= 1
            guard left == -1 else { return }
            let output = TestTensor(layout, zeroPoint: 0)
            report(name, 0) { isa in
                Hundredths(count { kernel(isa, output) }, per: layout.channels * layout.extent.voxels)
            }
        }
    }

    func run() {
        for channels in [20, 32, 48, 64] { convolution("conv3d", channels: channels, width: 64) }
        convolution("conv3d-ragged", channels: 20, width: 37)
        for channels in [20, 32] { convolution("conv3d-i16", channels: channels, width: 64, element: .i16) }
        let test = TokenCase(width: 177)
        KernelCases.tokenConv(test, false, perValue("token-conv-4", case: 2))
        KernelCases.depthwise(test, .u8, perValue("depthwise-3x3x3", case: 1))
        KernelCases.norm(test, .u8, perValue("norm"))
        KernelCases.layerNorm(test, perValue("layer-norm-64", case: 1))
        KernelCases.kanBasis(test, 9, perValue("kan-basis"))
        KernelCases.lookup(test, perValue("lookup"))
        KernelCases.add(test, perValue("add"))
        KernelCases.addWide(test, false, perValue("add-i16"))
        KernelCases.gate(test, perValue("gate"))
        KernelCases.depthToSpace(test, .u8, perValue("depth-to-space"))
        let scan = RandomScan(
            channels: 16, states: 16, extent: Extent(depth: 1, height: 4, width: 64), reversed: false, seed: 1)
        report("scan-states", 16) { isa in
            Hundredths(count { _ = scan.run(isa) }, per: 16 * scan.output.extent.voxels)
        }
    }
}

/// A ratio in hundredths, printed with two decimals.
struct Hundredths {
    private let hundredths: UInt64

    init(_ value: UInt64, per count: Int) { hundredths = (value &* 100 &+ UInt64(count / 2)) / UInt64(count) }

    func print() {
        Console.print(Int64(hundredths / 100))
        Console.print(hundredths % 100 < 10 ? ".0" : ".")
        Console.print(Int64(hundredths % 100))
    }
}

@_cdecl("mk_program")
public func kernelCount(_ count: Int32, _ arguments: UnsafePointer<UnsafePointer<CChar>?>) -> Int32 {
    KernelCount().run()
    return 0
}
