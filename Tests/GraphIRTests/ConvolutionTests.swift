import GraphIR
import Testing

/// A convolution on a ragged shape.
struct ConvCase: Sendable, CustomTestStringConvertible {
    var channels: (Int, Int)
    var size: (Int, Int, Int)
    var kernel: (Int, Int, Int)
    var dilation: (Int, Int, Int)
    var padding: (Int, Int, Int)?

    var testDescription: String { "\(channels) \(size) kernel \(kernel) dilation \(dilation)" }

    static let all = [
        ConvCase(channels: (1, 1), size: (1, 1, 1), kernel: (1, 1, 1), dilation: (1, 1, 1)),
        ConvCase(channels: (1, 4), size: (3, 4, 8), kernel: (3, 3, 3), dilation: (1, 1, 1)),
        ConvCase(channels: (2, 5), size: (5, 4, 7), kernel: (3, 3, 3), dilation: (1, 1, 1)),
        ConvCase(channels: (3, 6), size: (4, 6, 9), kernel: (3, 3, 3), dilation: (2, 1, 3)),
        ConvCase(channels: (5, 7), size: (7, 5, 17), kernel: (5, 5, 5), dilation: (1, 1, 1)),
        ConvCase(channels: (2, 9), size: (6, 7, 31), kernel: (5, 3, 1), dilation: (1, 2, 1)),
        ConvCase(channels: (4, 8), size: (2, 3, 33), kernel: (1, 1, 3), dilation: (1, 1, 4)),
        // Dilation beyond the volume: every tap but the central one lies in the padding.
        ConvCase(channels: (2, 3), size: (3, 2, 5), kernel: (3, 3, 3), dilation: (16, 16, 16)),
        ConvCase(channels: (3, 4), size: (5, 6, 11), kernel: (1, 1, 1), dilation: (1, 1, 1)),
        ConvCase(
            channels: (2, 4), size: (6, 6, 10), kernel: (3, 3, 3), dilation: (1, 1, 1), padding: (0, 0, 0)),
        // More padding than the kernel reaches: rows of bias only.
        ConvCase(
            channels: (1, 2), size: (2, 2, 3), kernel: (3, 3, 3), dilation: (1, 1, 1), padding: (4, 3, 5)),
        ConvCase(
            channels: (1, 2), size: (4, 5, 6), kernel: (3, 1, 5), dilation: (2, 1, 1), padding: (1, 0, 1)),
    ]

    func make(_ random: inout SmallRandom) -> (ConvWeights, FloatTensor) {
        let kernel = Size3(depth: kernel.0, height: kernel.1, width: kernel.2)
        let same = (
            dilation.0 * (self.kernel.0 - 1) / 2, dilation.1 * (self.kernel.1 - 1) / 2,
            dilation.2 * (self.kernel.2 - 1) / 2
        )
        let padding = padding ?? same
        let size = Size3(depth: size.0, height: size.1, width: size.2)
        let conv = ConvWeights(
            outChannels: channels.1, inChannels: channels.0, kernel: kernel,
            dilation: Size3(depth: dilation.0, height: dilation.1, width: dilation.2),
            padding: Size3(depth: padding.0, height: padding.1, width: padding.2),
            weights: random.floats(channels.0 * channels.1 * kernel.count), bias: random.floats(channels.1))
        return (
            conv,
            FloatTensor(channels: channels.0, size: size, values: random.floats(channels.0 * size.count))
        )
    }
}

/// xorshift64*, enough for test data.
struct SmallRandom {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

    /// -1 ..< 1
    mutating func float() -> Float {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return Float(Int64(bitPattern: state &* 0x2545_F491_4F6C_DD1D) >> 40) / Float(1 << 23)
    }

    mutating func floats(_ count: Int) -> [Float] { (0..<count).map { _ in float() } }
}

/// The definition, in double.
func naiveConvolution(_ conv: ConvWeights, _ x: FloatTensor) -> [Double] {
    let out = conv.outputSize(of: x.size)
    var result: [Double] = []
    for o in 0..<conv.outChannels {
        for z in 0..<out.depth {
            for y in 0..<out.height {
                for column in 0..<out.width { result.append(naiveVoxel(conv, x, o, z, y, column)) }
            }
        }
    }
    return result
}

private func naiveVoxel(_ conv: ConvWeights, _ x: FloatTensor, _ o: Int, _ z: Int, _ y: Int, _ column: Int)
    -> Double
{
    var sum = Double(conv.bias[o])
    for i in 0..<conv.inChannels {
        for kz in 0..<conv.kernel.depth {
            for ky in 0..<conv.kernel.height {
                for kx in 0..<conv.kernel.width {
                    let a = z - conv.padding.depth + kz * conv.dilation.depth
                    let b = y - conv.padding.height + ky * conv.dilation.height
                    let c = column - conv.padding.width + kx * conv.dilation.width
                    guard (0..<x.size.depth).contains(a), (0..<x.size.height).contains(b),
                        (0..<x.size.width).contains(c)
                    else { continue }
                    let weight = conv.weights[
                        (((o * conv.inChannels + i) * conv.kernel.depth + kz) * conv.kernel.height + ky)
                            * conv.kernel.width + kx]
                    sum +=
                        Double(weight)
                        * Double(x.values[((i * x.size.depth + a) * x.size.height + b) * x.size.width + c])
                }
            }
        }
    }
    return sum
}

/// Outputs of all nodes before the argmax, and the labels.
func outputs(_ graph: FloatGraph, _ input: FloatTensor, threads: Int? = nil) -> ([FloatTensor], [UInt16]) {
    var seen: [FloatTensor] = []
    let labels = FloatExecutor(graph, threads: threads).run(input) { (index, tensor) throws(Never) in
        #expect(index == seen.count && tensor.channels == graph.channels[graph.nodes[index].output])
        seen.append(tensor)
    }
    return (seen, labels)
}

struct ConvolutionTests {
    @Test(arguments: ConvCase.all)
    func equalsTheDefinition(_ test: ConvCase) throws {
        var random = SmallRandom(seed: 7)
        let (conv, input) = test.make(&random)
        var graph = FloatGraph(inputChannels: conv.inChannels)
        let value = graph.append("conv", .conv3d(conv), [0])
        graph.append("argmax", .argmax, [value])
        try graph.check()
        let expected = naiveConvolution(conv, input)
        let (tensors, labels) = outputs(graph, input, threads: 2)
        #expect(tensors[0].size == (try graph.sizes(input: input.size))[1])
        #expect(tensors[0].values.count == expected.count)
        let worst = zip(tensors[0].values, expected).map { abs(Double($0) - $1) }.max()!
        #expect(worst < 1e-4, "largest difference \(worst)")
        #expect(labels == winners(tensors[0]))
        #expect(
            outputs(graph, input, threads: 1).0[0].values == tensors[0].values,
            "depends on the number of threads")
    }

    private func winners(_ scores: FloatTensor) -> [UInt16] {
        (0..<scores.size.count).map { voxel in
            let list = (0..<scores.channels).map { scores.values[$0 * scores.size.count + voxel] }
            return UInt16(list.firstIndex(of: list.max()!)!)
        }
    }
}
