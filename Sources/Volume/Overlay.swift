/// A picture for the eye: three orthogonal planes of an image with a label map in colour.
///
/// Left to right: axial (seen from the feet), coronal (from the front), sagittal (from the left side). The display is
/// **radiological**: the patient's left is on the right of the picture in the first two planes; the letters say so.
public enum Overlay {
    /// Weight of the colour inside a region; its outline is opaque.
    private static let alpha = 0.45
    private static let panelEdge = 400
    private static let gap = 8
    /// Between the panels, so that the letters at their edges are not read together.
    private static let border = SIMD3<UInt8>(60, 60, 60)

    /// Writes a PNG of at most 1232 x 416 pixels.
    /// - Parameters:
    ///   - image: shown in grey between its 1 % and 99.5 % quantiles.
    ///   - labels: on the stored grid of `image`, x fastest; 0 is not coloured.
    ///   - colours: by label value; further labels reuse them in turn. Empty: a built-in set.
    /// - Throws: exit 8 when the file exists and `overwrite` is false, is the image, or cannot be written.
    public static func writeOverlay(
        image: VoxelVolume, labels: [UInt16], colours: [SIMD3<UInt8>] = [], to path: String,
        overwrite: Bool = false
    ) throws(VolumeError) {
        precondition(labels.count == image.dims.count, "label map of another size")
        let scene = Scene(image: image, labels: labels, colours: colours.isEmpty ? defaultColours : colours)
        let panels = Plane.all.map { panel(scene, $0) }
        let width = panels.reduce(gap) { $0 + $1.width + gap }
        var canvas = PNGImage(width: width, height: panels.map(\.height).max()! + 2 * gap)
        for y in 0..<canvas.height {
            for x in 0..<canvas.width { canvas[x, y] = border }
        }
        var left = gap
        for panel in panels {
            let top = (canvas.height - panel.height) / 2
            for y in gap..<canvas.height - gap {
                for x in 0..<panel.width {
                    let inside = y >= top && y < top + panel.height
                    canvas[left + x, y] = inside ? panel[x, y - top] : SIMD3(0, 0, 0)
                }
            }
            left += panel.width + gap
        }
        try canvas.write(to: path, overwrite: overwrite, inputs: [image.header.path])
    }

    /// Label 0 has the first entry, which is never drawn.
    static let defaultColours: [SIMD3<UInt8>] = [
        SIMD3(0, 0, 0), SIMD3(230, 60, 60), SIMD3(60, 180, 75), SIMD3(255, 200, 40), SIMD3(70, 130, 230),
        SIMD3(245, 130, 50), SIMD3(150, 60, 190), SIMD3(70, 220, 220), SIMD3(240, 70, 220),
        SIMD3(190, 240, 70),
        SIMD3(250, 180, 190), SIMD3(0, 140, 140),
    ]

    /// Which world axes (0 right, 1 anterior, 2 superior) run along a picture. `right` and `down` tell the direction:
    /// 1 when the picture axis runs with the world axis.
    private struct Plane {
        let across: Int
        let acrossSign: Int
        let downAxis: Int
        let downSign: Int
        let through: Int
        /// Letters at the left, right, upper and lower edge.
        let letters: [Character]

        static let all = [
            Plane(
                across: 0, acrossSign: -1, downAxis: 1, downSign: -1, through: 2,
                letters: ["R", "L", "A", "P"]),
            Plane(
                across: 0, acrossSign: -1, downAxis: 2, downSign: -1, through: 1,
                letters: ["R", "L", "S", "I"]),
            Plane(
                across: 1, acrossSign: -1, downAxis: 2, downSign: -1, through: 0,
                letters: ["A", "P", "S", "I"]),
        ]
    }

    /// The volume seen in RAS order, without a copy.
    private struct Scene {
        let image: VoxelVolume
        let labels: [UInt16]
        let colours: [SIMD3<UInt8>]
        let map: AxisMap
        /// In RAS order.
        let size: GridSize
        let spacing: SIMD3<Double>
        let centre: [Int]
        let black: Double
        let white: Double

        init(image: VoxelVolume, labels: [UInt16], colours: [SIMD3<UInt8>]) {
            self.image = image
            self.labels = labels
            self.colours = colours
            // A header's codes always parse.
            map = AxisMap(stored: image.header.axisCodes, model: "RAS")!
            size = map.modelSize(of: image.dims)
            spacing = map.modelSpacing(of: image.header.spacing)
            let limits = image.quantiles([0.01, 0.995])
            black = limits[0]
            white = limits[1] > limits[0] ? limits[1] : limits[0] + 1
            let middle = Scene.centroid(labels, image.dims)
            var centre = [0, 0, 0]
            for axis in 0..<3 {
                let stored = middle[map.storedAxis[axis]]
                centre[axis] = map.isFlipped[axis] ? size[axis] - 1 - stored : stored
            }
            self.centre = centre
        }

