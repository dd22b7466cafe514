/// One channel of the network's input: a volume in memory, seen in model axis order on the model's grid, as codes.
/// Planes are produced on demand, in any order, so that a pipeline needs memory only for the planes it holds.
public struct ModelInput<Code: InputCode>: Sendable {
    public let volume: VoxelVolume
    public let axisMap: AxisMap
    public let grid: GridMap
    public let coder: VoxelCoder<Code>
    /// Code of every possible stored value of a type of up to 16 bits (65536 at most); empty for wider types.
    private let table: [Code]
    /// One input plane in real values and one row, only when the grid is interpolated.
    private var plane: [Double]
    private var row: [Double]

    /// - Parameters:
    ///   - axisMap: from the volume's axis codes to the model's.
    ///   - grid: over the volume in model axis order.
    public init(volume: VoxelVolume, axisMap: AxisMap, grid: GridMap, coder: VoxelCoder<Code>) {
        precondition(axisMap.modelSize(of: volume.dims) == grid.inputSize, "grid of another volume")
        self.volume = volume
        self.axisMap = axisMap
        self.grid = grid
        self.coder = coder
        var maker = TableMaker(coder: coder, slope: volume.header.slope, inter: volume.header.inter)
        table = volume.voxels.apply(&maker)
        let size = grid.inputSize
        plane = grid.interpolates ? [Double](repeating: 0, count: size.x * size.y) : []
        row = grid.interpolates ? [Double](repeating: 0, count: size.x) : []
    }

    /// Bytes held beside the volume, all allocated by `init`.
    public static func bytesNeeded(_ header: NIfTIHeader, grid: GridMap) -> Int {
        let scratch = grid.interpolates ? 8 * grid.inputSize.x * (grid.inputSize.y + 1) : 0
        let values = header.datatype.storedByteCount <= 2 ? 1 << (8 * header.datatype.byteCount) : 0
        return scratch + values * MemoryLayout<Code>.size
    }

    /// Writes the codes of some planes of the model's grid: element (((k - first) * Y + j) * X + i) * stride + lane.
    /// Voxels outside the input have the real value 0. Allocates nothing.
    /// - Parameters:
    ///   - planes: along the model's third axis.
    ///   - codes: planes.count * X * Y * stride; those of other lanes are left alone.
    public mutating func write(
        planes: Range<Int>, into codes: inout MutableSpan<Code>, stride: Int = 1, lane: Int = 0
    ) {
        let size = grid.modelSize
        precondition(planes.lowerBound >= 0 && planes.upperBound <= size.z, "planes outside the model's grid")
        precondition(
            codes.count == planes.count * size.x * size.y * stride && lane < stride,
            "code buffer of another size")
        guard grid.interpolates else {
            return gather(planes: planes, rows: 0..<size.y, into: &codes, stride: stride, lane: lane)
        }
        let steps = storedSteps()
        unsafe codes.withUnsafeMutableBufferPointer { buffer in
            var writer = unsafe PlaneInterpolator(
                grid: grid, coder: coder, slope: volume.header.slope, inter: volume.header.inter, steps: steps,
                planes: planes, target: buffer, stride: stride, lane: lane, plane: [], row: [])
            // Moved there and back, so that the arrays stay unshared and are not copied.
            swap(&writer.plane, &plane)
            swap(&writer.row, &row)
            volume.voxels.apply(&writer)
            swap(&writer.plane, &plane)
            swap(&writer.row, &row)
        }
    }

    /// As `write`, of some rows of the planes, where the grid is not interpolated.
    /// - Parameter codes: planes.count * rows.count * X * stride.
    func gather(
        planes: Range<Int>, rows: Range<Int>, into codes: inout MutableSpan<Code>, stride: Int = 1, lane: Int = 0
    ) {
        precondition(!grid.interpolates, "a grid that is interpolated")
        precondition(
            codes.count == planes.count * rows.count * grid.modelSize.x * stride, "code buffer of another size")
        let steps = storedSteps()
        unsafe codes.withUnsafeMutableBufferPointer { buffer in
            var writer = unsafe PlaneGatherer(
                grid: grid, coder: coder, slope: volume.header.slope, inter: volume.header.inter, table: table,
                steps: steps, planes: planes, rows: rows, target: buffer, stride: stride, lane: lane)
            volume.voxels.apply(&writer)
        }
    }

