/// The selective scan over the token sequence (voxels in memory order, or from the last to the first), one state per channel
/// and index n, integers throughout. Per token, channel d and state n:
///
///     Δ  = softplus table (v)                                 20 fraction bits, v in 2^-11
///     u  = min((Δ · alpha[d,n]) >> 14, 20·2^16 - 1)           alpha = |A| · log2(e) with 10 fraction bits
///     a  = Exponent.decay(u)                                  2^16 · exp(-Δ·|A|)
///     i  = clamp((Δ · x + 2^(k-1)) >> k, ±2^22)               x = code - zeroPoint; k of the channel
///     h  = clamp(round(a · h / 2^16) + i · b, ±2^30)          b = code - zeroPoint
///     y  = clamp16((Σ_n c · round(h / 2^13) · m1 + x · m2 + 2^(shift-1)) >> shift)
///
/// The state's unit is S_x · S_b · 2^(k-20), so that injecting needs no multiplier; the output's multipliers are per channel.
public struct Scan: Equatable, Sendable {
    public static let stateRange = 1...32
    public static let softplusEntries = 513
    static let exponentLimit: UInt64 = 20 << 16 - 1
    static let stateLimit: Int32 = 1 << 30
    static let injectionLimit: Int64 = 1 << 22

    /// Constants of one channel, 16 bytes in the `.mkq` file.
    public struct Channel: Equatable, Sendable {
        public static let size = 16
        public static let injectionShiftRange: ClosedRange<Int32> = 1...24
        public static let shiftRange: ClosedRange<Int32> = 1...53
        public var injectionShift: Int32
        public var multiplier: Int32
        public var skip: Int32
        public var shift: Int32

        public init(injectionShift: Int32, multiplier: Int32, skip: Int32, shift: Int32) {
            self.injectionShift = injectionShift
            self.multiplier = multiplier
            self.skip = skip
            self.shift = shift
        }
    }

    public var channels: Int
    public var states: Int
    public var isReversed: Bool
    public var inputZeroPoint: UInt8
    public var matrixZeroPoint: UInt8

    public init(channels: Int, states: Int, isReversed: Bool, inputZeroPoint: UInt8, matrixZeroPoint: UInt8) {
        self.channels = channels
        self.states = states
        self.isReversed = isReversed
        self.inputZeroPoint = inputZeroPoint
        self.matrixZeroPoint = matrixZeroPoint
    }

    /// Bytes in the tables section: softplus, alpha `[channel][state]` as UInt32, then the channels.
    public var tableBytes: Int { 4 * Self.softplusEntries + 4 * channels * states + Channel.size * channels }
    /// One Int32 per channel and state.
    public var stateBytes: Int { 4 * channels * states }

    /// Where a scan reads and writes.
    @unsafe public struct Buffers {
        /// u8 `[channels]`, i16 `[channels]`, u8 `[2 · states]` (b, then c).
        public var x: UnsafeRawPointer
        public var step: UnsafeRawPointer
        public var matrices: UnsafeRawPointer
        public var table: UnsafeRawPointer
        /// `stateBytes` bytes, set to 0 before the first token.
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

    /// Advances the channels `range` over `tokens` (counted in scan order); the state carries over, so that any split of the
    /// sequence gives the same bits.
    public func run(_ buffers: Buffers, _ layouts: Layouts, channels range: Range<Int>, tokens: Range<Int>) {
        let width = layouts.output.extent.width
        let last = layouts.output.extent.rows * width - 1
        for order in tokens {
            let token = isReversed ? last - order : order
            let (row, x) = (token / width, token % width)
            for d in range { unsafe advance(buffers, layouts, d, row, 4 * x) }
        }
    }

    /// Δ of a step code.
    static func softplus(_ table: UnsafePointer<UInt32>, _ v: Int16) -> Int64 {
        let index = Int(v) + 32768
        let (low, high) = unsafe (Int64(table[index >> 7]), Int64(table[index >> 7 + 1]))
        return low + ((high - low) * Int64(index & 127) + 64) >> 7
    }

    private func advance(_ buffers: Buffers, _ layouts: Layouts, _ d: Int, _ row: Int, _ at: Int) {
        let constants = unsafe buffers.table + 4 * Self.softplusEntries
        let alpha = unsafe (constants + 4 * d * states).assumingMemoryBound(to: UInt32.self)
        let channel = unsafe (constants + 4 * channels * states).assumingMemoryBound(to: Channel.self)[d]
        let inputOffset = layouts.x.rowOffset(block: d >> 2, z: 0, y: row) + at + (d & 3)
        let x = unsafe Int64(buffers.x.load(fromByteOffset: inputOffset, as: UInt8.self)) - Int64(inputZeroPoint)
        let wideOffset = layouts.step.rowOffset(block: d >> 1, z: 0, y: row) + at + 2 * (d & 1)
        let v = unsafe buffers.step.load(fromByteOffset: wideOffset, as: Int16.self)
        let delta = unsafe Self.softplus(buffers.table.assumingMemoryBound(to: UInt32.self), v)
        let k = Int64(channel.injectionShift)
        let injection = Int32(
            truncatingIfNeeded: min(
                max((delta &* x &+ 1 << (k &- 1)) >> k, -Self.injectionLimit), Self.injectionLimit))
        var sum: Int64 = 0
        let h = unsafe buffers.state + d * states
        for n in 0..<states {
            let b = unsafe matrix(buffers, layouts, n, row, at)
            let c = unsafe matrix(buffers, layouts, states + n, row, at)
            let u = unsafe min((UInt64(delta) &* UInt64(alpha[n])) >> 14, Self.exponentLimit)
            let decay = Exponent.decay(UInt32(u))
            let value = unsafe Self.decayed(h[n], decay) &+ injection &* b
            unsafe h[n] = min(max(value, -Self.stateLimit), Self.stateLimit)
            unsafe sum &+= Int64(c) &* Int64((h[n] &+ 4096) >> 13)
        }
        let shift = Int64(channel.shift)
        let y = (sum &* Int64(channel.multiplier) &+ x &* Int64(channel.skip) &+ 1 << (shift &- 1)) >> shift
        let outputOffset = layouts.output.rowOffset(block: d >> 1, z: 0, y: row) + at + 2 * (d & 1)
        unsafe buffers.output.storeBytes(
            of: Int16(truncatingIfNeeded: min(max(y, -32768), 32767)), toByteOffset: outputOffset, as: Int16.self)
    }

    private func matrix(_ buffers: Buffers, _ layouts: Layouts, _ n: Int, _ row: Int, _ at: Int) -> Int32 {
        let offset = layouts.matrices.rowOffset(block: n >> 2, z: 0, y: row) + at + (n & 3)
        return unsafe Int32(buffers.matrices.load(fromByteOffset: offset, as: UInt8.self)) - Int32(matrixZeroPoint)
    }

    /// round(h · a / 2^16), half up, for a in 0 ... 2^16, in 32-bit lanes.
    static func decayed(_ h: Int32, _ a: UInt32) -> Int32 {
        let high = (h >> 16) &* Int32(truncatingIfNeeded: a)
        let low = (UInt32(truncatingIfNeeded: h & 0xFFFF) &* a &+ 0x8000) >> 16
        return high &+ Int32(truncatingIfNeeded: low)
    }
}
