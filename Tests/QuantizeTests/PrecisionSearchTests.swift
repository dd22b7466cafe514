import GraphIR
import TestSupport
import Testing

@testable import Quantize

/// The search on a made-up network whose layers have known costs and needs.
@Suite struct PrecisionSearchTests {
    /// Loss of Dice of each layer in 8 bits, and bytes that 16 bits add.
    static let costs = ["a": 0.04, "b": 0.001, "c": 0.02, "input": 0.0005]
    static let bytes = ["a": 500, "b": 10, "c": 50, "input": 20]

    private static func names(_ wide: WideLayers) -> Set<String> {
        if case .layers(let names) = wide { names } else { [] }
    }

    private func search(_ target: PrecisionSearch.Target) throws -> PrecisionSearch.Result {
        var generator = SplitMix64(1)
        var graph = FloatGraph(inputChannels: 1)
        var value = 0
        for name in ["a", "b", "c"] {
            value = graph.append(name, .conv3d(LoweringTests.conv(&generator, graph.channels[value], 2)), [value])
        }
        value = graph.append("head", .conv3d(LoweringTests.conv(&generator, 2, 2, kernel: 1)), [value])
        graph.append("argmax", .argmax, [value])
        return try PrecisionSearch(graph: graph) { wide, _ in
            let dice = 1 - Self.costs.reduce(0) { $0 + (Self.names(wide).contains($1.key) ? 0 : $1.value) }
            return (dice, dice)
        } need: { wide, share in
            let bytes = Self.names(wide).reduce(1000) { $0 + Self.bytes[$1]! }
            let fits = bytes <= target.memory ?? .max
            return PrecisionSearch.Need(leastBytes: bytes, bytes: fits ? bytes : nil, time: 1 + share, plan: "whole")
        }.run(target) { _ in }
    }

    @Test func diceAloneTakesTheDearestFirst() throws {
        let result = try search(.init(maxDiceDrop: 0.03, memory: nil))
        #expect(result.sensitivities.map(\.layer) == ["a", "c", "b", "input"])
        #expect(result.wide == .layers(["a"]) && result.isReached && result.steps.count == 2)
    }

    /// 0, 1, 2, 4 layers, and then 3; the table has all of them in order.
    @Test func fewConversionsFindTheFewestLayers() throws {
        let result = try search(.init(maxDiceDrop: 0.0006, memory: nil))
        #expect(result.wide == .layers(["a", "b", "c"]) && result.isReached)
        #expect(result.steps.map(\.layers) == [[], ["a"], ["c"], ["b"], ["input"]] && result.chosen == 3)
        let all = try search(.init(maxDiceDrop: -1, memory: nil))
        #expect(all.wide == .layers(["a", "b", "c", "input"]) && !all.isReached)
        #expect(all.steps.map(\.layers) == [[], ["a"], ["c"], ["b", "input"]] && all.chosen == 3)
    }

    @Test func memoryAloneTakesTheBestThatFits() throws {
        let result = try search(.init(maxDiceDrop: nil, memory: 1070))
        #expect(result.wide == .layers(["b", "c"]) && result.isReached)
        #expect(result.steps.map(\.layers) == [[], ["a"], ["c"], ["b"], ["input"]])
        #expect(result.steps[1].fidelity == nil && result.steps[1].need.bytes == nil)
        #expect(result.chosen == 3 && result.steps[3].need.bytes == 1060)
    }

    @Test func bothHoldOrItIsSaid() throws {
        let both = try search(.init(maxDiceDrop: 0.045, memory: 1070))
        #expect(both.wide == .layers(["c"]) && both.isReached)
        #expect(try !search(.init(maxDiceDrop: 0.03, memory: 1070)).isReached)
        #expect(try search(.init(maxDiceDrop: 0.03, memory: 2000)).wide == .layers(["a"]))
    }
}
