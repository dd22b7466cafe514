import ArgumentParser
import MKRuntime
import Ops
import Volume

extension PlanSearch.ModeChoice: ExpressibleByArgument {}
extension SegmentationPlan.Storage: ExpressibleByArgument {}

public enum KANTables: String, ExpressibleByArgument, CaseIterable {
    case auto, on, off

    public var use: Fusion {
        switch self {
        case .auto: .tablesWhereFaster
        case .on: .tables
        case .off: .rows
        }
    }
}

/// Sizes such as 64x128, the last one columns; what is left out is not cut.
public struct TileSize: ExpressibleByArgument {
    public let extent: Extent

    public init?(argument: String) {
        let sizes = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
        guard (1...3).contains(sizes.count), sizes.allSatisfy({ (1...32767).contains($0) }) else { return nil }
        switch sizes.count {
        case 1: extent = Extent(depth: 32767, height: sizes[0], width: 32767)
        case 2: extent = Extent(depth: 32767, height: sizes[0], width: sizes[1])
        default: extent = Extent(depth: sizes[0], height: sizes[1], width: sizes[2])
        }
    }
}

/// Three sizes such as 240x240x155.
public struct VolumeSize: ExpressibleByArgument {
    public let size: GridSize

    public init?(argument: String) {
        let sizes = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
        guard sizes.count == 3, sizes.allSatisfy({ (1...32767).contains($0) }) else { return nil }
        size = GridSize(sizes[0], sizes[1], sizes[2])
    }
}
