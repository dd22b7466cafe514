/// Direct float convolution for reference runs.
///
/// For one output row, the input rows that it reads are copied side by side with their zero padding; then
/// tiles of four output channels by eight columns stay in registers while the loop runs over input channels and taps.
/// Rows beyond the first and last slice or line are left out of the list of rows, so the inner loop has no branch.
struct FloatConvolution {
    private let conv: ConvWeights
    private let input: FloatTensor
    private let outSize: Size3
    /// `[group of 4 outputs][in][kz][ky][kx][4]`, zero for channels that do not exist.
    private let packed: [Float]

    private static let columns = 8

    /// Precondition: channels agree and the output is not empty (`FloatGraph.sizes` tells).
    init(_ conv: ConvWeights, _ input: FloatTensor) {
        self.conv = conv
        self.input = input
        outSize = conv.outputSize(of: input.size)
        precondition(input.channels == conv.inChannels, "channels do not match")
        precondition(
            outSize.depth > 0 && outSize.height > 0 && outSize.width > 0, "input smaller than the kernel")
        packed = Self.pack(conv)
    }

    private static func pack(_ conv: ConvWeights) -> [Float] {
        let depth = conv.inChannels * conv.kernel.count
        var result = [Float](repeating: 0, count: (conv.outChannels + 3) / 4 * depth * 4)
        for o in 0..<conv.outChannels {
            for i in 0..<depth { result[((o / 4) * depth + i) * 4 + o % 4] = conv.weights[o * depth + i] }
        }
        return result
    }

    /// Columns of a padded row: whole tiles may be read.
    private var rowLength: Int {
        let tiles = (outSize.width + Self.columns - 1) / Self.columns
        return max(
            tiles * Self.columns + conv.dilation.width * (conv.kernel.width - 1),
            input.size.width + 2 * conv.padding.width)
    }

    func run(_ parallel: Parallel) -> FloatTensor {
        let window = conv.inChannels * conv.kernel.depth * conv.kernel.height * rowLength
        let workers = min(parallel.threads, outSize.depth)
        var scratch = [Float](repeating: 0, count: window * workers)
        let count = conv.outChannels * outSize.count
        let values = unsafe [Float](unsafeUninitializedCapacity: count) { out, initialized in
            initialized = count
            let target = unsafe SharedBuffer(UnsafeMutableBufferPointer(rebasing: out[..<count]))
            unsafe scratch.withUnsafeMutableBufferPointer { rows in
                let rows = unsafe SharedBuffer(rows)
                unsafe input.values.withUnsafeBufferPointer { source in
                    unsafe packed.withUnsafeBufferPointer { weights in
                        let memory = unsafe Memory(
                            source: source.baseAddress!, weights: weights.baseAddress!, target: target)
                        parallel.forEach(outSize.depth) { worker, z in
                            let window = unsafe rows.part(worker * window, window)
                            for y in 0..<outSize.height { unsafe row(memory, window, z, y) }
                        }
                    }
                }
            }
        }
        return FloatTensor(channels: conv.outChannels, size: outSize, values: values)
    }

    @safe private struct Memory: @unchecked Sendable {
        let source: UnsafePointer<Float>
        let weights: UnsafePointer<Float>
        let target: SharedBuffer
    }

    /// Taps along one axis whose input position exists, for output position `at`.
    private static func taps(_ at: Int, kernel: Int, dilation: Int, padding: Int, size: Int) -> Range<Int> {
        let first = at - padding
        let low = first >= 0 ? 0 : (-first + dilation - 1) / dilation
        let high = first >= size ? 0 : (size - 1 - first) / dilation + 1
        return min(low, kernel)..<max(min(low, kernel), min(high, kernel))
    }

    /// What the tiles of one output row read. Rows of `[in][kz][ky]` that do not exist are missing.
    @safe private struct RowList {
        let rows: UnsafePointer<RowTaps>
        let count: Int
    }

    @safe private struct RowTaps {
        /// First element of the padded row.
        let source: UnsafePointer<Float>
        /// Offset of the row's first weight in a group of outputs.
        let weights: Int
    }

    private func row(_ memory: Memory, _ window: UnsafeMutablePointer<Float>, _ z: Int, _ y: Int) {
        let taps = unsafe gather(window, memory.source, z, y)
        unsafe taps.withUnsafeBufferPointer { taps in
            guard let first = taps.baseAddress else { return fillWithBias(memory, z, y) }
            let list = unsafe RowList(rows: first, count: taps.count)
            for x in stride(from: 0, to: outSize.width, by: Self.columns) {
                for group in 0..<((conv.outChannels + 3) / 4) {
                    let weights = unsafe memory.weights + group * conv.inChannels * conv.kernel.count * 4
                    // Kernels three wide are by far the most common: unrolled.
                    let sums =
                        if conv.outChannels - group * 4 == 1 {
                            [unsafe tile1(list, x, weights), .zero, .zero, .zero]
                                as InlineArray<4, SIMD8<Float>>
                        } else if conv.kernel.width == 3 {
                            unsafe tile4(list, x, weights, width: 3)
                        } else {
                            unsafe tile4(list, x, weights, width: conv.kernel.width)
                        }
                    store(sums, memory.target, group, z, y, x)
                }
            }
        }
    }

