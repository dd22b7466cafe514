import COps

/// Class index of the largest score of each voxel, the lowest index on a tie.
///
/// With one static scale for all classes the order of the integer scores is the order of the real ones, so no
/// softmax is needed. Scores are i16 (blocks of two channels) or u8 (blocks of four); labels are plain rows of
/// one or two bytes per voxel.
public struct Argmax: Equatable, Sendable {
    public var classes: Int

    /// Precondition: 1 ... 65,535 classes.
    public init(classes: Int) {
        self.classes = classes
    }

    public var labelBytes: Int { classes <= 256 ? 1 : 2 }

    /// One row of labels. `scores` is the row's first word in block 0.
    public func run(
        isa: ISA, scores: UnsafeRawPointer, layout: TensorLayout, labels: UnsafeMutableRawPointer
    ) {
        if layout.element == .i16 {
            let (count, all) = (Int32(truncatingIfNeeded: layout.extent.width), Int32(truncatingIfNeeded: classes))
            let (stride, bytes) = (layout.blockStride, Int32(truncatingIfNeeded: labelBytes))
            switch isa.vectors {
            #if arch(x86_64)
                case .avx2: return unsafe mk_argmax_avx2(scores, stride, all, labels, bytes, count)
                case .avx512vnni: return unsafe mk_argmax_avx512vnni(scores, stride, all, labels, bytes, count)
            #elseif arch(arm64)
                case .neon: return unsafe mk_argmax_neon(scores, stride, all, labels, bytes, count)
            #endif
            default: break
            }
        }
        for x in stride(from: 0, to: layout.extent.width, by: 16) {
            let lanes = min(16, layout.extent.width - x)
            let winners =
                unsafe layout.element == .i16
                ? winnersI16(scores + x * 4, layout.blockStride) : winnersU8(scores + x * 4, layout.blockStride)
            for lane in 0..<lanes {
                if labelBytes == 1 {
                    unsafe labels.storeBytes(
                        of: UInt8(truncatingIfNeeded: winners[lane]), toByteOffset: x + lane, as: UInt8.self)
                } else {
                    unsafe labels.storeBytes(
                        of: UInt16(truncatingIfNeeded: winners[lane]), toByteOffset: (x + lane) * 2, as: UInt16.self)
                }
            }
        }
    }

    private func winnersI16(_ scores: UnsafeRawPointer, _ blockStride: Int) -> SIMD16<Int32> {
        var best = SIMD16<Int32>(repeating: Int32.min)
        var winner = SIMD16<Int32>(repeating: 0)
        for channel in 0..<classes {
            let words = unsafe (scores + (channel / 2) * blockStride).loadUnaligned(as: SIMD16<Int32>.self)
            let score = channel % 2 == 0 ? (words &<< 16) &>> 16 : words &>> 16
            let better = score .> best
            best.replace(with: score, where: better)
            winner.replace(with: Int32(truncatingIfNeeded: channel), where: better)
        }
        return winner
    }

    private func winnersU8(_ scores: UnsafeRawPointer, _ blockStride: Int) -> SIMD16<Int32> {
        var best = SIMD16<Int32>(repeating: Int32.min)
        var winner = SIMD16<Int32>(repeating: 0)
        for channel in 0..<classes {
            let words = unsafe (scores + (channel / 4) * blockStride).loadUnaligned(as: SIMD16<Int32>.self)
            let score = (words &>> Int32(truncatingIfNeeded: 8 * (channel % 4))) & 0xFF
            let better = score .> best
            best.replace(with: score, where: better)
            winner.replace(with: Int32(truncatingIfNeeded: channel), where: better)
        }
        return winner
    }
}
