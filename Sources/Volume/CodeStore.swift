import MKRuntime
import Ops

/// The network's input codes `[channel][depth][height][width]` on the model's grid, in memory or in a file, made from images
/// that are read whole or slice by slice.
final class CodeStore: CodeSource {
    private let store: ByteStore
    private let extent: Extent

    init(channels: Int, extent: Extent, folder: String?, path: String) throws(VolumeError) {
        store = try ByteStore(count: channels * extent.voxels, folder: folder, path: path)
        self.extent = extent
    }

    func read(channel: Int, z: Int, rows: Range<Int>, into target: UnsafeMutablePointer<UInt8>) -> Bool {
        let row = (channel * extent.depth + z) * extent.height + rows.lowerBound
        let bytes = unsafe UnsafeMutableRawBufferPointer(start: target, count: rows.count * extent.width)
        return unsafe store.get(bytes, at: row * extent.width)
    }

    private var planeBytes: Int { extent.height * extent.width }
    private func offset(_ channel: Int, _ z: Int) -> Int { (channel * extent.depth + z) * planeBytes }

    // MARK: From a volume in memory

    /// Reads a whole image, then writes its codes plane by plane.
    func fill(
        channel: Int, from header: NIfTIHeader, grid: ModelGrid, coding: InputCoding, ownThread: Bool = false,
        warnings: inout [String]
    ) throws(VolumeError) {
        let volume = try VoxelVolume.read(header, ownThread: ownThread)
        warnings += volume.header.warnings.dropFirst(header.warnings.count)
        var input = grid.input(volume, coding, warnings: &warnings)
        if let bytes = unsafe store.bytes {
            let first = offset(channel, 0)
            let part = unsafe UnsafeMutableBufferPointer(
                rebasing: bytes.bindMemory(to: UInt8.self)[first..<(first + extent.voxels)])
            var span = unsafe part.mutableSpan
            input.write(planes: 0..<extent.depth, into: &span)
            return
        }
        var plane = [UInt8](repeating: 0, count: planeBytes)
        for z in 0..<extent.depth {
            var span = plane.mutableSpan
            input.write(planes: z..<(z + 1), into: &span)
            try store.write(plane, at: offset(channel, z))
        }
    }

    // MARK: From slices

    /// Planes that are put together at a time when the model's planes are not the file's slices.
    static let group = 32

    /// The most bytes that `fill(channel:slices:)` holds, beside the statistics' counters.
    static func sliceBytes(_ header: NIfTIHeader, _ grid: ModelGrid) -> Int {
        let slice = header.dims.x * header.dims.y
        let plane = grid.extent.height * grid.extent.width
        // The stream, codes of a slice, the table, and one plane or a group of them.
        return VoxelStream.bytesNeeded(header) + slice + 65536
            + plane * (grid.axisMap.storedAxis[2] == 2 ? 1 : min(group, grid.extent.depth))
    }

    /// Reads an image slice by slice: one or more passes for the statistics, one for the codes. Where the model's planes lie
    /// across the file's slices, the codes are kept in stored order first and then put together by groups of planes.
    /// - Parameters:
    ///   - folder: of the intermediate file.
    ///   - ownThread: inflates in a thread of its own.
    func fill(
        channel: Int, slices header: NIfTIHeader, grid: ModelGrid, coding: InputCoding, folder: String,
        ownThread: Bool = false, warnings: inout [String]
    ) throws(VolumeError) {
        precondition(!grid.grid.interpolates, "interpolation needs the volume")
        let stream = VoxelStream(header, ownThread: ownThread)
        let coder = VoxelCoder(
            map: try IntensityMap(grid.normalization, passes: stream, warnings: &warnings), scale: coding.scale,
            zeroPoint: coding.zeroPoint)
        var slice = SliceCoder(header, coder)
        var mapper = PlaneMapper(grid, header, outside: coder.code(0))
        guard mapper.planeAxis != 2 else {
            try fillBackground(channel, coder.code(0), where: { mapper.storedIndex(2, $0) == nil })
            warnings += try stream.forEachSlice { (k, voxels) throws(VolumeError) in
                guard let z = mapper.modelIndex(2, k) else { return }
                voxels.apply(&slice)
                mapper.place(slice.codes, stored: k, planes: z..<(z + 1))
                try store.write(mapper.planes, at: offset(channel, z))
            }
            return
        }
        let area = header.dims.x * header.dims.y
        let kept = try ByteStore(count: header.dims.count, folder: folder, path: header.path)
        warnings += try stream.forEachSlice { (k, voxels) throws(VolumeError) in
            voxels.apply(&slice)
            try kept.write(slice.codes, at: k * area)
        }
        var codes = [UInt8](repeating: 0, count: area)
        for first in stride(from: 0, to: extent.depth, by: Self.group) {
            let planes = first..<min(first + Self.group, extent.depth)
            mapper.clear(planes.count)
            for k in 0..<header.dims.z {
                try kept.read(into: &codes, at: k * area)
                mapper.place(codes, stored: k, planes: planes)
            }
            try store.write(mapper.planes, at: offset(channel, first))
        }
    }