    /// The codes of the whole model grid, its first axis fastest.
    public mutating func codes() -> [Code] {
        var result = [Code](repeating: 0, count: grid.modelSize.count)
        var span = result.mutableSpan
        write(planes: 0..<grid.modelSize.z, into: &span)
        return result
    }

    /// Stored index of the model-order input voxel (0, 0, 0), and what one step along each axis adds.
    private func storedSteps() -> StoredSteps {
        let dims = volume.dims
        let strides = [1, dims.x, dims.x * dims.y]
        var steps = StoredSteps(origin: 0, x: 0, y: 0, z: 0)
        for axis in 0..<3 {
            let stored = axisMap.storedAxis[axis]
            let step = axisMap.isFlipped[axis] ? -strides[stored] : strides[stored]
            if axisMap.isFlipped[axis] { steps.origin += (dims[stored] - 1) * strides[stored] }
            switch axis {
            case 0: steps.x = step
            case 1: steps.y = step
            default: steps.z = step
            }
        }
        return steps
    }
}

struct StoredSteps {
    var origin: Int
    var x: Int
    var y: Int
    var z: Int
}

/// The code of every stored value of a narrow type, indexed by its order key.
private struct TableMaker<Code: InputCode>: VoxelVisitor {
    let coder: VoxelCoder<Code>
    let slope: Double
    let inter: Double

    func visit<T: VoxelScalar>(_ voxels: [T]) -> [Code] {
        guard T.keyBits <= 16 else { return [] }
        return (0..<(1 << T.keyBits)).map { coder.code(slope * T.fromKey(UInt64($0)).real + inter) }
    }
}

/// Copies voxels through the code table (or the coder, for wide types); identity, centre pad and centre crop.
@safe private struct PlaneGatherer<Code: InputCode>: VoxelVisitor {
    let grid: GridMap
    let coder: VoxelCoder<Code>
    let slope: Double
    let inter: Double
    let table: [Code]
    let steps: StoredSteps
    let planes: Range<Int>
    /// Along the model's second axis.
    let rows: Range<Int>
    let target: UnsafeMutableBufferPointer<Code>
    let stride: Int
    let lane: Int

    /// Edge of the blocks in which a transposing gather runs: 32 x 32 cache lines at a time.
    private static var block: Int { 32 }

    /// The model indices on an axis that lie inside the input.
    private func inside(_ axis: Int) -> Range<Int> {
        let scale = grid.axes[axis]
        let shift = Int(scale.offset)
        let lower = min(max(0, -shift), scale.modelCount)
        return lower..<max(lower, min(scale.modelCount, scale.inputCount - shift))
    }

    func visit<T: VoxelScalar>(_ voxels: [T]) {
        let size = grid.modelSize
        let ranges = (inside(0), inside(1).clamped(to: rows), inside(2).clamped(to: planes))
        if ranges.0.count < size.x || ranges.1.count < rows.count || ranges.2.count < planes.count {
            let outside = coder.code(0)
            for voxel in 0..<planes.count * size.x * rows.count { unsafe target[voxel * stride + lane] = outside }
        }
        // Rows that are contiguous in the file need no blocks.
        let width = steps.x.magnitude == 1 ? size.x : Self.block
        for z in Swift.stride(from: ranges.2.lowerBound, to: ranges.2.upperBound, by: Self.block) {
            for y in Swift.stride(from: ranges.1.lowerBound, to: ranges.1.upperBound, by: Self.block) {
                for x in Swift.stride(from: ranges.0.lowerBound, to: ranges.0.upperBound, by: width) {
                    copy(
                        voxels, x..<min(x + width, ranges.0.upperBound),
                        y..<min(y + Self.block, ranges.1.upperBound),
                        z..<min(z + Self.block, ranges.2.upperBound))
                }
            }
        }
    }

