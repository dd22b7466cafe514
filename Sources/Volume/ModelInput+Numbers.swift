extension ModelInput {
    /// The network's real input numbers (before they become codes) of the whole model grid, its first axis fastest: what
    /// the float network is run on. Interpolates in the order that `write` uses.
    public func numbers() -> [Float] {
        NumberReader(
            grid: grid, axisMap: axisMap, map: coder.map, slope: volume.header.slope, inter: volume.header.inter,
            dims: volume.dims
        ).numbers(volume)
    }
}

private struct NumberReader: VoxelVisitor {
    let grid: GridMap
    let axisMap: AxisMap
    let map: IntensityMap
    let slope: Double
    let inter: Double
    let dims: GridSize

    /// Not a part of the generic type, so that it is compiled once and fast.
    func numbers(_ volume: VoxelVolume) -> [Float] {
        var reader = self
        return volume.voxels.apply(&reader)
    }

    func visit<T: VoxelScalar>(_ voxels: [T]) -> [Float] {
        let size = grid.modelSize
        let steps = [1, dims.x, dims.x * dims.y]
        /// Linear offset of an input index along a model axis.
        func offset(_ axis: Int, _ index: Int) -> Int {
            let count = grid.inputSize[axis]
            return (axisMap.isFlipped[axis] ? count - 1 - index : index) * steps[axisMap.storedAxis[axis]]
        }
        typealias Tap = (lower: Int, upper: Int, share: Double)
        let taps: [[Tap?]] = (0..<3).map { axis in
            (0..<size[axis]).map { index in
                grid.axes[axis].taps(index).map { (offset(axis, $0.lower), offset(axis, $0.upper), $0.share) }
            }
        }
        func real(_ at: Int) -> Double { slope * voxels[at].real + inter }
        func blend(_ low: Double, _ high: Double, _ share: Double) -> Double { low + (high - low) * share }
        var result: [Float] = []
        result.reserveCapacity(size.count)
        for z in taps[2] {
            for y in taps[1] {
                for x in taps[0] {
                    guard let z, let y, let x else {
                        result.append(map.number(0))
                        continue
                    }
                    func column(_ x: Int, _ y: Int) -> Double {
                        blend(real(x + y + z.lower), real(x + y + z.upper), z.share)
                    }
                    func row(_ x: Int) -> Double { blend(column(x, y.lower), column(x, y.upper), y.share) }
                    let value =
                        grid.interpolates
                        ? blend(row(x.lower), row(x.upper), x.share) : real(x.lower + y.lower + z.lower)
                    result.append(map.number(value))
                }
            }
        }
        return result
    }
}
