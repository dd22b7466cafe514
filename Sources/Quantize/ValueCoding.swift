import GraphIR

/// Integer coding of one value: real = scale[channel] · (code - zeroPoint).
public struct ValueCoding: Equatable, Sendable {
    /// One for the whole tensor, or one per channel.
    public var scales: [Float]
    public var zeroPoint: UInt8
    /// Real values at the ends of the codes (of the widest channel).
    public var low: Float
    public var high: Float
    /// 16-bit codes -32,768 ... 32,767 with zero point 0, instead of bytes.
    public var isWide = false

    public func scale(_ channel: Int) -> Float { scales.count == 1 ? scales[0] : scales[channel] }

    /// Codes 0 ... 255 over [low, high]; 0 lies exactly on a code, so that zero padding is exact.
    static func unsigned(low: Float, high: Float) -> ValueCoding {
        let scale = (high - low) / 255
        let zeroPoint = UInt8(min(max((-low / scale).rounded(), 0), 255))
        return ValueCoding(
            scales: [scale], zeroPoint: zeroPoint, low: -Float(zeroPoint) * scale,
            high: Float(255 - Int(zeroPoint)) * scale)
    }

    /// 16-bit codes over -high ... high of every channel (or of all, when there is one).
    static func wide(high: [Float]) -> ValueCoding {
        let most = high.max() ?? 0
        return ValueCoding(
            scales: high.map { max($0, 1e-6) / 32767 }, zeroPoint: 0, low: -most, high: most, isWide: true)
    }

    /// One scale per channel, all starting at 0: free after a ReLU, because the next convolution's weights absorb it.
    static func perChannel(high: [Float]) -> ValueCoding {
        ValueCoding(scales: high.map { $0 / 255 }, zeroPoint: 0, low: 0, high: high.max() ?? 0)
    }
}

/// Chooses the coding of every value that the integer network stores.
struct CodingChooser {
    let graph: FloatGraph
    let calibration: Calibration
    let rule: RangeRule
    /// Scores get some room above what calibration saw: a clipped score could tie with another.
    static let scoreHeadroom: Float = 1.25

    func choose(input: ValueCoding) -> [ValueID: ValueCoding] {
        var result: [ValueID: ValueCoding] = [0: input]
        let fused = graph.valuesInsideFusedActivations
        for node in graph.nodes where !fused.contains(node.output) {
            switch node.op {
            case .argmax: break
            case .conv3d where feedsArgmax(node.output): result[node.output] = scores(node.output)
            case .conv3d where normOf(node.output) != nil: result[node.output] = statistics(node.output)
            case .activation(.relu) where onlyConvolutionsRead(node.output):
                result[node.output] = .perChannel(
                    high: (calibration.histograms[node.output] ?? []).map { rule.range($0).high })
            default:
                let range = rule.range(calibration.pooled(node.output))
                result[node.output] = .unsigned(low: range.low, high: range.high)
            }
        }
        unifyConcats(&result)
        return result
    }

    private func feedsArgmax(_ value: ValueID) -> Bool {
        graph.consumers(of: value).contains { graph.nodes[$0].op == .argmax }
    }

    private func onlyConvolutionsRead(_ value: ValueID) -> Bool {
        graph.consumers(of: value).allSatisfy { if case .conv3d = graph.nodes[$0].op { true } else { false } }
    }

    /// The group normalization that reads a value, if one does.
    private func normOf(_ value: ValueID) -> GroupNorm? {
        for index in graph.consumers(of: value) {
            if case .groupNorm(let norm) = graph.nodes[index].op { return norm }
        }
        return nil
    }

    /// What a normalization reads: 16 bits with room for four times the calibrated range, because a clipped value would
    /// shift the statistics of its whole group. Instance normalization cancels the scale, so each channel has its own.
    private func statistics(_ value: ValueID) -> ValueCoding {
        func room(_ histogram: Histogram) -> Float { 4 * max(abs(histogram.low), abs(histogram.high)) }
        let norm = normOf(value)!
        let isInstance = norm.groups == norm.scale.count && graph.consumers(of: value).count == 1
        return .wide(
            high: isInstance
                ? (calibration.histograms[value] ?? []).map(room) : [room(calibration.pooled(value))])
    }

    private func scores(_ value: ValueID) -> ValueCoding {
        let histogram = calibration.pooled(value)
        let most = max(abs(histogram.low), abs(histogram.high), 1e-6) * Self.scoreHeadroom
        return .wide(high: [most])
    }

    /// A concatenation does not rescale, so its inputs and output share one coding.
    private func unifyConcats(_ codings: inout [ValueID: ValueCoding]) {
        for node in graph.nodes where node.op == .concat {
            var histogram = Histogram()
            for input in node.inputs { histogram.merge(calibration.pooled(input)) }
            let range = rule.range(histogram)
            for value in node.inputs + [node.output] {
                codings[value] = .unsigned(low: range.low, high: range.high)
            }
        }
    }
}
