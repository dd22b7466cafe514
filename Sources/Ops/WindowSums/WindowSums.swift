import COps

/// Sums of weighted class scores of overlapping windows, a plane of Int32 for each class, and the labels that follow from them.
///
/// A voxel's weight is the product of three 8-bit tables, 12 bits wide, never 0. Labels need neither a division nor a count map:
/// dividing all class sums of a voxel by one positive number does not change their order.
public struct WindowSums: Equatable, Sendable {
    public var classes: Int

    public init(classes: Int) {
        self.classes = classes
    }

    /// MONAI floors its Gaussian at 1e-3 of the peak; 4 of 4095 is the same floor.
    public static let floor: Int32 = 4
    /// |score| ≤ 2^15, so sums of weights below 2^16 keep the sums within Int32.
    public static let largestWeights = 65_535

    /// - Parameter zy: product of the tables of the two outer axes.
    @inline(__always)
    public static func weight(_ zy: Int32, _ x: UInt8) -> Int32 { max(floor, (zy &* Int32(x)) &>> 12) }

    /// Adds a row of scores: `scores` is the first word in block 0, of i16 or u8 layout, `table` and `sums` (class 0) start at the
    /// same voxel; the planes of the classes are `plane` values apart.
    public func add(
        isa: ISA, scores: UnsafeRawPointer, layout: TensorLayout, table: UnsafePointer<UInt8>, zy: Int32,
        sums: UnsafeMutablePointer<Int32>, plane: Int, width: Int
    ) {
        if layout.element == .i16 {
            let (count, all) = (Int32(truncatingIfNeeded: width), Int32(truncatingIfNeeded: classes))
            let stride = layout.blockStride
            switch isa.vectors {
            #if arch(x86_64)
                case .avx2: return unsafe mk_window_add_avx2(scores, stride, all, table, zy, sums, plane, count)
                case .avx512vnni:
                    return unsafe mk_window_add_avx512vnni(scores, stride, all, table, zy, sums, plane, count)
            #elseif arch(arm64)
                case .neon: return unsafe mk_window_add_neon(scores, stride, all, table, zy, sums, plane, count)
            #endif
            default: break
            }
        }
        for channel in 0..<classes {
            let sums = unsafe sums + channel * plane
            for x in 0..<width {
                unsafe sums[x] &+= Self.weight(zy, table[x]) &* Self.score(scores + 4 * x, layout, channel)
            }
        }
    }

    private static func score(_ words: UnsafeRawPointer, _ layout: TensorLayout, _ channel: Int) -> Int32 {
        layout.element == .i16
            ? unsafe Int32(
                words.load(fromByteOffset: channel / 2 * layout.blockStride + channel % 2 * 2, as: Int16.self))
            : unsafe Int32(words.load(fromByteOffset: channel / 4 * layout.blockStride + channel % 4, as: UInt8.self))
    }

    /// Class indices of a row, of the largest sums, the lowest on a tie; one byte each up to 256 classes, else two.
    public func labels(
        isa: ISA, sums: UnsafePointer<Int32>, plane: Int, labels: UnsafeMutableRawPointer, width: Int
    ) {
        let bytes = Int32(truncatingIfNeeded: Argmax(classes: classes).labelBytes)
        let (count, all) = (Int32(truncatingIfNeeded: width), Int32(truncatingIfNeeded: classes))
        switch isa.vectors {
        #if arch(x86_64)
            case .avx2: unsafe mk_window_labels_avx2(sums, plane, all, labels, bytes, count)
            case .avx512vnni: unsafe mk_window_labels_avx512vnni(sums, plane, all, labels, bytes, count)
        #elseif arch(arm64)
            case .neon: unsafe mk_window_labels_neon(sums, plane, all, labels, bytes, count)
        #endif
        default:
            for x in 0..<width {
                var winner = 0
                for c in 1..<max(1, classes) where unsafe sums[c * plane + x] > sums[winner * plane + x] { winner = c }
                if bytes == 1 {
                    unsafe labels.storeBytes(of: UInt8(truncatingIfNeeded: winner), toByteOffset: x, as: UInt8.self)
                } else {
                    unsafe labels.storeBytes(
                        of: UInt16(truncatingIfNeeded: winner), toByteOffset: 2 * x, as: UInt16.self)
                }
            }
        }
    }
}