    @inline(__always)
    private func store(
        _ sums: InlineArray<4, SIMD8<Float>>, _ target: SharedBuffer, _ group: Int, _ z: Int, _ y: Int,
        _ x: Int
    ) {
        let valid = min(Self.columns, outSize.width - x)
        for lane in 0..<min(4, conv.outChannels - group * 4) {
            let channel = group * 4 + lane
            let sum = sums[lane] + conv.bias[channel]
            let to = unsafe target.part(
                ((channel * outSize.depth + z) * outSize.height + y) * outSize.width + x, valid)
            if valid == Self.columns {
                unsafe UnsafeMutableRawPointer(to).storeBytes(of: sum, as: SIMD8<Float>.self)
            } else {
                for column in 0..<valid { unsafe to[column] = sum[column] }
            }
        }
    }

    /// A row whose taps all lie in the padding.
    private func fillWithBias(_ memory: Memory, _ z: Int, _ y: Int) {
        for channel in 0..<conv.outChannels {
            let start = ((channel * outSize.depth + z) * outSize.height + y) * outSize.width
            unsafe memory.target.part(start, outSize.width).update(
                repeating: conv.bias[channel], count: outSize.width)
        }
    }

    /// Copies the input rows of one output row to `[in][kz][ky][rowLength]` and lists them. The padding columns are zero
    /// from the start and are never written.
    private func gather(
        _ window: UnsafeMutablePointer<Float>, _ source: UnsafePointer<Float>, _ z: Int, _ y: Int
    ) -> [RowTaps] {
        let (size, length) = (input.size, rowLength)
        let kz = Self.taps(
            z, kernel: conv.kernel.depth, dilation: conv.dilation.depth, padding: conv.padding.depth,
            size: size.depth)
        let ky = Self.taps(
            y, kernel: conv.kernel.height, dilation: conv.dilation.height, padding: conv.padding.height,
            size: size.height)
        var result: [RowTaps] = []
        result.reserveCapacity(conv.inChannels * kz.count * ky.count)
        for channel in 0..<conv.inChannels {
            for a in kz {
                let slice = channel * size.depth + z - conv.padding.depth + a * conv.dilation.depth
                for b in ky {
                    let line = y - conv.padding.height + b * conv.dilation.height
                    let index = (channel * conv.kernel.depth + a) * conv.kernel.height + b
                    let row = unsafe window + index * length
                    unsafe (row + conv.padding.width).update(
                        from: source + (slice * size.height + line) * size.width, count: size.width)
                    unsafe result.append(
                        RowTaps(source: UnsafePointer(row), weights: index * conv.kernel.width * 4))
                }
            }
        }
        return result
    }

    /// Four output channels of eight columns, without bias.
    @inline(__always)
    private func tile4(
        _ list: RowList, _ x: Int, _ weights: UnsafePointer<Float>, width: Int
    ) -> InlineArray<4, SIMD8<Float>> {
        var a = SIMD8<Float>.zero
        var b = SIMD8<Float>.zero
        var c = SIMD8<Float>.zero
        var d = SIMD8<Float>.zero
        let step = conv.dilation.width
        for index in 0..<list.count {
            let row = unsafe list.rows[index]
            let source = unsafe row.source + x
            let w = unsafe weights + row.weights
            for tap in 0..<width {
                let x = unsafe UnsafeRawPointer(source + tap &* step).loadUnaligned(as: SIMD8<Float>.self)
                unsafe a += x * w[4 &* tap]
                unsafe b += x * w[4 &* tap &+ 1]
                unsafe c += x * w[4 &* tap &+ 2]
                unsafe d += x * w[4 &* tap &+ 3]
            }
        }
        return [a, b, c, d]
    }

    /// One output channel, for the last of 4n + 1 (MeshNets like to have 5 or 21).
    @inline(__always)
    private func tile1(_ list: RowList, _ x: Int, _ weights: UnsafePointer<Float>) -> SIMD8<Float> {
        // Two sums, because one would wait for each addition.
        var sums = (SIMD8<Float>.zero, SIMD8<Float>.zero)
        let step = conv.dilation.width
        for index in 0..<list.count {
            let row = unsafe list.rows[index]
            let source = unsafe row.source + x
            let w = unsafe weights + row.weights
            for tap in 0..<conv.kernel.width {
                let x = unsafe UnsafeRawPointer(source + tap &* step).loadUnaligned(as: SIMD8<Float>.self)
                unsafe sums.0 += x * w[4 &* tap]
                swap(&sums.0, &sums.1)
            }
        }
        return sums.0 + sums.1
    }
}
