import COps
import FixedPoint
import FlatGraph
import MKRuntime
import Ops
import TestSupport
import Testing

/// A pool that runs in reverse order: results must not depend on it.
struct BackwardsPool: WorkPool {
    func forEach(
        _ count: Int, _ context: UnsafeRawPointer, _ body: @convention(c) (UnsafeRawPointer, Int) -> Void
    ) {
        for index in (0..<count).reversed() { body(context, index) }
    }
}

struct Runner {
    let memory: TestModels.Memory
    let file: ModelFile

    init(_ options: TestModels.Options = TestModels.Options()) throws {
        memory = TestModels.Memory(TestModels.bytes(options))
        file = try memory.file()
    }

    /// Their bytes, one or two for each.
    func codes(_ volume: Extent, seed: UInt64 = 9) -> [UInt8] {
        var generator = SplitMix64(seed)
        let channels = Int(file.tensor(Int(file.record.inputTensor)).channels)
        let count = volume.voxels * channels * file.codeBytes
        return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    func labels(
        _ volume: Extent, codes: [UInt8]? = nil, mode: ExecutionMode = .whole, threads: Int = 1, isa: ISA = .portable,
        materialize: Bool = false, tile: Extent? = nil
    ) throws -> [UInt8] {
        let plan = try RunPlan(
            file: file, volume: volume, mode: mode, threads: threads, materializeScores: materialize, tile: tile)
        #expect(overlaps(plan.buffers).isEmpty)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.arenaBytes, alignment: 64)
        defer { arena.deallocate() }
        // What was there before must not matter.
        arena.initializeMemory(as: UInt8.self, repeating: 0xC3)
        let session = try Session(file: file, plan: plan, arena: arena, isa: isa)
        var result = [UInt8](repeating: 0xFF, count: volume.voxels * Argmax(classes: file.classCount).labelBytes)
        try (codes ?? self.codes(volume)).withUnsafeBufferPointer { codes in
            try result.withUnsafeMutableBytes {
                try session.run(codes: codes, labels: $0, parallel: BackwardsPool())
            }
        }
        return result
    }

    /// The network evaluated voxel by voxel from the records, without layouts, plans or kernels.
    func reference(_ volume: Extent, codes: [UInt8]) -> [Int] {
        var tensors: [Int: [[Int]]] = [:]
        let inputs = Int(file.tensor(Int(file.record.inputTensor)).channels)
        tensors[Int(file.record.inputTensor)] = (0..<inputs).map { c in
            (0..<volume.voxels).map {
                let at = (c * volume.voxels + $0) * file.codeBytes
                return file.codeBytes == 1 ? Int(codes[at]) : Int(Int16(codes[at]) | Int16(codes[at + 1]) << 8)
            }
        }
        for index in 0..<file.opCount {
            let op = file.op(index)
            let sources = (0..<Int(op.operandCount)).map { tensors[file.operand(op, $0)]! }
            switch op.kind {
            case .conv3d:
                let size = file.tensor(Int(op.output)).span == .voxel ? volume : Extent(cube: 1)
                tensors[Int(op.output)] = convolve(op, sources[0], size)
            case .globalPool: tensors[Int(op.output)] = sources[0].enumerated().map { [mean(op, $0, $1)] }
            case .multiply:
                let multiply = file.multiply(op)
                tensors[Int(op.output)] = zip(sources[0], sources[1]).map { a, b in
                    a.indices.map { voxel in
                        let product =
                            (a[voxel] - Int(multiply.zeroPointA))
                            * (b[b.count == 1 ? 0 : voxel] - Int(multiply.zeroPointB))
                        return Int(
                            multiply.requantizer.u8(Int32(product), zeroPoint: Int32(multiply.zeroPointOut)))
                    }
                }
            case .lookup: tensors[Int(op.output)] = sources[0].map { $0.map { Int(file.table(op)[$0]) } }
            case .add:
                let add = file.add(op)
                tensors[Int(op.output)] = zip(sources[0], sources[1]).map { a, b in
                    zip(a, b).map { Int(add.sum(UInt8($0), UInt8($1))) }
                }
            case .concat:
                tensors[Int(op.output)] = sources.flatMap { source in
                    source.map { $0.count == 1 ? [Int](repeating: $0[0], count: volume.voxels) : $0 }
                }
            case .argmax:
                return (0..<volume.voxels).map { voxel in
                    let scores = sources[0].map { $0[voxel] }
                    return scores.firstIndex(of: scores.max()!)!
                }
            default: preconditionFailure("not in these networks")
            }
        }
        return []
    }

    /// Of a channel over the volume.
    private func mean(_ op: OpRecord, _ c: Int, _ values: [Int]) -> Int {
        let channel = file.channel(Int(op.channelOffset) + c)
        let sum = values.reduce(0) { $0 + $1 - Int(file.tensor(file.operand(op, 0)).zeroPoint) }
        let scale = Double(channel.multiplier) / Double(1 << Int(channel.shift))
        return Int((Double(sum) / Double(values.count) * scale + 0.5).rounded(.down))
    }

    private func convolve(_ op: OpRecord, _ x: [[Int]], _ volume: Extent) -> [[Int]] {
        let conv = file.conv3D(op)
        let weights = file.weights(op)
        return (0..<conv.outChannels).map { o in
            let channel = file.channel(Int(op.channelOffset) + o)
            let requantizer = Requantizer(multiplier: channel.multiplier, shift: channel.shift)
            return (0..<volume.voxels).map { voxel in
                let (z, y, xx) = (
                    voxel / (volume.height * volume.width), voxel / volume.width % volume.height, voxel % volume.width
                )
                var sum = Int(channel.bias)
                for tap in 0..<conv.taps {
                    let k = conv.kernel.width
                    let (kz, ky, kx) = (tap / (k * k), tap / k % k, tap % k)
                    let iz = z + kz * conv.dilation.depth - conv.padding.depth
                    let iy = y + ky * conv.dilation.height - conv.padding.height
                    let ix = xx + kx * conv.dilation.width - conv.padding.width
                    let inside =
                        iz >= 0 && iz < volume.depth && iy >= 0 && iy < volume.height && ix >= 0 && ix < volume.width
                    let at = (iz * volume.height + iy) * volume.width + ix
                    for i in 0..<conv.inChannels {
                        let code = inside ? x[i][at] : Int(conv.inputZeroPoint)
                        let w = weights + conv.weightIndex(o: o, i: i, kz: kz, ky: ky, kx: kx)
                        sum +=
                            code
                            * (conv.inputElement == .u8 ? Int(w[0]) : Int(w[1]) * 256 + Int(UInt8(bitPattern: w[0])))
                    }
                }
                return conv.outputElement == .u8
                    ? Int(requantizer.u8(Int32(sum), zeroPoint: Int32(conv.outputZeroPoint)))
                    : max(Int(requantizer.i16(Int32(sum), zeroPoint: 0)), conv.isRectified ? 0 : -32768)
            }
        }
    }
}

@Suite struct SessionTests {
    static var variants: [TestModels.Options] {
        var all: [TestModels.Options] = []
        var options = TestModels.Options()
        all.append(options)
        options.inputs = 4
        options.residual = true
        all.append(options)
        options.concat = true
        options.inputZeroPoint = 31
        options.hiddenZeroPoint = 128
        all.append(options)
        options.headKernel = 3
        options.classes = 7
        options.lookupAfter = 0
        all.append(options)
        options.classes = 1
        options.channels = 8
        options.dilations = [4]
        options.lookupAfter = nil
        all.append(options)
        options = TestModels.Options()
        options.wideHidden = true
        options.lookupAfter = nil
        options.dilations = [1, 2, 4, 1]
        options.inputZeroPoint = 7
        all.append(options)
        // Images of 16 bits: two channels share a word, and the last may be alone.
        options.inputZeroPoint = 0
        options.wideInput = true
        options.inputs = 3
        all.append(options)
        options = TestModels.Options()
        options.wideInput = true
        options.hiddenZeroPoint = 5
        all.append(options)
        return all
    }

