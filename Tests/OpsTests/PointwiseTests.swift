import Ops
import TestSupport
import Testing

@Suite struct PointwiseTests {
    static let shapes: [(channels: Int, extent: Extent, padX: Int)] = [
        (1, Extent(depth: 1, height: 1, width: 1), 0), (3, Extent(depth: 2, height: 3, width: 17), 1),
        (4, Extent(depth: 1, height: 2, width: 16), 2), (7, Extent(depth: 3, height: 1, width: 33), 16),
        (33, Extent(depth: 1, height: 1, width: 5), 0),
    ]

    @Test(arguments: shapes.indices) func lookupMapsEveryCode(_ index: Int) {
        let shape = Self.shapes[index]
        var generator = SplitMix64(UInt64(index))
        let layout = TensorLayout(channels: shape.channels, extent: shape.extent, element: .u8, padX: shape.padX)
        let table = (0..<256).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let input = TestTensor(layout, zeroPoint: 3)
        input.randomize(&generator)
        let output = TestTensor(layout, zeroPoint: 0)
        table.withUnsafeBufferPointer {
            Lookup().run(
                isa: .portable, table: $0.baseAddress!, input: input.base, inputLayout: layout, output: output.base,
                outputLayout: layout, zeroPoint: 9, rows: 0..<layout.extent.rows)
        }
        #expect(output.guardsIntact)
        forEachVoxel(layout) { c, z, y, x in
            #expect(output[c, z, y, x] == Int(table[input[c, z, y, x]]))
        }
        if shape.padX > 0 { #expect(output.base.load(as: UInt8.self) == 9) }
    }

    @Test(arguments: shapes.indices) func addIsOneRoundingOfTheRealSum(_ index: Int) {
        let shape = Self.shapes[index]
        var generator = SplitMix64(UInt64(index + 50))
        let layout = TensorLayout(channels: shape.channels, extent: shape.extent, element: .u8, padX: shape.padX)
        let a = TestTensor(layout, zeroPoint: 10)
        let b = TestTensor(layout, zeroPoint: 200)
        a.randomize(&generator)
        b.randomize(&generator)
        let output = TestTensor(layout, zeroPoint: 0)
        let add = Add(
            multiplierA: 3 << 29, multiplierB: 5 << 28, shift: 32, zeroPointA: 10, zeroPointB: 200, zeroPointOut: 77)
        add.run(
            isa: .portable, a: a.base, layoutA: layout, b: b.base, layoutB: layout, output: output.base,
            outputLayout: layout, rows: 0..<layout.extent.rows)
        #expect(output.guardsIntact)
        forEachVoxel(layout) { c, z, y, x in
            // 3·2^29/2^32 = 0.375 and 5·2^28/2^32 = 0.3125 are exact in Double, so is the sum.
            let real = 0.375 * Double(a[c, z, y, x] - 10) + 0.3125 * Double(b[c, z, y, x] - 200)
            #expect(output[c, z, y, x] == min(max(77 + Int((real + 0.5).rounded(.down)), 0), 255))
        }
    }

    @Test(arguments: [[4, 4], [1, 1], [3, 5, 2], [8, 1], [5, 33, 4]], [ElementType.u8, .i16])
    func concatKeepsOrder(_ channels: [Int], _ element: ElementType) {
        var generator = SplitMix64(99)
        let extent = Extent(depth: 2, height: 2, width: 19)
        let concat = Concat(channels: channels)
        let outLayout = TensorLayout(channels: concat.outChannels, extent: extent, element: element, padX: 2)
        let output = TestTensor(outLayout, zeroPoint: 0xEE)
        var sources: [TestTensor] = []
        for (index, count) in channels.enumerated() {
            let layout = TensorLayout(channels: count, extent: extent, element: element, padX: index)
            let source = TestTensor(layout, zeroPoint: 4)
            source.randomize(&generator)
            concat.run(
                source: index, input: source.base, inputLayout: layout, output: output.base, outputLayout: outLayout,
                zeroPoint: 4, rows: 0..<extent.rows)
            sources.append(source)
        }
        #expect(output.guardsIntact)
        var first = 0
        for source in sources {
            forEachVoxel(source.layout) { c, z, y, x in
                #expect(output[first + c, z, y, x] == source[c, z, y, x])
            }
            first += source.layout.channels
        }
        for absent in concat.outChannels..<(outLayout.blocks * element.channelsPerBlock) {
            #expect(output[absent, 1, 1, 18] == 0)
        }
        #expect(output.base.load(as: UInt8.self) == 4)
    }

    @Test(arguments: [1, 2, 3, 18, 104, 257, 300], [ElementType.i16, .u8])
    func argmaxTakesTheLowestOfEquals(_ classes: Int, _ element: ElementType) {
        var generator = SplitMix64(UInt64(classes))
        let layout = TensorLayout(
            channels: classes, extent: Extent(depth: 1, height: 1, width: 37), element: element)
        let scores = TestTensor(layout, zeroPoint: 0)
        scores.randomize(&generator)
        for x in 0..<10 {  // ties
            for c in 0..<classes { scores[c, 0, 0, x] = scores[c, 0, 0, x] / 64 }
        }
        let argmax = Argmax(classes: classes)
        for isa in ISA.allCases where isa.isSupported {
            var labels = [UInt8](repeating: 0xFF, count: 37 * argmax.labelBytes + 8)
            labels.withUnsafeMutableBytes {
                argmax.run(
                    isa: isa, scores: scores.base + layout.rowOffset(z: 0, y: 0), layout: layout,
                    labels: $0.baseAddress!)
            }
            #expect(labels.suffix(8).allSatisfy { $0 == 0xFF })
            for x in 0..<37 {
                let values = (0..<classes).map { scores[$0, 0, 0, x] }
                let expected = values.firstIndex(of: values.max()!)!
                let label = argmax.labelBytes == 1 ? Int(labels[x]) : Int(labels[2 * x]) | Int(labels[2 * x + 1]) << 8
                #expect(label == expected, "\(isa) \(classes) classes, voxel \(x)")
            }
        }
    }

    /// Sums from the formula; labels from the sums, the lowest class on a tie; nothing beside the row is touched.
    @Test(arguments: [1, 2, 7, 300], [ElementType.i16, .u8])
    func windowSumsAndTheirLabels(_ classes: Int, _ element: ElementType) {
        for width in [1, 15, 37, 64, 65, 133] {
            var generator = SplitMix64(UInt64(classes * 1000 + width))
            let layout = TensorLayout(
                channels: classes, extent: Extent(depth: 1, height: 1, width: width), element: element)
            let scores = TestTensor(layout, zeroPoint: 0)
            scores.randomize(&generator)
            let table = (0..<width).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let zy = Int32.random(in: 0...65_025, using: &generator)
            let plane = width + 3
            // Few values, so that there are ties.
            let start = (0..<(classes * plane)).map { _ in Int32.random(in: -2...2, using: &generator) << 29 }
            let window = WindowSums(classes: classes)
            let bytes = Argmax(classes: classes).labelBytes
            for isa in ISA.allCases where isa.isSupported {
                var sums = start
                window.add(
                    isa: isa, scores: scores.base + layout.rowOffset(z: 0, y: 0), layout: layout, table: table, zy: zy,
                    sums: &sums, plane: plane, width: width)
                for c in 0..<classes {
                    for x in 0..<plane {
                        let added =
                            x < width ? max(4, (zy &* Int32(table[x])) >> 12) &* Int32(scores[c, 0, 0, x]) : 0
                        #expect(sums[c * plane + x] == start[c * plane + x] &+ added, "\(isa) \(c) \(x)")
                    }
                }
                for values in [start, sums] {
                    var labels = [UInt8](repeating: 0xEE, count: width * bytes + 8)
                    labels.withUnsafeMutableBytes {
                        window.labels(
                            isa: isa, sums: values, plane: plane, labels: $0.baseAddress!, width: width)
                    }
                    #expect(labels.suffix(8).allSatisfy { $0 == 0xEE })
                    for x in 0..<width {
                        let all = (0..<classes).map { values[$0 * plane + x] }
                        let label = bytes == 1 ? Int(labels[x]) : Int(labels[2 * x]) | Int(labels[2 * x + 1]) << 8
                        #expect(label == all.firstIndex(of: all.max()!)!, "\(isa) \(classes) classes, voxel \(x)")
                    }
                }
            }
        }
    }

}
