import FlatGraph
import GraphIR
import Ops

/// Size of a value relative to the input's.
struct RelativeSize {
    var coarseness: Extent
    var growth: (Int16, Int16, Int16)
    var span: VoxelSpan
}

extension TensorRecord {
    mutating func take(_ size: RelativeSize) { (coarseness, growth, span) = (size.coarseness, size.growth, size.span) }
}

extension VoxelSpan {
    fileprivate init(_ span: ValueSpan) {
        switch span {
        case .voxel: self = .voxel
        case .slice: self = .slice
        case .volume: self = .volume
        }
    }
}

extension FloatGraph {
    /// `grids()` as a model file has them, where `checkStorable()` finds nothing.
    func relativeSizes() -> [RelativeSize] {
        grids().map { grid in
            let growth = grid.growth
            return RelativeSize(
                coarseness: Extent(grid.level),
                growth: (Int16(clamping: growth.depth), Int16(clamping: growth.height), Int16(clamping: growth.width)),
                span: VoxelSpan(grid.span))
        }
    }
}