        /// Of all labelled voxels, in stored order; the centre of the grid when there are none.
        static func centroid(_ labels: [UInt16], _ dims: GridSize) -> [Int] {
            var sums = [0, 0, 0]
            var count = 0
            var index = 0
            for z in 0..<dims.z {
                for y in 0..<dims.y {
                    for x in 0..<dims.x {
                        if labels[index] != 0 {
                            sums[0] += x
                            sums[1] += y
                            sums[2] += z
                            count += 1
                        }
                        index += 1
                    }
                }
            }
            return count == 0 ? [dims.x / 2, dims.y / 2, dims.z / 2] : sums.map { $0 / count }
        }

        private func storedIndex(_ position: [Int]) -> Int {
            var stored = [0, 0, 0]
            for axis in 0..<3 {
                stored[map.storedAxis[axis]] =
                    map.isFlipped[axis] ? size[axis] - 1 - position[axis] : position[axis]
            }
            return (stored[2] * image.dims.y + stored[1]) * image.dims.x + stored[0]
        }

        /// Grey 0...255 of a voxel in RAS order.
        func grey(_ position: [Int]) -> Double {
            let value = image.value(at: storedIndex(position))
            return min(max((value - black) / (white - black), 0), 1) * 255
        }

        func label(_ position: [Int]) -> Int { Int(labels[storedIndex(position)]) }

        /// Labels beyond the table reuse its entries after the first.
        func colour(_ label: Int) -> SIMD3<UInt8> {
            if label < colours.count { return colours[label] }
            return colours.count > 1 ? colours[1 + (label - 1) % (colours.count - 1)] : SIMD3(230, 60, 60)
        }
    }

    /// One plane at a common scale: the largest extent of the volume fills the panel's edge.
    private static func panel(_ scene: Scene, _ plane: Plane) -> PNGImage {
        let extent = (0..<3).map { Double(scene.size[$0]) * scene.spacing[$0] }
        let scale = Double(panelEdge) / extent.max()!
        let width = max(1, Int((extent[plane.across] * scale).rounded()))
        let height = max(1, Int((extent[plane.downAxis] * scale).rounded()))
        var picture = PNGImage(width: width, height: height)
        var labels = [Int](repeating: 0, count: width * height)
        for y in 0..<height {
            for x in 0..<width {
                var position = scene.centre
                position[plane.across] = voxel(x, width, scene.size[plane.across], plane.acrossSign)
                position[plane.downAxis] = voxel(y, height, scene.size[plane.downAxis], plane.downSign)
                labels[y * width + x] = scene.label(position)
                picture[x, y] = SIMD3(repeating: UInt8(scene.grey(position)))
            }
        }
        for y in 0..<height {
            for x in 0..<width where labels[y * width + x] != 0 {
                let own = labels[y * width + x]
                let neighbours = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]
                let isEdge = neighbours.contains {
                    $0 >= 0 && $1 >= 0 && $0 < width && $1 < height && labels[$1 * width + $0] != own
                }
                picture[x, y] = isEdge ? scene.colour(own) : blend(picture[x, y], scene.colour(own))
            }
        }
        Letters.draw(plane.letters[0], into: &picture, x: 4, y: height / 2 - 7)
        Letters.draw(plane.letters[1], into: &picture, x: width - 14, y: height / 2 - 7)
        Letters.draw(plane.letters[2], into: &picture, x: width / 2 - 5, y: 4)
        Letters.draw(plane.letters[3], into: &picture, x: width / 2 - 5, y: height - 18)
        return picture
    }

    /// The voxel under the middle of a pixel.
    private static func voxel(_ pixel: Int, _ pixels: Int, _ voxels: Int, _ sign: Int) -> Int {
        let index = min((2 * pixel + 1) * voxels / (2 * pixels), voxels - 1)
        return sign > 0 ? index : voxels - 1 - index
    }

    private static func blend(_ grey: SIMD3<UInt8>, _ colour: SIMD3<UInt8>) -> SIMD3<UInt8> {
        var result = SIMD3<UInt8>()
        for channel in 0..<3 {
            result[channel] = UInt8((1 - alpha) * Double(grey[channel]) + alpha * Double(colour[channel]))
        }
        return result
    }
}

/// The six direction letters, 5 x 7 dots, drawn at double size in white on a black rim.
private enum Letters {
    private static let dots: [Character: [UInt8]] = [
        "L": [0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b11111],
        "R": [0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001],
        "A": [0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
        "P": [0b11110, 0b10001, 0b10001, 0b11110, 0b10000, 0b10000, 0b10000],
        "S": [0b01111, 0b10000, 0b10000, 0b01110, 0b00001, 0b00001, 0b11110],
        "I": [0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b11111],
    ]

    static func draw(_ letter: Character, into picture: inout PNGImage, x: Int, y: Int) {
        guard let rows = dots[letter] else { return }
        for rim in [true, false] {
            for (row, bits) in rows.enumerated() {
                for column in 0..<5 where bits >> (4 - UInt8(column)) & 1 == 1 {
                    let margin = rim ? 1 : 0
                    for dy in -margin..<2 + margin {
                        for dx in -margin..<2 + margin {
                            picture[x + 2 * column + dx, y + 2 * row + dy] = SIMD3(repeating: rim ? 0 : 255)
                        }
                    }
                }
            }
        }
    }
}
