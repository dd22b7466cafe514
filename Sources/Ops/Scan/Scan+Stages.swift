import COps

/// The three stages of a chunk. The portable bodies are the specification.
extension Scan {
    func prepareMatrices(
        _ isa: ISA, _ buffers: Buffers, _ layouts: Layouts, _ chunk: ScanChunk, _ tokens: Range<Int>
    ) {
        forEachRun(layouts, tokens) { row, x, count, index in
            let words = unsafe chunk.matrices + index * matricesPitch
            let block = layouts.matrices.blockStride
            let codes = unsafe (buffers.matrices + layouts.matrices.rowOffset(z: 0, y: row) + 4 * x)
                .assumingMemoryBound(to: UInt8.self)
            switch isa {
            case .portable:
                for t in 0..<count { unsafe prepareMatrices(codes + 4 * t, block, words + t * matricesPitch) }
            #if arch(x86_64)
                case .avx2, .avxvnni, .avx512vnni256:
                    unsafe mk_scan_matrices_avx2(
                        codes, block, Int32(states), readOutShift, ahead, Int32(count), words, matricesPitch)
                case .avx512vnni:
                    unsafe mk_scan_matrices_avx512vnni(
                        codes, block, Int32(states), readOutShift, ahead, Int32(count), words, matricesPitch)
            #elseif arch(arm64)
                case .neon, .dotprod, .i8mm:
                    unsafe mk_scan_matrices_neon(
                        codes, block, Int32(states), readOutShift, ahead, Int32(count), words, matricesPitch)
            #endif
            }
        }
    }

    private func prepareMatrices(_ codes: UnsafePointer<UInt8>, _ block: Int, _ words: UnsafeMutablePointer<UInt32>) {
        unsafe words.update(repeating: 0, count: matricesPitch)
        let half = Int32(1) << (readOutShift - 1)
        for n in 0..<states {
            let b = unsafe UInt32(UInt16(bitPattern: Self.word(codes + (n >> 1) * block, n & 1)))
            let m = states + n
            let code = unsafe Int32(Self.word(codes + (m >> 1) * block, m & 1))
            let c = UInt32(truncatingIfNeeded: (code &+ half) >> readOutShift)
            unsafe words[n] = b | b << 16
            unsafe words[2 * pairs + n] = c << 16
        }
    }

    func constants(_ buffers: Buffers, _ group: Int) -> UnsafePointer<mk_scan_group> {
        unsafe (buffers.table + Self.groupOffset(group, groupBytes: groupBytes)).assumingMemoryBound(
            to: mk_scan_group.self)
    }

    private func rates(_ buffers: Buffers, _ group: Int) -> UnsafePointer<UInt32> {
        unsafe (UnsafeRawPointer(constants(buffers, group)) + MemoryLayout<mk_scan_group>.size).assumingMemoryBound(
            to: UInt32.self)
    }

    // MARK: Steps and injections

    func prepare(
        _ isa: ISA, _ buffers: Buffers, _ layouts: Layouts, _ chunk: ScanChunk, _ group: Int, _ tokens: Range<Int>
    ) {
        forEachRun(layouts, tokens) { row, x, count, index in
            let run = unsafe rows(buffers, layouts, group, row, x, count)
            let (steps, injections) = unsafe (chunk.steps + index * Self.group, chunk.injections + index * Self.group)
            let codes = unsafe chunk.codes + index * ScanChunk.codesBytes
            let (constants, softplus) = unsafe (
                constants(buffers, group), buffers.table.assumingMemoryBound(to: UInt32.self)
            )
            switch isa {
            case .portable: unsafe preparePortable(run, constants, softplus, steps, injections)
            #if arch(x86_64)
                case .avx2, .avxvnni, .avx512vnni256:
                    unsafe withUnsafePointer(to: run) {
                        unsafe mk_scan_prepare_avx2($0, constants, softplus, codes, steps, injections)
                    }
                case .avx512vnni:
                    unsafe withUnsafePointer(to: run) {
                        unsafe mk_scan_prepare_avx512vnni($0, constants, softplus, codes, steps, injections)
                    }
            #elseif arch(arm64)
                case .neon, .dotprod, .i8mm:
                    unsafe withUnsafePointer(to: run) {
                        unsafe mk_scan_prepare_neon($0, constants, softplus, codes, steps, injections)
                    }
            #endif
            }
        }
    }

    /// The chunk's tokens as pieces of rows: (row, first x, tokens, index in the chunk).
    private func forEachRun(_ layouts: Layouts, _ tokens: Range<Int>, _ body: (Int, Int, Int, Int) -> Void) {
        let width = layouts.output.extent.width
        var token = tokens.lowerBound
        while token < tokens.upperBound {
            let x = token % width
            let count = min(width - x, tokens.upperBound - token)
            body(token / width, x, count, token - tokens.lowerBound)
            token += count
        }
    }