    @Test(arguments: variants.indices) func wholeVolumeEqualsTheNaiveNetwork(_ index: Int) throws {
        let runner = try Runner(Self.variants[index])
        for volume in [Extent(depth: 5, height: 6, width: 17), Extent(depth: 1, height: 1, width: 1)] {
            let codes = runner.codes(volume)
            let expected = runner.reference(volume, codes: codes)
            for isa in ISA.allCases where isa.isSupported {
                for threads in [1, 3] {
                    let labels = try runner.labels(volume, codes: codes, threads: threads, isa: isa)
                    #expect(labels.map { Int($0) } == expected, "\(isa) \(threads) threads \(volume)")
                }
            }
            #expect(try runner.labels(volume, codes: codes, materialize: true).map { Int($0) } == expected)
        }
    }

    @Test(arguments: [false, true]) func labelsDoNotDependOnThreadsOrISA(_ wideInput: Bool) throws {
        var options = TestModels.Options()
        (options.wideInput, options.inputs) = (wideInput, wideInput ? 3 : 1)
        let runner = try Runner(options)
        let volume = Extent(depth: 20, height: 21, width: 37)
        for mode in [ExecutionMode.whole, .windows] {
            let first = try runner.labels(volume, mode: mode)
            #expect(Set(first).count > 1, "a trivial label map shows nothing")
            for threads in 1...8 {
                for isa in ISA.allCases where isa.isSupported {
                    #expect(try runner.labels(volume, mode: mode, threads: threads, isa: isa) == first)
                }
            }
        }
    }

