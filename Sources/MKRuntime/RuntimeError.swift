/// Why a run was refused or stopped. Plain numbers; the text for people is in the extension.
public struct RuntimeError: Error, Equatable, Sendable {
    public enum Reason: UInt8, Sendable {
        /// need, have in bytes
        case arenaTooSmall = 1
        case arenaMisaligned
        /// a convolution without padding eats the whole volume
        case volumeTooSmall
        case volumeTooLarge
        /// the network halves its input so often that a side (of a window, or of a volume whose border it eats), which has
        /// `have` voxels, must be a multiple of `need`
        case sizeNotDivisible
        case noWindowScheme
        /// need: what the network eats of each window's border
        case windowsShrink
        case windowWeightsTooLarge
        /// a buffer's guard bytes were overwritten by the op before `index`: a fault of ours
        case guardOverwritten
        case cancelled
        /// op `index` (a stride across slices, a scan, a statistic across a skip connection) cannot run slice by slice
        case linesUnsupported
        /// op `index` depends on more than its surroundings, or the network eats its border: tiles would not be exact
        case tilesUnsupported
        /// the source of the input codes or the receiver of the labels failed and has the reason
        case transferFailed
    }

    public var reason: Reason
    public var index: Int
    public var need: Int
    public var have: Int

    public init(_ reason: Reason, index: Int = 0, need: Int = 0, have: Int = 0) {
        self.reason = reason
        self.index = index
        self.need = need
        self.have = have
    }
}

#if !hasFeature(Embedded)
    extension RuntimeError: CustomStringConvertible {
        public var description: String {
            switch reason {
            case .arenaTooSmall: "arena needs \(need) bytes, has \(have)"
            case .arenaMisaligned: "arena is not aligned to 64 bytes"
            case .volumeTooSmall: "op \(index): the volume is smaller than its kernel (output size \(need))"
            case .volumeTooLarge: "volume of \(have) voxels is too large (limit \(need))"
            case .sizeNotDivisible: "a side of \(have) voxels of the network's input must be a multiple of \(need)"
            case .noWindowScheme: "the model file has no window scheme: only whole-volume execution is possible"
            case .windowsShrink:
                "the network eats the border of its input (\(need) voxels): only whole-volume execution is possible"
            case .windowWeightsTooLarge: "window overlap: weights of one voxel sum to \(have) (limit \(need))"
            case .guardOverwritten: "internal error: op \(index) wrote outside its buffer"
            case .cancelled: "cancelled"
            case .linesUnsupported:
                "op \(index) cannot run slice by slice (stride across slices, scan, mean over the volume, or statistics beside a skip connection)"
            case .tilesUnsupported: "op \(index) depends on more than its surroundings: tiles would change the labels"
            case .transferFailed: "input or output failed"
            }
        }
    }
#endif
