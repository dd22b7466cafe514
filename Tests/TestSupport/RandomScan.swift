import Ops

/// A scan with random constants over the whole of their ranges, so that states saturate and die.
public struct RandomScan {
    public let scan: Scan
    public let x: TestTensor
    public let step: TestTensor
    public let matrices: TestTensor
    public let output: TensorLayout
    public var table: [UInt32]

    public init(channels: Int, states: Int, extent: Extent, reversed: Bool, seed: UInt64) {
        var generator = SplitMix64(seed)
        let zeroPoint: UInt8 = [0, 120, 255][Int(seed % 3)]
        scan = Scan(channels: channels, states: states, isReversed: reversed, inputZeroPoint: zeroPoint)
        x = TestTensor(TensorLayout(channels: channels, extent: extent, element: .u8, padX: 1), zeroPoint: zeroPoint)
        step = TestTensor(TensorLayout(channels: channels, extent: extent, element: .i16), zeroPoint: 0)
        matrices = TestTensor(TensorLayout(channels: 2 * states, extent: extent, element: .i16), zeroPoint: 0)
        x.randomize(&generator)
        step.randomize(&generator)
        matrices.randomize(&generator)
        output = TensorLayout(channels: channels, extent: extent, element: .i16)
        // Rises, like the true one, by less than a cell of the output in each cell of the input.
        var sum: UInt32 = 0
        table = []
        for i in 0..<Scan.softplusEntries {
            table.append(sum)
            sum += .random(in: 0..<(UInt32(1) << (i < 128 ? 8 : i < 256 ? 16 : 23)), using: &generator)
        }
        table += [0, 0, 0]
        for _ in 0..<scan.groups {
            for range in [1...31, 1...25, 1...12] as [ClosedRange<UInt32>] {
                table += (0..<16).map { _ in UInt32.random(in: range, using: &generator) }
            }
            table += (0..<16).map { _ in UInt32.random(in: 0...UInt32(Int32.max), using: &generator) }
            table += (0..<16).map { _ in UInt32.random(in: 0...UInt32.max, using: &generator) }
            table += (0..<16).map { _ in UInt32.random(in: 33...53, using: &generator) }
            table += (0..<(16 * ((states + 1) / 2))).map { _ in
                UInt32.random(in: 0...UInt32.max, using: &generator) >> UInt32.random(in: 0...15, using: &generator)
            }
        }
    }

    /// Runs in pieces of `chunk` tokens, the groups one by one.
    public func run(_ isa: ISA, chunk: Int = .max / 2) -> TestTensor {
        let result = TestTensor(output, zeroPoint: 0)
        var state = [Int32](repeating: 0, count: scan.stateBytes / 4)
        let scratch = UnsafeMutableRawPointer.allocate(byteCount: scan.chunkBytes, alignment: 64)
        defer { scratch.deallocate() }
        let layouts = Scan.Layouts(x: x.layout, step: step.layout, matrices: matrices.layout, output: output)
        table.withUnsafeBytes { table in
            state.withUnsafeMutableBufferPointer { state in
                scan.reset(state.baseAddress!)
                let buffers = Scan.Buffers(
                    x: x.base, step: step.base, matrices: matrices.base, table: table.baseAddress!,
                    state: state.baseAddress!, output: result.base)
                let tokens = output.extent.voxels
                for start in stride(from: 0, to: tokens, by: chunk) {
                    for group in 0..<scan.groups {
                        scan.run(
                            isa: isa, buffers, layouts, groups: group..<(group + 1),
                            tokens: start..<min(start + chunk, tokens), scratch: scratch)
                    }
                }
            }
        }
        return result
    }
}
