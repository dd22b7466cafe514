import COps

/// The mean of each channel over the voxels of a volume, or of each slice: u8 or i16 in, one voxel of u8 or i16 codes of another
/// scale out. With n voxels and the channel's multiplier m and shift s:
///
///     y = clamp(zy + ⌊((Σ a - n · za) · m · 2 + n · 2^s) / (n · 2^(s+1))⌋)
///
/// The sum is exact, so any split of the rows gives the same; it is scaled, divided and rounded (half up) in one step. A mean has
/// a far smaller range than what it is taken of, so m / 2^s may be large.
public struct GlobalPool: Equatable, Sendable {
    public static let shiftRange: ClosedRange<Int32> = 1...62

    public var channels: Int
    public var inputElement: ElementType
    public var inputZeroPoint: UInt8
    public var outputElement: ElementType
    public var outputZeroPoint: UInt8
    /// Each slice has a mean of its own: that of a network of two axes.
    public var isPerSlice: Bool

    public init(
        channels: Int, inputElement: ElementType, inputZeroPoint: UInt8, outputElement: ElementType,
        outputZeroPoint: UInt8, isPerSlice: Bool
    ) {
        self.channels = channels
        self.inputElement = inputElement
        self.inputZeroPoint = inputZeroPoint
        self.outputElement = outputElement
        self.outputZeroPoint = outputZeroPoint
        self.isPerSlice = isPerSlice
    }

    /// Adds the codes of the rows `rows` (row = z · height + y) to `sums`, one for each channel.
    public func addSums(
        input: UnsafeRawPointer, layout: TensorLayout, rows: Range<Int>, sums: UnsafeMutablePointer<Int64>
    ) {
        let per = inputElement.channelsPerBlock
        for block in 0..<layout.blocks {
            var found = SIMD4<Int64>()
            for row in rows {
                let words = unsafe (input + layout.rowOffset(block: block, z: 0, y: row))
                    .assumingMemoryBound(to: UInt32.self)
                unsafe inputElement == .u8
                    ? Self.addBytes(words, layout.extent.width, &found)
                    : Self.addWords(words, layout.extent.width, &found)
            }
            // Codes of absent channels have no meaning.
            for lane in 0..<min(per, channels - block * per) { unsafe sums[block * per + lane] += found[lane] }
        }
    }

    /// Two sums of 16 bits in each word hold 257 bytes.
    private static func addBytes(_ row: UnsafePointer<UInt32>, _ width: Int, _ sums: inout SIMD4<Int64>) {
        for start in stride(from: 0, to: width, by: 256) {
            var even: UInt32 = 0
            var odd: UInt32 = 0
            for x in start..<min(start + 256, width) {
                unsafe even &+= row[x] & 0x00FF_00FF
                unsafe odd &+= row[x] &>> 8 & 0x00FF_00FF
            }
            sums &+= SIMD4(Int64(even & 0xFFFF), Int64(odd & 0xFFFF), Int64(even >> 16), Int64(odd >> 16))
        }
    }

    /// A row has fewer than 2^15 voxels, whose sum stays below 2^30.
    private static func addWords(_ row: UnsafePointer<UInt32>, _ width: Int, _ sums: inout SIMD4<Int64>) {
        var low: Int32 = 0
        var high: Int32 = 0
        for x in 0..<width {
            let word = unsafe Int32(bitPattern: row[x])
            low &+= (word &<< 16) &>> 16
            high &+= word &>> 16
        }
        sums &+= SIMD4(Int64(low), Int64(high), 0, 0)
    }

    /// Writes the means of `count` voxels as voxel (row, 0) of the output.
    /// - Parameter parameters: multiplier and shift of each channel.
    public func write(
        sums: UnsafePointer<Int64>, count: Int, parameters: UnsafePointer<mk_channel>,
        output: UnsafeMutableRawPointer, layout: TensorLayout, row: Int
    ) {
        let per = outputElement.channelsPerBlock
        for block in 0..<layout.blocks {
            let voxel = unsafe output + layout.rowOffset(block: block, z: 0, y: row)
            unsafe voxel.storeBytes(of: 0, as: UInt32.self)
            for lane in 0..<min(per, channels - block * per) {
                let c = block * per + lane
                let code = unsafe code(sum: sums[c], count: count, parameters[c])
                if outputElement == .u8 {
                    unsafe voxel.storeBytes(of: UInt8(truncatingIfNeeded: code), toByteOffset: lane, as: UInt8.self)
                } else {
                    unsafe voxel.storeBytes(of: Int16(truncatingIfNeeded: code), toByteOffset: 2 * lane, as: Int16.self)
                }
            }
            unsafe layout.fillGapsAround(row: row, block: block, base: output, zeroPoint: outputZeroPoint)
        }
    }

    /// |Σ a - n · za| < 2^46 and m < 2^31: the numerator stays below 2^95, the denominator below 2^94.
    func code(sum: Int64, count: Int, _ parameters: mk_channel) -> Int32 {
        let n = Int128(count)
        let difference = Int128(sum) - n * Int128(inputZeroPoint)
        let numerator = difference * Int128(parameters.multiplier) * 2 + n << Int128(parameters.shift)
        let (quotient, remainder) = numerator.quotientAndRemainder(dividingBy: n << Int128(parameters.shift + 1))
        let mean = Int128(outputZeroPoint) + quotient - (remainder < 0 ? 1 : 0)
        return outputElement == .u8 ? Int32(min(max(mean, 0), 255)) : Int32(min(max(mean, -32768), 32767))
    }
}