    /// One window that is the whole volume gives the labels of the whole volume.
    @Test(arguments: [false, true]) func aSingleWindowEqualsTheWholeVolume(_ wideInput: Bool) throws {
        var options = TestModels.Options()
        options.wideInput = wideInput
        let runner = try Runner(options)
        let volume = Extent(cube: 16)
        #expect(try runner.labels(volume, mode: .windows) == runner.labels(volume))
    }

    /// Windows against the definition: each window on its own, 64-bit weighted sums over the whole volume, argmax.
    @Test(arguments: [WindowScheme.monai, .nnunet], [0, 500, 700])
    func windowsEqualTheDefinition(_ scheme: WindowScheme, _ overlap: Int) throws {
        var options = TestModels.Options()
        options.scheme = scheme
        options.overlapPerMille = overlap
        options.patch = 12
        options.dilations = [1]
        options.lookupAfter = nil
        let runner = try Runner(options)
        for volume in [Extent(depth: 20, height: 13, width: 25), Extent(depth: 7, height: 30, width: 9)] {
            let codes = runner.codes(volume)
            let expected = try windowReference(runner, volume, codes, overlap, scheme)
            #expect(try runner.labels(volume, codes: codes, mode: .windows, threads: 2) == expected)
        }
    }

    private func windowReference(
        _ runner: Runner, _ volume: Extent, _ codes: [UInt8], _ overlap: Int, _ scheme: WindowScheme
    ) throws -> [UInt8] {
        let patch = Extent(cube: 12)
        let classes = runner.file.classCount
        var sums = [Int](repeating: 0, count: classes * volume.voxels)
        func axis(_ size: Int) -> [Int] {
            WindowAxis(size: size, patch: 12, overlapPerMille: overlap, scheme: scheme).starts
        }
        for z0 in axis(volume.depth) {
            for y0 in axis(volume.height) {
                for x0 in axis(volume.width) {
                    var window = [UInt8](repeating: 0, count: patch.voxels)
                    forEach(patch) { z, y, x, at in
                        if let v = index(volume, z0 + z, y0 + y, x0 + x) { window[at] = codes[v] }
                    }
                    let scores = try scores(runner, patch, window)
                    forEach(patch) { z, y, x, at in
                        guard let v = index(volume, z0 + z, y0 + y, x0 + x) else { return }
                        let g = { (axis: Int, i: Int) in Int(runner.file.windowTable(axis)[i]) }
                        let weight = max(4, (g(2, z) * g(1, y) * g(0, x)) >> 12)
                        for c in 0..<classes { sums[c * volume.voxels + v] += weight * scores[c][at] }
                    }
                }
            }
        }
        return (0..<volume.voxels).map { v in
            let all = (0..<classes).map { sums[$0 * volume.voxels + v] }
            return UInt8(all.firstIndex(of: all.max()!)!)
        }
    }

