import Dispatch

/// Direct float convolution for reference runs: four output channels by sixteen columns at a time, borders by a
/// padded copy of the input so that the inner loop has no branches.
struct FloatConvolution {
    let conv: ConvWeights
    let input: FloatTensor
    let outSize: Size3

    init(_ conv: ConvWeights, _ input: FloatTensor) {
        self.conv = conv
        self.input = input
        outSize = conv.outputSize(of: input.size)
        precondition(input.channels == conv.inChannels, "channels do not match")
        precondition(outSize.depth > 0 && outSize.height > 0 && outSize.width > 0, "input smaller than the kernel")
    }

    private static let columns = 16
    private var paddedWidth: Int { input.size.width + 2 * conv.padding.width + Self.columns }
    private var paddedHeight: Int { input.size.height + 2 * conv.padding.height }
    private var paddedDepth: Int { input.size.depth + 2 * conv.padding.depth }
    private var groups: Int { (conv.outChannels + 3) / 4 }

    func run() -> FloatTensor {
        let padded = padInput()
        let packed = packWeights()
        var output = FloatTensor(channels: conv.outChannels, size: outSize)
        unsafe output.values.withUnsafeMutableBufferPointer { out in
            unsafe padded.withUnsafeBufferPointer { padded in
                unsafe packed.withUnsafeBufferPointer { packed in
                    let job = unsafe Job(
                        source: padded.baseAddress!, weights: packed.baseAddress!, target: out.baseAddress!)
                    DispatchQueue.concurrentPerform(iterations: outSize.depth) { z in
                        for y in 0..<outSize.height { row(job, z, y) }
                    }
                }
            }
        }
        return output
    }

    @safe private struct Job: @unchecked Sendable {
        let source: UnsafePointer<Float>
        let weights: UnsafePointer<Float>
        let target: UnsafeMutablePointer<Float>
    }

    private func padInput() -> [Float] {
        let plane = paddedHeight * paddedWidth
        var result = [Float](repeating: 0, count: conv.inChannels * paddedDepth * plane)
        for c in 0..<conv.inChannels {
            for z in 0..<input.size.depth {
                for y in 0..<input.size.height {
                    let from = ((c * input.size.depth + z) * input.size.height + y) * input.size.width
                    let to = (c * paddedDepth + z + conv.padding.depth) * plane
                        + (y + conv.padding.height) * paddedWidth + conv.padding.width
                    result.replaceSubrange(to..<(to + input.size.width), with: input.values[from..<(from + input.size.width)])
                }
            }
        }
        return result
    }

    /// `[group][in][tap][4]`, zero for channels that do not exist.
    private func packWeights() -> [Float] {
        let taps = conv.kernel.count
        var result = [Float](repeating: 0, count: groups * conv.inChannels * taps * 4)
        for o in 0..<conv.outChannels {
            for i in 0..<(conv.inChannels * taps) {
                result[((o / 4) * conv.inChannels * taps + i) * 4 + o % 4] = conv.weights[o * conv.inChannels * taps + i]
            }
        }
        return result
    }

    private func row(_ job: Job, _ z: Int, _ y: Int) {
        let base = unsafe job.source + (z * paddedHeight + y) * paddedWidth
        for group in 0..<groups {
            for x in stride(from: 0, to: outSize.width, by: Self.columns) {
                let sums = unsafe tile(base + x, job.weights + group * conv.inChannels * conv.kernel.count * 4)
                for lane in 0..<min(4, conv.outChannels - group * 4) {
                    let channel = group * 4 + lane
                    let sum = sums[lane] + conv.bias[channel]
                    let to = unsafe job.target + ((channel * outSize.depth + z) * outSize.height + y) * outSize.width + x
                    for column in 0..<min(Self.columns, outSize.width - x) { unsafe to[column] = sum[column] }
                }
            }
        }
    }

    @inline(__always)
    private func tile(_ source: UnsafePointer<Float>, _ weights: UnsafePointer<Float>) -> InlineArray<4, SIMD16<Float>> {
        var a = SIMD16<Float>.zero
        var b = SIMD16<Float>.zero
        var c = SIMD16<Float>.zero
        var d = SIMD16<Float>.zero
        var w = unsafe weights
        for channel in 0..<conv.inChannels {
            for kz in 0..<conv.kernel.depth {
                for ky in 0..<conv.kernel.height {
                    let offset = ((channel * paddedDepth + kz * conv.dilation.depth) * paddedHeight
                        + ky * conv.dilation.height) * paddedWidth
                    for kx in 0..<conv.kernel.width {
                        let at = unsafe UnsafeRawPointer(source + offset + kx * conv.dilation.width)
                        let x = unsafe at.loadUnaligned(as: SIMD16<Float>.self)
                        unsafe a += x * w[0]
                        unsafe b += x * w[1]
                        unsafe c += x * w[2]
                        unsafe d += x * w[3]
                        unsafe w += 4
                    }
                }
            }
        }
        return [a, b, c, d]
    }
}
