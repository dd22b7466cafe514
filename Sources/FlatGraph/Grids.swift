import Ops

// Tensors of a network lie on grids that may be coarser than the input's, along each axis by a power of two.

extension TensorRecord {
    /// Voxels of the input per voxel.
    public var cell: Extent {
        Extent(depth: 1 << coarseness.depth, height: 1 << coarseness.height, width: 1 << coarseness.width)
    }

    /// For an input of this extent, a multiple of the cell. May be zero or negative where the network takes more away.
    public func extent(of input: Extent) -> Extent {
        let own = Extent(
            depth: (input.depth >> coarseness.depth) + Int(growth.0),
            height: (input.height >> coarseness.height) + Int(growth.1),
            width: (input.width >> coarseness.width) + Int(growth.2))
        return switch span {
        case .voxel: own
        case .slice: Extent(depth: own.depth, height: 1, width: 1)
        case .volume: Extent(cube: 1)
        }
    }

    /// Whether nothing is said of axes that are gone.
    var isSpanSound: Bool {
        switch span {
        case .voxel: true
        case .slice: growth.1 == 0 && growth.2 == 0 && coarseness.height == 0 && coarseness.width == 0
        case .volume: growth == (0, 0, 0) && coarseness == Extent(cube: 0)
        }
    }
}

extension OpRecord {
    var isModeKnown: Bool {
        let kept = mode >> 2
        switch kind {
        // A grid that no axis changes has another way to say so.
        case .conv3d: return kept == 0 || (kept < 7 && mode & 1 == 1)
        case .resize, .maxPool: return kept < 7 && mode & 2 == 0
        case .depthToSpace: return kept < 7 && mode & 3 == 0
        case .groupNorm: return mode <= 3
        default: return mode <= 1
        }
    }

    /// What the grid of a conv3d, maxPool, depthToSpace or resize changes by: 1 or 2 along each axis.
    public var factor: Extent {
        get {
            let changed = kind == .conv3d && mode & 1 == 0 ? 0 : ~Int(mode >> 2)
            return Extent(depth: 1 + changed & 1, height: 1 + changed >> 1 & 1, width: 1 + changed >> 2 & 1)
        }
        set {
            let kept = (2 - newValue.depth) | (2 - newValue.height) << 1 | (2 - newValue.width) << 2
            mode &= 3
            if kind == .conv3d { mode = mode & 2 | (kept == 7 ? 0 : 1) }
            if kept != 7 { mode |= UInt16(kept << 2) }
        }
    }
}
