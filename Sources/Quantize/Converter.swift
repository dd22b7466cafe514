import FlatGraph
import GraphIR
import MKRuntime

/// Float graph and calibration volumes in, model file out.
public struct Converter {
    public struct Options: Sendable {
        public var rule = RangeRule.mse
        public var correctsBias = true
        public var wide = WideLayers.none
        public var threads = 1

        public init() {}
    }

    /// Where the work is, for a progress line.
    public enum Stage: Sendable {
        case calibrating(volume: Int, of: Int)
        case correctingBias
        case comparing
    }

    public let graph: FloatGraph
    /// What calibration saw does not depend on them, so that they can change between two conversions.
    public var options: Options
    private let report: (Stage, Double) -> Void
    private var calibration = Calibration()

    /// - Parameter graph: batch normalization is folded here.
    public init(graph: FloatGraph, options: Options, report: @escaping (Stage, Double) -> Void) {
        self.graph = graph.foldingBatchNorm()
        self.options = options
        self.report = report
    }

    /// Adds what one volume (normalized, in network axis order) shows.
    public mutating func calibrate(_ input: FloatTensor, volume: Int, of total: Int) {
        let report = report
        calibration.add(graph, input) { report(.calibrating(volume: volume, of: total), $0) }
    }

    /// - Parameters:
    ///   - inputCoding: coding of the network's input; nil to calibrate it.
    ///   - metadata: everything of the file but the graph.
    ///   - samples: volumes or patches of one size for bias correction; without any there is none.
    ///   - wide: other layers in 16 bits than the options say.
    public func convert(
        inputCoding: ValueCoding?, metadata: ModelBuilder, samples: [FloatTensor], wide: WideLayers? = nil
    ) throws(QuantizeError) -> LoweredModel {
        let requested = try graph.values(wide ?? options.wide)
        let chooser = CodingChooser(graph: graph, calibration: calibration, rule: options.rule, requested: requested)
        let inputRange = RangeRule.minMax.range(calibration.pooled(0))
        let codings = chooser.choose(
            input: inputCoding ?? .unsigned(low: inputRange.low, high: inputRange.high))
        let narrowCopies = chooser.narrowCopies()
        let byteForms = chooser.byteForms()
        func lower(_ corrections: [Int: [Double]]) throws(QuantizeError) -> LoweredModel {
            var lowering = Lowering(
                graph: graph, codings: codings, narrowCopies: narrowCopies, byteForms: byteForms,
                importance: { importance($0, codings[$0]!) },
                biasCorrections: corrections, scanPeaks: calibration.scanPeaks, metadata: metadata)
            return try lowering.run()
        }
        guard options.correctsBias, !samples.isEmpty else { return try lower([:]) }
        let report = report
        let corrections = try BiasCorrection(graph: graph, inputs: samples).corrections(
            threads: options.threads, report: { report(.correctingBias, $0) }, lower: lower)
        return try lower(corrections)
    }

    /// What calibration saw of a value, its channels together.
    public func histogram(_ value: ValueID) -> Histogram { calibration.pooled(value) }

    /// Mean square code of each channel of a value, as calibration saw it.
    private func importance(_ value: ValueID, _ coding: ValueCoding) -> [Double] {
        (calibration.histograms[value] ?? []).enumerated().map { channel, histogram in
            let scale = Double(coding.scale(channel))
            return max(histogram.energy / Double(max(1, histogram.count)) / (scale * scale), 1e-6)
        }
    }

    /// Class indices of the float network.
    public func floatLabels(_ input: FloatTensor) -> [UInt16] { Comparison.floatLabels(graph, input) }

    public func compare(_ model: LoweredModel, _ input: FloatTensor) throws(RuntimeError) -> Comparison {
        let network: IntegerNetwork
        do {
            network = try IntegerNetwork(model.bytes, threads: options.threads)
        } catch {
            preconditionFailure("the converter wrote a file that its own reader refuses: \(error)")
        }
        let report = report
        return try Comparison(
            graph: graph, nodes: model.nodes, network: network, input: input, report: { report(.comparing, $0) })
    }
}
