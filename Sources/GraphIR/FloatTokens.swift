/// The float forms of the operations of state-space and Kolmogorov-Arnold blocks. Plain loops: they are a small part of a
/// network's work.
enum FloatTokens {
    // MARK: Normalization

    static func normalize(_ x: inout FloatTensor, _ norm: GroupNorm) {
        let count = x.size.count
        let part = norm.isPerSlice ? count / x.size.depth : count
        let perGroup = x.channels / norm.groups
        for group in 0..<norm.groups {
            for first in stride(from: 0, to: count, by: part) {
                let channels = (group * perGroup)..<((group + 1) * perGroup)
                let ranges = channels.map { ($0 * count + first)..<($0 * count + first + part) }
                let (mean, inverse) = moments(ranges.map { x.values[$0] }, norm.epsilon)
                for (channel, range) in zip(channels, ranges) {
                    let gain = inverse * Double(norm.scale[channel])
                    let offset = Double(norm.shift[channel]) - mean * gain
                    for i in range { x.values[i] = Float(Double(x.values[i]) * gain + offset) }
                }
            }
        }
    }

    static func normalize(_ x: inout FloatTensor, _ norm: LayerNorm) {
        let count = x.size.count
        var token = [Float](repeating: 0, count: x.channels)
        for t in 0..<count {
            for c in 0..<x.channels { token[c] = x.values[c * count + t] }
            let (mean, inverse) = moments([token[...]], norm.epsilon)
            for c in 0..<x.channels {
                x.values[c * count + t] = Float(
                    (Double(token[c]) - mean) * inverse * Double(norm.scale[c]) + Double(norm.shift[c]))
            }
        }
    }

    private static func moments(_ parts: [ArraySlice<Float>], _ epsilon: Double) -> (mean: Double, inverse: Double) {
        let count = Double(parts.reduce(0) { $0 + $1.count })
        let mean = parts.reduce(0.0) { $1.reduce($0) { $0 + Double($1) } } / count
        let variance = parts.reduce(0.0) { $1.reduce($0) { $0 + (Double($1) - mean) * (Double($1) - mean) } } / count
        return (mean, 1 / (variance + epsilon).squareRoot())
    }

    // MARK: Convolutions

    static func strided(_ x: FloatTensor, _ conv: ConvWeights) -> FloatTensor {
        var result = FloatTensor(channels: conv.outChannels, size: conv.outputSize(of: x.size))
        let size = result.size
        let taps = conv.kernel.count
        for z in 0..<size.depth {
            for y in 0..<size.height {
                for xx in 0..<size.width {
                    let at = (z * size.height + y) * size.width + xx
                    for o in 0..<conv.outChannels { result.values[o * size.count + at] = conv.bias[o] }
                    for tap in 0..<taps {
                        guard let source = position(tap, z, y, xx, conv, x.size) else { continue }
                        for i in 0..<conv.inChannels {
                            let value = x.values[i * x.size.count + source]
                            for o in 0..<conv.outChannels {
                                result.values[o * size.count + at] +=
                                    value * conv.weights[(o * conv.inChannels + i) * taps + tap]
                            }
                        }
                    }
                }
            }
        }
        return result
    }

    private static func position(_ tap: Int, _ z: Int, _ y: Int, _ x: Int, _ conv: ConvWeights, _ size: Size3) -> Int? {
        let k = conv.kernel
        let a = z * conv.stride.depth + tap / (k.height * k.width) * conv.dilation.depth - conv.padding.depth
        let b = y * conv.stride.height + tap / k.width % k.height * conv.dilation.height - conv.padding.height
        let c = x * conv.stride.width + tap % k.width * conv.dilation.width - conv.padding.width
        guard a >= 0, a < size.depth, b >= 0, b < size.height, c >= 0, c < size.width else { return nil }
        return (a * size.height + b) * size.width + c
    }

