/// One axis of the map from the model's grid to the input's (in model axis order): input = model * ratio + offset,
/// both counted in voxels from the centre of the first.
public struct AxisScale: Equatable, Sendable {
    public let inputCount: Int
    public let modelCount: Int
    /// Model spacing / input spacing; exactly 1 when they agree within 1 %.
    public let ratio: Double
    /// A whole number when `ratio` is 1.
    public let offset: Double

    /// - Parameters:
    ///   - modelSpacing: mm, or 0 to keep the input's.
    ///   - fixedCount: voxels, or 0 to cover the input's field of view.
    init(inputCount: Int, inputSpacing: Double, modelSpacing: Double, fixedCount: Int) {
        self.inputCount = inputCount
        let keeps = modelSpacing == 0 || (modelSpacing - inputSpacing).magnitude <= 0.01 * inputSpacing
        ratio = keeps ? 1 : modelSpacing / inputSpacing
        let covered = max(1, (Double(inputCount) / ratio).rounded())
        // Beyond Int32 the caller refuses the grid; the bound only keeps the conversion defined.
        modelCount = fixedCount > 0 ? fixedCount : Int(min(covered, 2_147_483_647))
        if keeps {
            // Centre pad or crop by whole voxels; of an odd difference the smaller half comes first.
            offset = Double((inputCount - modelCount) / 2)
        } else {
            offset = Double(inputCount - 1) / 2 - Double(modelCount - 1) / 2 * ratio
        }
    }

    var isShiftOnly: Bool { ratio == 1 }
    var isIdentity: Bool { ratio == 1 && offset == 0 && inputCount == modelCount }

    /// The two input voxels around a model voxel and the share of the upper one; nil outside the input's field of
    /// view. In the outer half of an edge voxel that voxel counts alone.
    func taps(_ model: Int) -> (lower: Int, upper: Int, share: Double)? {
        let position = Double(model) * ratio + offset
        guard position >= -0.5, position <= Double(inputCount) - 0.5 else { return nil }
        let inside = min(max(position, 0), Double(inputCount - 1))
        let lower = Int(inside.rounded(.down))
        return (lower, min(lower + 1, inputCount - 1), inside - Double(lower))
    }

    /// The model voxel nearest to an input voxel; nil when the model's grid does not reach there.
    func nearest(_ input: Int) -> Int? {
        let model = ((Double(input) - offset) / ratio + 0.5).rounded(.down)
        guard model >= 0, model < Double(modelCount) else { return nil }
        return Int(model)
    }
}

/// The model's grid over an input volume that is already in model axis order. The centres of both fields of view coincide.
public struct GridMap: Equatable, Sendable {
    public let axes: [AxisScale]
    public var inputSize: GridSize { GridSize(axes[0].inputCount, axes[1].inputCount, axes[2].inputCount) }
    public var modelSize: GridSize { GridSize(axes[0].modelCount, axes[1].modelCount, axes[2].modelCount) }
    /// Nothing changes: same voxels.
    public var isIdentity: Bool { axes.allSatisfy(\.isIdentity) }
    /// False for identity, centre pad and centre crop, which copy voxels.
    public var interpolates: Bool { !axes.allSatisfy(\.isShiftOnly) }

    /// - Parameters:
    ///   - path: named in the error.
    ///   - inputSize, inputSpacing: of the input in model axis order; mm > 0.
    ///   - modelSpacing: mm per axis, 0 keeps the input's.
    ///   - modelSize: voxels per axis, 0 covers the input's field of view.
    /// - Throws: exit 4 when an axis of the model's grid would exceed 32767 voxels.
    public init(
        path: String, inputSize: GridSize, inputSpacing: SIMD3<Double>, modelSpacing: SIMD3<Double> = SIMD3(),
        modelSize: GridSize = GridSize(0, 0, 0)
    ) throws(VolumeError) {
        var axes: [AxisScale] = []
        for axis in 0..<3 {
            let scale = AxisScale(
                inputCount: inputSize[axis], inputSpacing: inputSpacing[axis],
                modelSpacing: modelSpacing[axis],
                fixedCount: modelSize[axis])
            guard (1...32767).contains(scale.modelCount) else {
                throw .malformed(
                    path,
                    "axis \(axis) would have \(scale.modelCount) voxels of \(modelSpacing[axis]) mm (must be 1...32767)"
                )
            }
            axes.append(scale)
        }
        self.axes = axes
    }
}

