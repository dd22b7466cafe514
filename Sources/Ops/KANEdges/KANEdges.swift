import COps
import FixedPoint

/// A Kolmogorov-Arnold layer with one table per edge: what `KANBasis` and the pointwise convolution that reads it do, the same bits,
/// without the basis bytes in between.
///
///     T[i, o](code) = Σ_k w[o, i · outputs + k] · basis[code, k]
///     acc[o]        = bias[o] + Σ_i T[i, o](x[i])
///
/// Tables hold 16 bits: T less the middle of its range; the middles are summed up in an offset per output. That needs every edge to
/// span at most 65,535 (`fits`), or the layer stays as it is. A table has 256 · 2 bytes against the `outputs` weights of an
/// edge, which pays where tables stay in the cache (KANELÉ, arXiv 2512.12850, has one truth table per edge in hardware).
public struct KANEdges: Equatable, Sendable {
    public var basis: KANBasis
    /// Pointwise, reads the basis.
    public var conv: Conv3D

    public init(basis: KANBasis, conv: Conv3D) {
        precondition(conv.isPointwise && conv.inChannels == basis.channels * basis.outputs)
        self.basis = basis
        self.conv = conv
    }

    /// Values of a table row: all outputs, in vectors.
    public var row: Int { (conv.outChannels + 31) & ~31 }
    /// Bytes that `build` writes: tables `[input][code][row]`, a row of zeros, offsets.
    public var byteCount: Int { tableBytes + row * 6 }
    /// Of the tables alone.
    public var tableBytes: Int { basis.channels * 512 * row }

    /// Whether every edge's table has 16 bits, of at most 512 inputs.
    public func fits(table: UnsafePointer<UInt8>, weights: UnsafePointer<Int8>) -> Bool {
        var fits = basis.channels <= 512
        unsafe forEachEdge(table, weights) { _, _, _, range in
            fits = fits && range.upperBound - range.lowerBound <= 65535
        }
        return fits
    }

    /// - Parameter memory: `byteCount` bytes, aligned to 64.
    public func build(table: UnsafePointer<UInt8>, weights: UnsafePointer<Int8>, into memory: UnsafeMutableRawPointer) {
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
        let tables = unsafe memory.assumingMemoryBound(to: Int16.self)
        let offsets = unsafe (memory + (tableBytes + 2 * row)).assumingMemoryBound(to: Int32.self)
        unsafe forEachEdge(table, weights) { input, output, values, range in
            let middle = range.lowerBound + (range.upperBound - range.lowerBound + 1) / 2
            unsafe offsets[output] &+= middle
            for code in 0..<256 {
                unsafe tables[(256 * input + code) * row + output] = Int16(truncatingIfNeeded: values[code] - middle)
            }
        }
    }

    /// - Parameters:
    ///   - memory: what `build` wrote.
    ///   - input: of the basis.
    ///   - rows: of the output (row = z · height + y).
    public func run(
        isa: ISA, memory: UnsafeRawPointer, channels: UnsafePointer<mk_channel>, input: UnsafeRawPointer,
        inputLayout: TensorLayout, output: UnsafeMutableRawPointer, outputLayout: TensorLayout, rows: Range<Int>
    ) {
        var edges = unsafe mk_edges(
            tables: memory.assumingMemoryBound(to: Int16.self),
            zero: (memory + tableBytes).assumingMemoryBound(to: Int16.self),
            offsets: (memory + (tableBytes + 2 * row)).assumingMemoryBound(to: Int32.self), channels: channels,
            input_stride: inputLayout.blockStride, input_pitch: inputLayout.rowPitch,
            output_stride: outputLayout.blockStride, output_pitch: outputLayout.rowPitch,
            inputs: Int32(basis.channels), outputs: Int32(conv.outChannels), row: Int32(row),
            zero_point: Int32(conv.outputZeroPoint), wide: conv.outputElement == .u8 ? 0 : conv.isRectified ? 2 : 1)
        let from = unsafe input + inputLayout.rowOffset(z: 0, y: rows.lowerBound)
        let to = unsafe output + outputLayout.rowOffset(z: 0, y: rows.lowerBound)
        let (width, height) = (Int32(outputLayout.extent.width), Int32(rows.count))
        switch isa.vectors {
        #if arch(x86_64)
            case .avx2: unsafe mk_edges_avx2(&edges, from, to, width, height)
            case .avx512vnni: unsafe mk_edges_avx512vnni(&edges, from, to, width, height)
        #elseif arch(arm64)
            case .neon: unsafe mk_edges_neon(&edges, from, to, width, height)
        #endif
        default: unsafe portable(edges, from, to, Int(width), Int(height))
        }
        for row in rows where outputLayout.padX > 0 {
            for block in 0..<outputLayout.blocks {
                unsafe outputLayout.fillGapsAround(
                    row: row, block: block, base: output, zeroPoint: conv.outputZeroPoint)
            }
        }
    }