    static func depthwise(_ x: FloatTensor, _ conv: DepthwiseConv) -> FloatTensor {
        let k = conv.kernel
        let shape = ConvWeights(
            outChannels: 1, inChannels: 1, kernel: k, dilation: Size3(cube: 1),
            padding: Size3(depth: k.depth / 2, height: k.height / 2, width: k.width / 2),
            weights: [Float](repeating: 0, count: k.count), bias: [0])
        var result = x
        for c in 0..<x.channels {
            var one = shape
            one.weights = Array(conv.weights[(c * k.count)..<((c + 1) * k.count)])
            one.bias = [conv.bias[c]]
            let count = x.size.count
            let channel = FloatTensor(
                channels: 1, size: x.size, values: Array(x.values[(c * count)..<((c + 1) * count)]))
            result.values.replaceSubrange((c * count)..<((c + 1) * count), with: strided(channel, one).values)
        }
        return result
    }

    static func convolve(_ x: FloatTensor, _ conv: TokenConv) -> FloatTensor {
        let count = x.size.count
        var result = x
        for c in 0..<x.channels {
            for t in 0..<count {
                var sum = conv.bias[c]
                for k in 0..<conv.taps {
                    let back = conv.taps - 1 - k
                    let source = conv.reversed ? t + back : t - back
                    if source >= 0, source < count {
                        sum += conv.weights[c * conv.taps + k] * x.values[c * count + source]
                    }
                }
                result.values[c * count + t] = sum
            }
        }
        return result
    }

    static func reorder(_ x: FloatTensor, _ order: SliceOrder) -> FloatTensor {
        let (count, depth) = (x.size.count, x.size.depth)
        var result = x
        for c in 0..<x.channels {
            for n in 0..<count {
                let sequence = n % (count / depth) * depth + n / (count / depth)
                let (to, from) = order.isInverse ? (n, sequence) : (sequence, n)
                result.values[c * count + to] = x.values[c * count + from]
            }
        }
        return result
    }

    // MARK: Kolmogorov-Arnold and state space

    static func expand(_ x: FloatTensor, _ basis: KANBasis) -> FloatTensor {
        let (count, outputs) = (x.size.count, basis.outputsPerChannel)
        var result = FloatTensor(channels: x.channels * outputs, size: x.size)
        for c in 0..<x.channels {
            for t in 0..<count {
                let value = basis.clamp(Double(x.values[c * count + t]))
                for k in 0..<outputs {
                    result.values[(c * outputs + k) * count + t] = Float(max(basis.output(k, value), 0))
                }
            }
        }
        return result
    }

    static func softplus(_ v: Double) -> Double { v > 30 ? v : log1pValue(expValue(v)) }

    static func scan(
        _ x: FloatTensor, _ v: FloatTensor, _ bc: FloatTensor, _ scan: SelectiveScan
    ) -> (FloatTensor, [ScanPeaks]) {
        let (count, states) = (x.size.count, scan.states)
        var result = x
        var all: [ScanPeaks] = []
        for d in 0..<x.channels {
            var h = [Double](repeating: 0, count: states)
            var peaks = ScanPeaks()
            for step in 0..<count {
                let t = scan.reversed ? count - 1 - step : step
                let delta = softplus(Double(v.values[d * count + t]))
                let input = Double(x.values[d * count + t])
                var y = Double(scan.skip[d]) * input
                for n in 0..<states {
                    let b = Double(bc.values[n * count + t])
                    h[n] = expValue(delta * Double(scan.a[d * states + n])) * h[n] + delta * b * input
                    y += Double(bc.values[(states + n) * count + t]) * h[n]
                    peaks.state = max(peaks.state, abs(h[n]))
                }
                peaks.step = max(peaks.step, Double(v.values[d * count + t]))
                peaks.injection = max(peaks.injection, abs(delta * input))
                result.values[d * count + t] = Float(y)
            }
            all.append(peaks)
        }
        return (result, all)
    }

    static func gate(_ a: FloatTensor, _ b: FloatTensor, _ z: FloatTensor) -> FloatTensor {
        var result = a
        for i in a.values.indices {
            result.values[i] = (a.values[i] + b.values[i]) * Float(Activation.silu(Double(z.values[i])))
        }
        return result
    }
}