    private func rows(
        _ buffers: Buffers, _ layouts: Layouts, _ group: Int, _ row: Int, _ x: Int, _ count: Int
    ) -> mk_scan_run {
        let first = group * Self.group
        return unsafe mk_scan_run(
            x: buffers.x.assumingMemoryBound(to: UInt8.self)
                + (layouts.x.rowOffset(block: first / 4, z: 0, y: row) + 4 * x),
            step: buffers.step.assumingMemoryBound(to: UInt8.self)
                + (layouts.step.rowOffset(block: first / 2, z: 0, y: row) + 4 * x),
            output: buffers.output.assumingMemoryBound(to: UInt8.self)
                + (layouts.output.rowOffset(block: first / 2, z: 0, y: row) + 4 * x),
            x_block: layouts.x.blockStride, step_block: layouts.step.blockStride,
            output_block: layouts.output.blockStride, count: Int32(count),
            channels: Int32(min(Self.group, channels - first)), zero_point: Int32(inputZeroPoint),
            ahead: ahead)
    }

    /// Bytes from a token to the one that the next chunk reads in its place.
    private var ahead: Int32 { Int32(isReversed ? -4 * Self.chunk : 4 * Self.chunk) }

    private func preparePortable(
        _ run: mk_scan_run, _ constants: UnsafePointer<mk_scan_group>, _ softplus: UnsafePointer<UInt32>,
        _ steps: UnsafeMutablePointer<UInt32>, _ injections: UnsafeMutablePointer<UInt32>
    ) {
        for t in unsafe 0..<Int(run.count) {
            for c in 0..<Self.group {
                var (delta, injection) = (UInt32(0), Int32(0))
                if unsafe c < Int(run.channels) {
                    let r = unsafe UInt32(lane(constants.pointee.step_shift, c))
                    let k = unsafe lane(constants.pointee.injection_shift, c)
                    let v = unsafe Self.word(run.step + (c >> 1) * run.step_block + 4 * t, c & 1)
                    delta = unsafe min((Self.softplus(softplus, v) &+ 1 << (r &- 1)) >> r, 0xFFFF)
                    let x = unsafe Int32(run.x[(c >> 2) * run.x_block + 4 * t + (c & 3)]) &- run.zero_point
                    injection = (Int32(delta) &* x &+ 1 << (k &- 1)) >> k
                    injection = min(max(injection, -65534), 65534)
                }
                let half = injection >> 1
                unsafe steps[t * Self.group + c] = delta | delta << 16
                unsafe injections[t * Self.group + c] =
                    UInt32(truncatingIfNeeded: half) & 0xFFFF | UInt32(truncatingIfNeeded: injection &- half) << 16
            }
        }
    }

    private static func word(_ pixel: UnsafePointer<UInt8>, _ half: Int) -> Int16 {
        unsafe UnsafeRawPointer(pixel).load(fromByteOffset: 2 * half, as: Int16.self)
    }

    /// ln(1 + e^v) with 27 fraction bits: 513 values, straight lines between.
    static func softplus(_ table: UnsafePointer<UInt32>, _ v: Int16) -> UInt32 {
        let index = Int(v) + 32768
        let (low, high) = unsafe (table[index >> 7], table[index >> 7 + 1])
        return low &+ ((high &- low) &* UInt32(index & 127) &+ 64) >> 7
    }

    private func lane(_ list: Lanes, _ c: Int) -> Int32 {
        unsafe withUnsafeBytes(of: list) { unsafe $0.load(fromByteOffset: 4 * c, as: Int32.self) }
    }

    // MARK: States

    func advance(_ isa: ISA, _ buffers: Buffers, _ chunk: ScanChunk, _ group: Int, _ count: Int) {
        let state = unsafe buffers.state + group * 2 * pairs * Self.group
        var run = unsafe mk_scan_core(
            steps: chunk.steps, injections: chunk.injections, matrices: chunk.matrices,
            matrices_pitch: matricesPitch, rates: rates(buffers, group), state: state, read_out: chunk.readOut,
            count: Int32(count),
            pairs: Int32(pairs), reversed: isReversed ? 1 : 0)
        switch isa {
        case .portable: unsafe advancePortable(run, constants(buffers, group))
        #if arch(x86_64)
            case .avx2, .avxvnni, .avx512vnni256:
                unsafe mk_scan_advance_avx2(&run, constants(buffers, group))
            case .avx512vnni:
                if ISA.hasDoubleShifts {
                    unsafe mk_scan_advance_avx512vbmi2(&run, constants(buffers, group))
                } else {
                    unsafe mk_scan_advance_avx512vnni(&run, constants(buffers, group))
                }
        #elseif arch(arm64)
            case .neon, .dotprod, .i8mm:
                unsafe mk_scan_advance_neon(&run, constants(buffers, group))
        #endif
        }
    }

