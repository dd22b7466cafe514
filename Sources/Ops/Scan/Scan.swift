import COps

/// The selective scan (Gu & Dao 2023, arXiv 2312.00752) over the token sequence (voxels in memory order, or from the last to
/// the first), one state per channel and index n, integers throughout. Per token, channel and state:
///
///     Δ = min((softplus(v) + 2^(r-1)) >> r, 2^16 - 1)             softplus: 27 fraction bits, by table
///     j = clamp((Δ·x + 2^(k-1)) >> k, ±65,534)                    x = code - zeroPoint
///     g = g + 2 · (g >> 16) · Exponent.weight(Δ, alpha, e)        decay of the upper half; the lower half is kept
///     g = clampToInt32(g + j · b)                                 b: 16-bit code
///     h = g - 2^15                                                so that g >> 16 is h / 2^16 rounded
///     y = clampToInt16((q·m1 + 2^15·x·m2 + 2^(n-1)) >> n)         q = Σ c·(g >> 16)
///
/// where c is the 16-bit code without its last `readOutShift` bits, rounded, so that the sums over the states stay in 32 bits.
/// r, k, e, m1, m2 and n are constants of the channel. What the decay rounds away stays in the lower half of g, so that the error
/// does not accumulate: a state left alone stops below 2^15 units, half of one unit of what is read out. Saturation is part
/// of the recipe; calibration leaves a factor of two before it. Channels go in groups of 16, tokens in chunks; neither
/// changes a bit.
public struct Scan: Equatable, Sendable {
    public static let stateRange = 1...32
    public static let softplusEntries = 513
    /// Channels that are computed together.
    public static let group = 16
    /// Tokens that are prepared together, so that what is prepared stays in the first-level cache.
    public static let chunk = 64
    static let softplusBytes = 516 * 4

    public var channels: Int
    public var states: Int
    public var isReversed: Bool
    public var inputZeroPoint: UInt8

    public init(channels: Int, states: Int, isReversed: Bool, inputZeroPoint: UInt8) {
        self.channels = channels
        self.states = states
        self.isReversed = isReversed
        self.inputZeroPoint = inputZeroPoint
    }

    /// Σ|c| ≤ 2^15 for any codes: with |g >> 16| ≤ 2^15 no sum leaves 2^30.
    public var readOutShift: Int32 { states <= 2 ? 1 : Int32(Int.bitWidth - (states - 1).leadingZeroBitCount) }
    public var groups: Int { (channels + Self.group - 1) / Self.group }
    /// States are computed two by two; a last odd one has a partner whose rate and matrices are 0.
    var pairs: Int { (states + 1) / 2 }
    /// Bytes of a group's constants: `mk_scan_group`, then the rates `[pair][channel]`, two 16-bit words each.
    public var groupBytes: Int { MemoryLayout<mk_scan_group>.size + pairs * Self.group * 4 }
    /// Bytes in the tables section: softplus (padded with three zeros), then the groups.
    public var tableBytes: Int { Self.softplusBytes + groups * groupBytes }
    public static func groupOffset(_ group: Int, groupBytes: Int) -> Int { softplusBytes + group * groupBytes }

    /// Int32 `[group][2 · pairs][channel]`.
    public var stateBytes: Int { groups * 2 * pairs * Self.group * 4 }
    /// What one thread needs for a chunk.
    public var chunkBytes: Int { unsafe Self.chunk * ((3 * Self.group + matricesPitch) * 4 + ScanChunk.codesBytes) }
    /// Words of a token's matrices: two for each state, in whole vectors.
    var matricesPitch: Int { (4 * pairs + 15) & ~15 }
    /// States, then one chunk for each thread.
    public func scratchBytes(threads: Int) -> Int { stateBytes + threads * chunkBytes }

    /// Where a scan reads and writes.
    @unsafe public struct Buffers {
        /// u8 `[channels]`, i16 `[channels]`, i16 `[2 · states]` (b, then c).
        public var x: UnsafeRawPointer
        public var step: UnsafeRawPointer
        public var matrices: UnsafeRawPointer
        public var table: UnsafeRawPointer
        /// `stateBytes` bytes, set by `reset` before the first token.
        public var state: UnsafeMutablePointer<Int32>
        /// i16 `[channels]`
        public var output: UnsafeMutableRawPointer

        public init(
            x: UnsafeRawPointer, step: UnsafeRawPointer, matrices: UnsafeRawPointer, table: UnsafeRawPointer,
            state: UnsafeMutablePointer<Int32>, output: UnsafeMutableRawPointer
        ) {
            unsafe (self.x, self.step, self.matrices) = (x, step, matrices)
            unsafe (self.table, self.state, self.output) = (table, state, output)
        }
    }

    public struct Layouts: Equatable, Sendable {
        public var x: TensorLayout
        public var step: TensorLayout
        public var matrices: TensorLayout
        public var output: TensorLayout

        public init(x: TensorLayout, step: TensorLayout, matrices: TensorLayout, output: TensorLayout) {
            (self.x, self.step, self.matrices, self.output) = (x, step, matrices, output)
        }
    }

    /// h = 0 everywhere.
    public func reset(_ state: UnsafeMutablePointer<Int32>) {
        unsafe state.update(repeating: 1 << 15, count: stateBytes / 4)
    }

    /// Advances whole groups of channels over `tokens` (counted in scan order); the state carries over, so that any split of the
    /// sequence gives the same bits.
    /// - Parameter scratch: `chunkBytes` bytes that nothing else uses.
    public func run(
        isa: ISA, _ buffers: Buffers, _ layouts: Layouts, groups range: Range<Int>, tokens: Range<Int>,
        scratch: UnsafeMutableRawPointer
    ) {
        let chunk = unsafe ScanChunk(scratch, pairs: pairs)
        let last = layouts.output.extent.voxels - 1
        var start = tokens.lowerBound
        while start < tokens.upperBound {
            let count = min(Self.chunk, tokens.upperBound - start)
            // The chunk's tokens in memory order.
            let first = isReversed ? last - (start + count - 1) : start
            unsafe prepareMatrices(isa, buffers, layouts, chunk, first..<(first + count))
            for group in range {
                unsafe prepare(isa, buffers, layouts, chunk, group, first..<(first + count))
                unsafe advance(isa, buffers, chunk, group, count)
                unsafe finish(isa, buffers, layouts, chunk, group, first..<(first + count))
            }
            start += count
        }
    }
}

/// What one thread keeps of a chunk of tokens: Δ twice in a word, j as two halves in a word, what is read out of the states
/// (all `[token][channel of the group]`), and the matrices as the words that the products need.
@unsafe struct ScanChunk {
    /// Of a token, for the kernels that change planes to channels and back.
    static let codesBytes = 64

    let steps: UnsafeMutablePointer<UInt32>
    let injections: UnsafeMutablePointer<UInt32>
    let readOut: UnsafeMutablePointer<Int32>
    /// `[token]`: sixteen steps or outputs (i16), then sixteen x (u8).
    let codes: UnsafeMutablePointer<UInt8>
    /// `[token]`: (b, b) of every state, then (0, c), as (lower, upper) half.
    let matrices: UnsafeMutablePointer<UInt32>

    init(_ base: UnsafeMutableRawPointer, pairs: Int) {
        let words = Scan.chunk * Scan.group
        unsafe steps = base.assumingMemoryBound(to: UInt32.self)
        unsafe injections = steps + words
        unsafe readOut = (base + 8 * words).assumingMemoryBound(to: Int32.self)
        unsafe codes = (base + 12 * words).assumingMemoryBound(to: UInt8.self)
        unsafe matrices = steps + 4 * words
    }
}
