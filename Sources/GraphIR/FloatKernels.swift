/// The operations of a graph that go voxel by voxel.
enum FloatKernels {
    /// In double, rounded once.
    static func normalize(_ x: inout FloatTensor, _ norm: BatchNorm, _ parallel: Parallel) {
        let factors = (0..<x.channels).map(norm.affine)
        unsafe update(&x, parallel) { values, channel, _ in
            let (gain, offset) = factors[channel]
            for i in values.indices { unsafe values[i] = Float(Double(values[i]) * gain + offset) }
        }
    }

    static func activate(_ x: inout FloatTensor, _ f: Activation, _ parallel: Parallel) {
        unsafe update(&x, parallel) { values, _, _ in
            if f == .relu {
                for i in values.indices { unsafe values[i] = max(values[i], 0) }
            } else {
                for i in values.indices { unsafe values[i] = Float(f(Double(values[i]))) }
            }
        }
    }

    /// Precondition: equal shapes.
    static func add(_ x: inout FloatTensor, _ y: FloatTensor, _ parallel: Parallel) {
        precondition(x.channels == y.channels && x.size == y.size, "shapes differ")
        unsafe update(&x, parallel) { values, _, start in
            for i in values.indices { unsafe values[i] += y.values[start + i] }
        }
    }

    /// Index of the largest channel of every voxel, the lowest on a tie.
    static func argmax(_ scores: FloatTensor, _ parallel: Parallel) -> [UInt16] {
        precondition(scores.channels <= 1 << 16, "more classes than labels")
        let count = scores.size.count
        let plane = scores.size.height * scores.size.width
        return unsafe [UInt16](unsafeUninitializedCapacity: count) { out, initialized in
            initialized = count
            let labels = unsafe LabelBuffer(base: out.baseAddress!)
            parallel.forEach(scores.size.depth) { _, z in
                var best = [Float](scores.values[(z * plane)..<((z + 1) * plane)])
                var winner = [UInt16](repeating: 0, count: plane)
                for channel in 1..<max(1, scores.channels) {
                    let base = channel * count + z * plane
                    for i in 0..<plane where scores.values[base + i] > best[i] {
                        best[i] = scores.values[base + i]
                        winner[i] = UInt16(channel)
                    }
                }
                unsafe (labels.base + z * plane).update(from: winner, count: plane)
            }
        }
    }

    @safe private struct LabelBuffer: @unchecked Sendable {
        let base: UnsafeMutablePointer<UInt16>
    }

    /// Calls `body` with pieces of `x` that lie within one channel each: (piece, channel, index of its first element).
    private static func update(
        _ x: inout FloatTensor, _ parallel: Parallel,
        _ body: @Sendable (UnsafeMutableBufferPointer<Float>, Int, Int) -> Void
    ) {
        let (channels, depth, plane) = (x.channels, x.size.depth, x.size.height * x.size.width)
        unsafe x.values.withUnsafeMutableBufferPointer { values in
            let shared = unsafe SharedBuffer(values)
            parallel.forEach(channels * depth) { _, piece in
                let start = piece * plane
                let part = unsafe UnsafeMutableBufferPointer(start: shared.part(start, plane), count: plane)
                unsafe body(part, piece / depth, start)
            }
        }
    }
}