    private func advancePortable(_ run: mk_scan_core, _ constants: UnsafePointer<mk_scan_group>) {
        let count = unsafe Int(run.count)
        for order in 0..<count {
            let t = isReversed ? count - 1 - order : order
            for c in 0..<Self.group {
                let bits = unsafe lane(constants.pointee.exponent_bits, c)
                let step = unsafe UInt16(truncatingIfNeeded: run.steps[t * Self.group + c])
                let halves = unsafe run.injections[t * Self.group + c]
                let injection =
                    Int64(Int16(truncatingIfNeeded: halves)) &+ Int64(Int16(truncatingIfNeeded: halves >> 16))
                var sum = Int32(0)
                for n in 0..<(2 * pairs) {
                    let rate = unsafe UInt16(
                        truncatingIfNeeded: run.rates[(n >> 1) * Self.group + c] >> (n & 1 == 0 ? 0 : 16))
                    let g = unsafe run.state + (n * Self.group + c)
                    let words = unsafe run.matrices + (t * matricesPitch + n)
                    let weight = Exponent.weight(step: step, rate: rate, bits: bits)
                    let kept = unsafe g.pointee &+ 2 &* ((g.pointee >> 16) &* weight)
                    let b = unsafe Int64(Int16(truncatingIfNeeded: words[0]))
                    unsafe g.pointee = Int32(clamping: Int64(kept) &+ injection &* b)
                    let matrix = unsafe Int32(bitPattern: words[2 * pairs]) >> 16
                    unsafe sum &+= matrix &* (g.pointee >> 16)
                }
                unsafe run.read_out[t * Self.group + c] = sum
            }
        }
    }

    // MARK: Output

    func finish(
        _ isa: ISA, _ buffers: Buffers, _ layouts: Layouts, _ chunk: ScanChunk, _ group: Int, _ tokens: Range<Int>
    ) {
        forEachRun(layouts, tokens) { row, x, count, index in
            let run = unsafe rows(buffers, layouts, group, row, x, count)
            let (readOut, constants) = unsafe (chunk.readOut + index * Self.group, constants(buffers, group))
            let codes = unsafe chunk.codes + index * ScanChunk.codesBytes
            switch isa {
            case .portable: unsafe finishPortable(run, constants, readOut)
            #if arch(x86_64)
                case .avx2, .avxvnni, .avx512vnni256:
                    unsafe withUnsafePointer(to: run) {
                        unsafe mk_scan_finish_avx2($0, constants, readOut, codes)
                    }
                case .avx512vnni:
                    unsafe withUnsafePointer(to: run) {
                        unsafe mk_scan_finish_avx512vnni($0, constants, readOut, codes)
                    }
            #elseif arch(arm64)
                case .neon, .dotprod, .i8mm:
                    unsafe withUnsafePointer(to: run) {
                        unsafe mk_scan_finish_neon($0, constants, readOut, codes)
                    }
            #endif
            }
        }
    }

    private func finishPortable(
        _ run: mk_scan_run, _ constants: UnsafePointer<mk_scan_group>, _ readOut: UnsafePointer<Int32>
    ) {
        for t in unsafe 0..<Int(run.count) {
            for c in unsafe 0..<((Int(run.channels) + 1) & ~1) {
                var y = Int64(0)
                if unsafe c < Int(run.channels) {
                    let x = unsafe Int64(run.x[(c >> 2) * run.x_block + 4 * t + (c & 3)]) &- Int64(run.zero_point)
                    let n = unsafe Int64(lane(constants.pointee.shift, c))
                    y = unsafe Int64(readOut[t * Self.group + c]) &* Int64(lane(constants.pointee.multiplier, c))
                    y = unsafe (y &+ (x << 15) &* Int64(lane(constants.pointee.skip, c)) &+ 1 << (n &- 1)) >> n
                }
                let pixel = unsafe UnsafeMutableRawPointer(run.output + (c >> 1) * run.output_block + 4 * t)
                unsafe pixel.storeBytes(of: Int16(clamping: y), toByteOffset: 2 * (c & 1), as: Int16.self)
            }
        }
    }
}

/// Sixteen constants, one per channel of a group.
typealias Lanes = (
    Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32
)
