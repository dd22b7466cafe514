import MKRuntime
import Ops

/// The network's input codes `[channel][depth][height][width]` on the model's grid, in memory or in a file, made from images
/// that are read whole or slice by slice.
final class CodeStore: CodeSource {
    private let store: ByteStore
    private let extent: Extent
    private let coding: InputCoding

    init(channels: Int, extent: Extent, coding: InputCoding, folder: String?, path: String) throws(VolumeError) {
        store = try ByteStore(count: channels * extent.voxels * coding.codeBytes, folder: folder, path: path)
        self.extent = extent
        self.coding = coding
    }

    func read(channel: Int, z: Int, rows: Range<Int>, into target: UnsafeMutablePointer<UInt8>) -> Bool {
        let row = (channel * extent.depth + z) * extent.height + rows.lowerBound
        let pitch = extent.width * coding.codeBytes
        let bytes = unsafe UnsafeMutableRawBufferPointer(start: target, count: rows.count * pitch)
        return unsafe store.get(bytes, at: row * pitch)
    }

    private var planeVoxels: Int { extent.height * extent.width }
    private func offset(_ channel: Int, _ z: Int) -> Int {
        (channel * extent.depth + z) * planeVoxels * coding.codeBytes
    }

    // MARK: From a volume in memory

    /// Reads a whole image, then writes its codes plane by plane.
    func fill(
        channel: Int, from header: NIfTIHeader, grid: ModelGrid, ownThread: Bool = false, warnings: inout [String]
    ) throws(VolumeError) {
        let volume = try VoxelVolume.read(header, ownThread: ownThread)
        warnings += volume.header.warnings.dropFirst(header.warnings.count)
        if coding.codeBytes == 1 {
            var input: ModelInput<UInt8> = grid.input(volume, coding, warnings: &warnings)
            try write(channel, &input)
        } else {
            var input: ModelInput<Int16> = grid.input(volume, coding, warnings: &warnings)
            try write(channel, &input)
        }
    }

    private func write<Code: InputCode>(_ channel: Int, _ input: inout ModelInput<Code>) throws(VolumeError) {
        if let bytes = unsafe store.bytes {
            let first = channel * extent.voxels
            let part = unsafe UnsafeMutableBufferPointer(
                rebasing: bytes.bindMemory(to: Code.self)[first..<(first + extent.voxels)])
            var span = unsafe part.mutableSpan
            input.write(planes: 0..<extent.depth, into: &span)
            return
        }
        var plane = [Code](repeating: 0, count: planeVoxels)
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
    static func sliceBytes(_ header: NIfTIHeader, _ grid: ModelGrid, codeBytes: Int) -> Int {
        let slice = header.dims.x * header.dims.y
        let plane = grid.extent.height * grid.extent.width
        let planes = grid.axisMap.storedAxis[2] == 2 ? 1 : min(group, grid.extent.depth)
        // The stream, codes of a slice, the table, and one plane or a group of them.
        return VoxelStream.bytesNeeded(header) + (slice + 65536 + plane * planes) * codeBytes
    }

    /// Reads an image slice by slice: one or more passes for the statistics, one for the codes. Where the model's planes lie
    /// across the file's slices, the codes are kept in stored order first and then put together by groups of planes.
    /// - Parameters:
    ///   - folder: of the intermediate file.
    ///   - ownThread: inflates in a thread of its own.
    func fill(
        channel: Int, slices header: NIfTIHeader, grid: ModelGrid, folder: String, ownThread: Bool = false,
        warnings: inout [String]
    ) throws(VolumeError) {
        precondition(!grid.grid.interpolates, "interpolation needs the volume")
        let stream = VoxelStream(header, ownThread: ownThread)
        if coding.codeBytes == 1 {
            try fill(UInt8.self, channel, stream, grid, folder, &warnings)
        } else {
            try fill(Int16.self, channel, stream, grid, folder, &warnings)
        }
    }

    private func fill<Code: InputCode>(
        _ type: Code.Type, _ channel: Int, _ stream: VoxelStream, _ grid: ModelGrid, _ folder: String,
        _ warnings: inout [String]
    ) throws(VolumeError) {
        let header = stream.header
        let coder = VoxelCoder<Code>(
            map: try IntensityMap(grid.normalization, passes: stream, warnings: &warnings), scale: coding.scale,
            zeroPoint: Code(coding.zeroPoint))
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
        let kept = try ByteStore(count: header.dims.count * coding.codeBytes, folder: folder, path: header.path)
        warnings += try stream.forEachSlice { (k, voxels) throws(VolumeError) in
            voxels.apply(&slice)
            try kept.write(slice.codes, at: k * area * coding.codeBytes)
        }
        var codes = [Code](repeating: 0, count: area)
        for first in stride(from: 0, to: extent.depth, by: Self.group) {
            let planes = first..<min(first + Self.group, extent.depth)
            mapper.clear(planes.count)
            for k in 0..<header.dims.z {
                try kept.read(into: &codes, at: k * area * coding.codeBytes)
                mapper.place(codes, stored: k, planes: planes)
            }
            try store.write(mapper.planes, at: offset(channel, first))
        }
    }

    private func fillBackground<Code: InputCode>(
        _ channel: Int, _ code: Code, where isOutside: (Int) -> Bool
    ) throws(VolumeError) {
        let plane = [Code](repeating: code, count: planeVoxels)
        for z in 0..<extent.depth where isOutside(z) { try store.write(plane, at: offset(channel, z)) }
    }
}

/// Puts stored slices into planes of the model's grid: permutation, flips, whole-voxel pad and crop.
struct PlaneMapper<Code: InputCode> {
    private let grid: ModelGrid
    private let outside: Code
    private let size: GridSize
    private let storedX: Int
    /// `[plane][y][x]`.
    private(set) var planes: [Code] = []

    init(_ grid: ModelGrid, _ header: NIfTIHeader, outside: Code) {
        self.grid = grid
        self.outside = outside
        size = grid.grid.modelSize
        storedX = header.dims.x
        clear(1)
    }

    /// The stored axis that is the model's third.
    var planeAxis: Int { grid.axisMap.storedAxis[2] }

    mutating func clear(_ count: Int) {
        planes = [Code](repeating: outside, count: count * size.x * size.y)
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
    mutating func place(_ slice: [Code], stored k: Int, planes range: Range<Int>) {
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
        var held: [Code] = []
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
