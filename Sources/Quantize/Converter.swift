import FlatGraph
import GraphIR
import MKRuntime

/// Float graph and calibration volumes in, model file out.
public struct Converter {
    public struct Options: Sendable {
        public var rule = RangeRule.mse
        public var methods: Methods = .everything
        public var wide = WideLayers.none
        public var threads = 1

        public init() {}
    }

    /// Where the work is, for a progress line.
    public enum Stage: Sendable {
        case calibrating(volume: Int, of: Int)
        case reference
        case tuning
        case comparing
    }

    public let graph: FloatGraph
    /// What calibration saw does not depend on them, so that they can change between two conversions.
    public var options: Options
    private let report: (Stage, Double) -> Void
    private var calibration = Calibration()

    /// - Parameter graph: prepared here.
    public init(graph: FloatGraph, options: Options, report: @escaping (Stage, Double) -> Void) {
        self.graph = graph.prepared()
        self.options = options
        self.report = report
    }

    /// Adds what one volume (normalized, in network axis order) shows.
    public mutating func calibrate(_ input: FloatTensor, volume: Int, of total: Int) {
        let report = report
        calibration.add(graph, input) { report(.calibrating(volume: volume, of: total), $0) }
    }

    /// What the float network says of the volumes or patches on which conversions are tuned.
    /// - Parameters: as for `convert`.
    public func reference(
        _ samples: [FloatTensor], inputCoding: ValueCoding?, metadata: ModelBuilder
    ) throws(QuantizeError) -> FloatReference {
        // Where the labels are, a first conversion knows well enough, and much sooner than the float network.
        let model = try convert(inputCoding: inputCoding, metadata: metadata, reference: nil)
        let network = try? IntegerNetwork(model.bytes, threads: options.threads)
        let labels = samples.compactMap { try? network?.run($0) }
        return FloatReference(graph, samples, labels: labels.count == samples.count ? labels : []) {
            report(.reference, $0)
        }
    }

    /// - Parameters:
    ///   - inputCoding: coding in bytes of the network's input, nil to calibrate it. Where the input is asked for in 16 bits,
    ///     these go over the same range.
    ///   - metadata: everything of the file but the graph.
    ///   - reference: volumes or patches to tune on; without any nothing is tuned.
    ///   - wide: other layers in 16 bits than the options say.
    public func convert(
        inputCoding: ValueCoding?, metadata: ModelBuilder, reference: FloatReference?, wide: WideLayers? = nil
    ) throws(QuantizeError) -> LoweredModel {
        let requested = try graph.values(wide ?? options.wide)
        let chooser = CodingChooser(
            graph: graph, calibration: calibration, rule: options.rule, requested: requested,
            equalizes: options.methods.contains(.equalization))
        let inputRange = RangeRule.minMax.range(calibration.pooled(0))
        let input = inputCoding ?? .unsigned(low: inputRange.low, high: inputRange.high)
        let codings = chooser.choose(input: input)
        let plain = Lowering(
            graph: graph, codings: codings, copyCodings: chooser.copies(), byteForms: chooser.byteForms(),
            importance: { importance($0, codings[$0]!) },
            clipsWeights: options.methods.contains(.weightClipping), scanPeaks: calibration.scanPeaks,
            metadata: metadata)
        var lowering = plain
        let model = try lowering.run()
        guard let reference, !options.methods.isDisjoint(with: .tuning) else { return model }
        let tuner = LayerTuner(reference: reference, methods: options.methods, threads: options.threads)
        var tuned = plain
        tuned.tuned = try tuner.run(lowering, model) { report(.tuning, $0) }
        return try tuned.run()
    }

    /// The same for one conversion only.
    /// - Parameter samples: volumes or patches to tune on; without any nothing is tuned.
    public func convert(
        inputCoding: ValueCoding?, metadata: ModelBuilder, samples: [FloatTensor]
    ) throws(QuantizeError) -> LoweredModel {
        let reference =
            samples.isEmpty ? nil : try reference(samples, inputCoding: inputCoding, metadata: metadata)
        return try convert(inputCoding: inputCoding, metadata: metadata, reference: reference)
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
