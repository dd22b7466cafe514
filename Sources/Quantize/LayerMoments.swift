import GraphIR
import Ops

/// What a convolution of the integer network reads at the drawn voxels, and what the float network writes there.
struct LayerMoments {
    /// `[in · tap][voxel]`, the order of the float weights: codes minus zero point, minus their mean.
    let features: [[Float]]
    let featureMeans: [Double]
    /// `[out][voxel]`, real, minus their mean.
    let targets: [[Float]]
    let targetMeans: [Double]
    let count: Int

    /// - Parameters:
    ///   - views: the tensor that the convolution reads, by input.
    ///   - voxels: of the output, by input.
    ///   - targets: `[voxel][out]`.
    init(_ conv: ConvWeights, views: [TensorView], voxels: [[Int]], targets: [Float]) {
        count = voxels.reduce(0) { $0 + $1.count }
        var features = [[Float]](
            repeating: [Float](repeating: 0, count: count), count: conv.inChannels * conv.kernel.count)
        var first = 0
        for (view, voxels) in zip(views, voxels) {
            Self.gather(conv, view, voxels, &features, first)
            first += voxels.count
        }
        featureMeans = features.indices.map { Self.centre(&features[$0]) }
        self.features = features
        var byChannel = (0..<conv.outChannels).map { o in
            stride(from: o, to: targets.count, by: conv.outChannels).map { targets[$0] }
        }
        targetMeans = byChannel.indices.map { Self.centre(&byChannel[$0]) }
        self.targets = byChannel
    }

    private static func centre(_ values: inout [Float]) -> Double {
        let mean = values.reduce(0) { $0 + Double($1) } / Double(max(1, values.count))
        for i in values.indices { values[i] -= Float(mean) }
        return mean
    }

    private static func gather(
        _ conv: ConvWeights, _ view: TensorView, _ voxels: [Int], _ features: inout [[Float]], _ first: Int
    ) {
        let input = view.layout.extent
        let output = conv.outputSize(of: Size3(depth: input.depth, height: input.height, width: input.width))
        let zero = Int32(view.record.zeroPoint)
        for (number, voxel) in voxels.enumerated() {
            let z0 = voxel / (output.height * output.width) * conv.stride.depth - conv.padding.depth
            let y0 = voxel / output.width % output.height * conv.stride.height - conv.padding.height
            let x0 = voxel % output.width * conv.stride.width - conv.padding.width
            for i in 0..<conv.inChannels {
                var feature = i * conv.kernel.count
                for kz in 0..<conv.kernel.depth {
                    let z = z0 + kz * conv.dilation.depth
                    for ky in 0..<conv.kernel.height {
                        let y = y0 + ky * conv.dilation.height
                        for kx in 0..<conv.kernel.width {
                            let x = x0 + kx * conv.dilation.width
                            // Outside is the real value 0.
                            if z >= 0, z < input.depth, y >= 0, y < input.height, x >= 0, x < input.width {
                                features[feature][first + number] = Float(view.code(i, z, y, x) - zero)
                            }
                            feature += 1
                        }
                    }
                }
            }
        }
    }

    /// Of the features.
    func secondMoments() -> SymmetricMatrix { SymmetricMatrix(features: features) }

    /// Of output channel `o` with each feature.
    func crossMoments(_ o: Int) -> [Double] {
        features.map { SymmetricMatrix.product($0, targets[o]) / Double(max(1, count)) }
    }

    /// Σ weights · features at every voxel, without the mean.
    func products(_ weights: [Double]) -> [Double] {
        var result = [Double](repeating: 0, count: count)
        for (feature, weight) in zip(features, weights) where weight != 0 {
            unsafe feature.withUnsafeBufferPointer { feature in
                unsafe result.withUnsafeMutableBufferPointer { result in
                    for i in 0..<count { unsafe result[i] += weight * Double(feature[i]) }
                }
            }
        }
        return result
    }
}