    /// A row that lies in the file as it does in the model, without a check for every voxel: the table has every key.
    private func copyRow<T: VoxelScalar>(_ row: Span<T>, _ place: Int) {
        precondition(unsafe place + row.count <= target.count, "a row outside the codes")
        precondition(table.count == 1 << T.keyBits, "no code for some voxels")
        unsafe row.withUnsafeBufferPointer { row in
            unsafe table.withUnsafeBufferPointer { table in
                let (from, table) = (row.baseAddress!, table.baseAddress!)
                let to = unsafe target.baseAddress! + place
                for x in 0..<row.count { unsafe to[x] = table[Int(truncatingIfNeeded: from[x].orderKey)] }
            }
        }
    }

    private func copy<T: VoxelScalar>(_ voxels: [T], _ xs: Range<Int>, _ ys: Range<Int>, _ zs: Range<Int>) {
        let size = grid.modelSize
        let shift = (Int(grid.axes[0].offset), Int(grid.axes[1].offset), Int(grid.axes[2].offset))
        for z in zs {
            for y in ys {
                var source =
                    steps.origin + (xs.lowerBound + shift.0) * steps.x + (y + shift.1) * steps.y
                    + (z + shift.2) * steps.z
                let row = (z - planes.lowerBound) * rows.count + y - rows.lowerBound
                var place = (row * size.x + xs.lowerBound) * stride + lane
                if T.keyBits <= 16, steps.x == 1, stride == 1, !xs.isEmpty {
                    copyRow(voxels.span.extracting(source..<(source + xs.count)), place)
                    continue
                }
                for _ in xs {
                    let voxel = voxels[source]
                    unsafe target[place] =
                        T.keyBits <= 16 ? table[Int(voxel.orderKey)] : coder.code(slope * voxel.real + inter)
                    source += steps.x
                    place += stride
                }
            }
        }
    }
}

/// Trilinear interpolation of real values, separable and in this order: third axis, second, first; each as a + (b - a) * share
/// in double. One input plane and one row are held.
@safe private struct PlaneInterpolator<Code: InputCode>: VoxelVisitor {
    let grid: GridMap
    let coder: VoxelCoder<Code>
    let slope: Double
    let inter: Double
    let steps: StoredSteps
    let planes: Range<Int>
    let target: UnsafeMutableBufferPointer<Code>
    let stride: Int
    let lane: Int
    var plane: [Double]
    var row: [Double]

    mutating func visit<T: VoxelScalar>(_ voxels: [T]) {
        let size = grid.modelSize
        let outside = coder.code(0)
        for z in planes {
            let start = (z - planes.lowerBound) * size.x * size.y
            guard let taps = grid.axes[2].taps(z) else {
                fill(start, size.x * size.y, outside)
                continue
            }
            blendPlane(voxels, taps)
            for y in 0..<size.y {
                guard let taps = grid.axes[1].taps(y) else {
                    fill(start + y * size.x, size.x, outside)
                    continue
                }
                blendRow(taps)
                for x in 0..<size.x {
                    let place = (start + y * size.x + x) * stride + lane
                    guard let taps = grid.axes[0].taps(x) else {
                        unsafe target[place] = outside
                        continue
                    }
                    let low = row[taps.lower]
                    unsafe target[place] = coder.code(low + (row[taps.upper] - low) * taps.share)
                }
            }
        }
    }

    private func fill(_ first: Int, _ count: Int, _ code: Code) {
        for voxel in first..<first + count { unsafe target[voxel * stride + lane] = code }
    }

    private mutating func blendPlane<T: VoxelScalar>(
        _ voxels: [T], _ taps: (lower: Int, upper: Int, share: Double)
    ) {
        let size = grid.inputSize
        let lower = steps.origin + taps.lower * steps.z
        let rise = (taps.upper - taps.lower) * steps.z
        for y in 0..<size.y {
            var source = lower + y * steps.y
            for x in 0..<size.x {
                let low = slope * voxels[source].real + inter
                let high = slope * voxels[source + rise].real + inter
                plane[y * size.x + x] = low + (high - low) * taps.share
                source += steps.x
            }
        }
    }

    private mutating func blendRow(_ taps: (lower: Int, upper: Int, share: Double)) {
        let width = grid.inputSize.x
        for x in 0..<width {
            let low = plane[taps.lower * width + x]
            row[x] = low + (plane[taps.upper * width + x] - low) * taps.share
        }
    }
}
