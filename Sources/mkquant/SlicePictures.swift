import GraphIR
import Quantize
import Volume

/// Slices of a comparison: the network's input in grey, labels in colour.
struct SlicePictures {
    private let input: FloatTensor
    private let comparison: Comparison
    private let colours: [PNGImage.Colour]
    private let isFlippedAcross: Bool
    private let isFlippedDown: Bool
    /// Of the input's first channel, what is shown black and white.
    private let black: Float
    private let white: Float

    /// PNG files in base 64.
    struct Slice {
        var index: Int
        var differing: Int
        var float: String
        var integer: String
        var difference: String
    }

    init(_ input: FloatTensor, _ comparison: Comparison, _ config: ModelConfig) {
        self.input = input
        self.comparison = comparison
        let classes = Int(max(comparison.floatLabels.max() ?? 0, comparison.integerLabels.max() ?? 0)) + 1
        colours = (0..<classes).map { index in
            if let labels = config.labels, index < labels.count {
                let rgb = labels[index].rgb
                return PNGImage.Colour(UInt8(rgb[0]), UInt8(rgb[1]), UInt8(rgb[2]))
            }
            let (red, green, blue) = Metadata.colour(index)
            return PNGImage.Colour(red, green, blue)
        }
        // The patient's left on the right, front on the left, top and front on top.
        let axes = Array(config.orientation)
        isFlippedAcross = axes[0] == "R" || axes[0] == "A" || axes[0] == "S"
        isFlippedDown = axes[1] == "S" || axes[1] == "A"
        var histogram = Histogram()
        histogram.add(input.values[..<input.size.count])
        black = histogram.low
        white = max(histogram.quantile(0.998), black + 1e-6)
    }

    /// The slices with the most voxels that differ, at most `count`, none next to another.
    func worst(_ count: Int) -> [Slice] {
        let size = input.size
        let plane = size.height * size.width
        let differing = (0..<size.depth).map { z in
            (z * plane..<(z + 1) * plane).count { comparison.floatLabels[$0] != comparison.integerLabels[$0] }
        }
        var chosen: [Int] = []
        for z in differing.indices.sorted(by: { (differing[$0], $1) > (differing[$1], $0) })
        where differing[z] > 0 && chosen.count < count {
            if chosen.allSatisfy({ abs($0 - z) > size.depth / 20 }) { chosen.append(z) }
        }
        return chosen.map { z in
            Slice(
                index: z, differing: differing[z], float: picture(z) { tinted($0, comparison.floatLabels) },
                integer: picture(z) { tinted($0, comparison.integerLabels) },
                difference: picture(z) { voxel in
                    comparison.floatLabels[voxel] == comparison.integerLabels[voxel]
                        ? grey(voxel) : PNGImage.Colour(235, 50, 40)
                })
        }
    }

    private func grey(_ voxel: Int) -> PNGImage.Colour {
        let level = UInt8(min(max((input.values[voxel] - black) / (white - black) * 255, 0), 255))
        return PNGImage.Colour(level, level, level)
    }

    private func tinted(_ voxel: Int, _ labels: [UInt16]) -> PNGImage.Colour {
        let (grey, label) = (grey(voxel), Int(labels[voxel]))
        guard label > 0 else { return grey }
        var result = grey
        for channel in 0..<3 { result[channel] = UInt8((Int(grey[channel]) + Int(colours[label][channel])) / 2) }
        return result
    }

    private func picture(_ z: Int, _ colour: (Int) -> PNGImage.Colour) -> String {
        let size = input.size
        var image = PNGImage(width: size.width, height: size.height)
        for y in 0..<size.height {
            for x in 0..<size.width {
                let column = isFlippedAcross ? size.width - 1 - x : x
                let row = isFlippedDown ? size.height - 1 - y : y
                image[column, row] = colour((z * size.height + y) * size.width + x)
            }
        }
        return (try? image.encoded("report")).map(Self.base64) ?? ""
    }

    private static func base64(_ bytes: [UInt8]) -> String {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var word = group.reduce(0) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
            word <<= 8
            for index in 0..<4 {
                text.append(index <= group.count ? digits[Int(word >> 26)] : UInt8(ascii: "="))
                word <<= 6
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
