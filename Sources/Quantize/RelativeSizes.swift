import GraphIR
import Ops

extension FloatGraph {
    /// `grids()` as a model file has them, where `checkStorable()` finds nothing.
    func relativeSizes() -> [(coarseness: Extent, growth: (Int16, Int16, Int16))] {
        grids().map { level, growth in
            (
                Extent(level),
                (Int16(clamping: growth.depth), Int16(clamping: growth.height), Int16(clamping: growth.width))
            )
        }
    }
}