    private func scores(_ runner: Runner, _ extent: Extent, _ codes: [UInt8]) throws -> [[Int]] {
        let plan = try RunPlan(
            file: runner.file, volume: extent, mode: .whole, threads: 1, materializeScores: true)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.arenaBytes, alignment: 64)
        defer { arena.deallocate() }
        let session = try Session(file: runner.file, plan: plan, arena: arena, isa: .portable)
        var result: [[Int]] = []
        var labels = [UInt8](repeating: 0, count: extent.voxels)
        try codes.withUnsafeBufferPointer { codes in
            try labels.withUnsafeMutableBytes {
                try session.run(
                    codes: codes, labels: $0, parallel: SerialPool(),
                    observer: { op, layout, tensor in
                        guard op == runner.file.opCount - 2 else { return }
                        result = (0..<layout.channels).map { c in
                            (0..<extent.voxels).map { voxel in
                                let (row, x) = (voxel / extent.width, voxel % extent.width)
                                let offset = layout.rowOffset(block: c / 2, z: 0, y: row) + x * 4 + (c % 2) * 2
                                return Int(tensor.load(fromByteOffset: offset, as: Int16.self))
                            }
                        }
                    })
            }
        }
        return result
    }

    private func index(_ volume: Extent, _ z: Int, _ y: Int, _ x: Int) -> Int? {
        guard z >= 0, z < volume.depth, y >= 0, y < volume.height, x >= 0, x < volume.width else { return nil }
        return (z * volume.height + y) * volume.width + x
    }

    private func forEach(_ extent: Extent, _ body: (Int, Int, Int, Int) -> Void) {
        for at in 0..<extent.voxels {
            body(at / (extent.height * extent.width), at / extent.width % extent.height, at % extent.width, at)
        }
    }

    /// Without padding the middle of the volume gets the labels of the padded network, which there never reads padding, and
    /// the border that the convolutions eat is background.
    @Test func aNetworkWithoutPaddingLabelsTheMiddle() throws {
        var options = TestModels.Options()
        options.hiddenZeroPoint = 9
        let volume = Extent(depth: 13, height: 15, width: 30)
        let padded = try Runner(options).labels(volume)
        options.valid = true
        let runner = try Runner(options)
        let eaten = options.dilations.reduce(0, +)
        for isa in ISA.allCases where isa.isSupported {
            let labels = try runner.labels(volume, threads: 2, isa: isa)
            forEach(volume) { z, y, x, at in
                let inside = zip([z, y, x], [13, 15, 30]).allSatisfy { (eaten..<($1 - eaten)).contains($0) }
                #expect(labels[at] == (inside ? padded[at] : 0))
            }
        }
        #expect(throws: RuntimeError(.windowsShrink, need: 2 * eaten)) {
            try RunPlan(file: runner.file, volume: volume, mode: .windows, threads: 1)
        }
    }

    @Test func progressCountsUpAndCancels() throws {
        let runner = try Runner()
        let volume = Extent(cube: 20)
        let plan = try RunPlan(file: runner.file, volume: volume, mode: .windows, threads: 1)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.arenaBytes, alignment: 64)
        defer { arena.deallocate() }
        let session = try Session(file: runner.file, plan: plan, arena: arena, isa: .best)
        let codes = runner.codes(volume)
        var labels = [UInt8](repeating: 0, count: volume.voxels)
        var seen: [Int] = []
        try codes.withUnsafeBufferPointer { codes in
            try labels.withUnsafeMutableBytes { labels in
                try session.run(
                    codes: codes, labels: labels, parallel: SerialPool(),
                    progress: { done, total in
                        #expect(total == plan.windowCount)
                        seen.append(done)
                        return true
                    })
                #expect(seen == Array(1...plan.windowCount))
                #expect(throws: RuntimeError(.cancelled)) {
                    try session.run(codes: codes, labels: labels, parallel: SerialPool(), progress: { _, _ in false })
                }
            }
        }
    }
}