    private func fillBackground(_ channel: Int, _ code: UInt8, where isOutside: (Int) -> Bool) throws(VolumeError) {
        let plane = [UInt8](repeating: code, count: planeBytes)
        for z in 0..<extent.depth where isOutside(z) { try store.write(plane, at: offset(channel, z)) }
    }
}

/// Puts stored slices into planes of the model's grid: permutation, flips, whole-voxel pad and crop.
struct PlaneMapper {
    private let grid: ModelGrid
    private let outside: UInt8
    private let size: GridSize
    private let storedX: Int
    /// `[plane][y][x]`.
    private(set) var planes: [UInt8] = []

    init(_ grid: ModelGrid, _ header: NIfTIHeader, outside: UInt8) {
        self.grid = grid
        self.outside = outside
        size = grid.grid.modelSize
        storedX = header.dims.x
        clear(1)
    }

    /// The stored axis that is the model's third.
    var planeAxis: Int { grid.axisMap.storedAxis[2] }

    mutating func clear(_ count: Int) {
        planes = [UInt8](repeating: outside, count: count * size.x * size.y)
    }

    /// Stored index of a model index along model axis `axis`; nil outside the image.
    func storedIndex(_ axis: Int, _ model: Int) -> Int? {
        let scale = grid.grid.axes[axis]
        let input = model + Int(scale.offset)
        guard input >= 0, input < scale.inputCount else { return nil }
        return grid.axisMap.isFlipped[axis] ? scale.inputCount - 1 - input : input
    }

    func modelIndex(_ axis: Int, _ stored: Int) -> Int? {
        let scale = grid.grid.axes[axis]
        let input = grid.axisMap.isFlipped[axis] ? scale.inputCount - 1 - stored : stored
        let model = input - Int(scale.offset)
        return model >= 0 && model < scale.modelCount ? model : nil
    }

    /// Copies what stored slice `k` has for the model planes in `range`; `planes` holds those.
    mutating func place(_ slice: [UInt8], stored k: Int, planes range: Range<Int>) {
        // The model axis that runs across the stored slices has one index here.
        let across = grid.axisMap.storedAxis.firstIndex(of: 2)!
        guard let fixed = modelIndex(across, k) else { return }
        func indices(_ axis: Int, _ all: Range<Int>) -> Range<Int> {
            axis == across ? (all.contains(fixed) ? fixed..<(fixed + 1) : 0..<0) : all
        }
        let steps = [1, storedX, 0]
        let xs = indices(0, 0..<size.x)
        let stepX = steps[grid.axisMap.storedAxis[0]] * (grid.axisMap.isFlipped[0] ? -1 : 1)
        // Model columns that lie in the image.
        let inside = xs.filter { storedIndex(0, $0) != nil }
        guard let firstX = inside.first, let lastX = inside.last else { return }
        let startX = storedIndex(0, firstX)! * steps[grid.axisMap.storedAxis[0]]
        // Moved out and back, so that the array is not copied.
        var held: [UInt8] = []
        swap(&held, &planes)
        defer { swap(&held, &planes) }
        var target = held.mutableSpan
        for z in indices(2, range) {
            guard let fromZ = storedIndex(2, z) else { continue }
            for y in indices(1, 0..<size.y) {
                guard let fromY = storedIndex(1, y) else { continue }
                var from =
                    startX + fromY * steps[grid.axisMap.storedAxis[1]] + fromZ * steps[grid.axisMap.storedAxis[2]]
                var to = ((z - range.lowerBound) * size.y + y) * size.x + firstX
                for _ in firstX...lastX {
                    target[to] = slice[from]
                    from += stepX
                    to += 1
                }
            }
        }
    }
}