    private func portable(
        _ edges: mk_edges, _ input: UnsafeRawPointer, _ output: UnsafeMutableRawPointer, _ width: Int, _ height: Int
    ) {
        let perBlock = conv.outputElement.channelsPerBlock
        for at in 0..<(width * height) {
            let (y, x) = at.quotientAndRemainder(dividingBy: width)
            let from = unsafe input + (y * edges.input_pitch + 4 * x)
            let to = unsafe output + (y * edges.output_pitch + 4 * x)
            for o in 0..<((conv.outChannels + perBlock - 1) / perBlock * perBlock) {
                let target = unsafe to + (o / perBlock * edges.output_stride + o % perBlock * (4 / perBlock))
                unsafe store(o < conv.outChannels ? sum(edges, from, o) : nil, edges, o, target)
            }
        }
    }

    /// Before the requantization.
    private func sum(_ edges: mk_edges, _ input: UnsafeRawPointer, _ output: Int) -> Int32 {
        var acc = unsafe edges.channels[output].bias &+ edges.offsets[output]
        for i in 0..<basis.channels {
            let code = unsafe Int(input.load(fromByteOffset: i / 4 * edges.input_stride + i % 4, as: UInt8.self))
            unsafe acc &+= Int32(edges.tables[(256 * i + code) * row + output])
        }
        return acc
    }

    /// - Parameter acc: nil for a channel that is absent, whose code is 0.
    private func store(_ acc: Int32?, _ edges: mk_edges, _ output: Int, _ target: UnsafeMutableRawPointer) {
        guard let acc else {
            unsafe target.initializeMemory(as: UInt8.self, repeating: 0, count: 4 / conv.outputElement.channelsPerBlock)
            return
        }
        let p = unsafe edges.channels[output]
        let requantizer = Requantizer(multiplier: p.multiplier, shift: p.shift)
        if conv.outputElement == .i16 {
            let code = requantizer.i16(acc, zeroPoint: 0)
            unsafe target.storeBytes(of: conv.isRectified ? max(0, code) : code, as: Int16.self)
        } else {
            unsafe target.storeBytes(of: requantizer.u8(acc, zeroPoint: Int32(conv.outputZeroPoint)), as: UInt8.self)
        }
    }

    /// Calls `body(input, output, 256 values, their range)` for every edge.
    private func forEachEdge(
        _ table: UnsafePointer<UInt8>, _ weights: UnsafePointer<Int8>,
        _ body: (Int, Int, UnsafePointer<Int32>, ClosedRange<Int32>) -> Void
    ) {
        // Column by column, so that all codes of an edge are summed in vectors.
        var columns = InlineArray<4096, Int32>(repeating: 0)
        for k in 0..<basis.outputs {
            for code in 0..<256 { columns[256 * k + code] = unsafe Int32(table[code * basis.outputs + k]) }
        }
        var values = InlineArray<256, Int32>(repeating: 0)
        var columnSpan = columns.mutableSpan
        var valueSpan = values.mutableSpan
        unsafe columnSpan.withUnsafeMutableBufferPointer { columns in
            unsafe valueSpan.withUnsafeMutableBufferPointer { values in
                for input in 0..<basis.channels {
                    for output in 0..<conv.outChannels {
                        let range = unsafe sumColumns(
                            columns.baseAddress!, weights, input, output, into: values.baseAddress!)
                        unsafe body(input, output, UnsafePointer(values.baseAddress!), range)
                    }
                }
            }
        }
    }

    private func sumColumns(
        _ columns: UnsafePointer<Int32>, _ weights: UnsafePointer<Int8>, _ input: Int, _ output: Int,
        into values: UnsafeMutablePointer<Int32>
    ) -> ClosedRange<Int32> {
        unsafe values.update(repeating: 0, count: 256)
        for k in 0..<basis.outputs {
            let at = conv.weightIndex(o: output, i: input * basis.outputs + k, kz: 0, ky: 0, kx: 0)
            let weight = unsafe Int32(weights[at])
            for code in 0..<256 { unsafe values[code] &+= weight &* columns[256 * k + code] }
        }
        var (low, high) = (Int32.max, Int32.min)
        for code in 0..<256 { unsafe (low, high) = (min(low, values[code]), max(high, values[code])) }
        return low...high
    }
}