/// Brings labels from the model's grid back to the input's grid in stored axis order: nearest model voxel, 0 outside. Model
/// planes come one at a time, in any order.
public struct LabelReturn: Sendable {
    /// The stored grid that is produced.
    public let storedSize: GridSize
    /// The stored axis that runs across the model's planes.
    let planeAxis: Int
    private let modelSize: GridSize
    /// A stored slice is a plane of the model as it is.
    let keepsPlanes: Bool
    /// Per stored axis and index the model's index along its axis, times that axis's step within a plane; -1 outside.
    private let offsets: [[Int]]

    public init(axisMap: AxisMap, grid: GridMap) {
        let model = grid.modelSize
        let steps = [1, model.x, 1]
        var size = GridSize(0, 0, 0)
        var offsets: [[Int]] = [[], [], []]
        for axis in 0..<3 {
            let scale = grid.axes[axis]
            let stored = axisMap.storedAxis[axis]
            size[stored] = scale.inputCount
            offsets[stored] = (0..<scale.inputCount).map { index in
                scale.nearest(axisMap.isFlipped[axis] ? scale.inputCount - 1 - index : index).map {
                    $0 * steps[axis]
                } ?? -1
            }
        }
        storedSize = size
        modelSize = model
        planeAxis = axisMap.storedAxis[2]
        keepsPlanes =
            planeAxis == 2 && size.x == model.x && size.y == model.y && !offsets[2].contains(-1)
            && offsets[0] == Array(0..<model.x) && offsets[1] == (0..<model.y).map { $0 * model.x }
        self.offsets = offsets
    }

    /// Stored slices show planes of the model in their order: a slice can be written when its plane has come.
    var followsPlanes: Bool {
        guard planeAxis == 2 else { return false }
        let shown = offsets[2].filter { $0 >= 0 }
        return zip(shown, shown.dropFirst()).allSatisfy { $0 <= $1 }
    }

    /// The model plane of an index along the stored axis `planeAxis`; -1 outside.
    func plane(_ index: Int) -> Int { offsets[planeAxis][index] }

    /// Copies what a model plane has for some stored slices.
    /// - Parameters:
    ///   - plane: labels of model plane `z`, the model's first axis fastest.
    ///   - slices: stored slices that `target` holds, each storedSize.x * storedSize.y labels, x fastest. What no plane reaches
    ///     keeps its value.
    func place<T: FixedWidthInteger & BitwiseCopyable>(
        _ plane: Span<T>, model z: Int, slices: Range<Int>, into target: inout MutableSpan<T>
    ) {
        precondition(
            plane.count == modelSize.x * modelSize.y && target.count == slices.count * storedSize.x * storedSize.y,
            "label buffer of another size")
        /// Stored indices along an axis, with their offset in the plane.
        func reached(_ axis: Int, _ all: Range<Int>) -> [(index: Int, offset: Int)] {
            all.compactMap { index in
                let offset = offsets[axis][index]
                if axis == planeAxis { return offset == z ? (index, 0) : nil }
                return offset >= 0 ? (index, offset) : nil
            }
        }
        let columns = reached(0, 0..<storedSize.x)
        guard let start = columns.first, let end = columns.last else { return }
        let isCopy = end.offset - start.offset == columns.count - 1 && end.index - start.index == columns.count - 1
        let rows = reached(1, 0..<storedSize.y)
        for slice in reached(2, slices) {
            for row in rows {
                let first = ((slice.index - slices.lowerBound) * storedSize.y + row.index) * storedSize.x
                let from = slice.offset + row.offset
                guard isCopy else {
                    for column in columns { target[first + column.index] = plane[from + column.offset] }
                    continue
                }
                let source = from + start.offset
                var part = target._mutatingExtracting((first + start.index)..<(first + start.index + columns.count))
                unsafe part.withUnsafeMutableBytes { target in
                    unsafe plane.extracting(source..<(source + columns.count)).withUnsafeBytes {
                        unsafe target.copyMemory(from: $0)
                    }
                }
            }
        }
    }

    /// All slices of a whole label map on the model's grid.
    public func labels<T: FixedWidthInteger & BitwiseCopyable>(from model: [T]) -> [T] {
        precondition(model.count == modelSize.count, "label map of another size")
        var result = [T](repeating: 0, count: storedSize.count)
        let area = modelSize.x * modelSize.y
        var target = result.mutableSpan
        for z in 0..<modelSize.z {
            place(
                model.span.extracting(z * area..<(z + 1) * area), model: z, slices: 0..<storedSize.z, into: &target)
        }
        return result
    }
}
