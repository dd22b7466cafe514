import COps
import FlatGraph
import Glibc
import GraphIR
import Ops

/// The integer constants of a selective scan (recipe: `Ops.Scan`) from its real ones and what calibration saw.
struct ScanConstants {
    let scan: SelectiveScan
    /// Codings of x, of the step before its softplus, of b and c together, and of the output.
    let x: ValueCoding
    let step: ValueCoding
    let matrices: ValueCoding
    let output: ValueCoding
    /// By channel.
    let peaks: [ScanPeaks]
    let layer: String

    /// Softplus of every 128th step code, 27 fraction bits, at most 16. Steps are 2^-11, or what the accumulator before them
    /// allows (`Lowering.coarsenScales`).
    func softplusTable() throws(QuantizeError) -> [UInt32] {
        let scale = Double(step.scale(0))
        guard scale < 0x1p-9 else {
            throw QuantizeError(layer: layer, message: "a step of \(scale) is too coarse for the softplus table")
        }
        let values = (0..<Scan.softplusEntries).map { i in
            UInt32((min(Self.softplus(Double(i * 128 - 32768) * scale), 16) * 0x1p27).rounded())
        }
        return values + [0, 0, 0]
    }

    static func softplus(_ v: Double) -> Double { v > 30 ? v : log1p(exp(v)) }

    /// One channel's constants; rates by state.
    struct Channel {
        var stepShift: Int32 = 1
        var injectionShift: Int32 = 1
        var exponentBits: Int32 = 1
        var multiplier: Int32 = 0
        var skip: Int32 = 0
        var shift: Int32 = 33
        var rates: [UInt16] = []
    }

    /// The constants stand for one scale of all steps, one of all of b and one of all of c.
    private func checkScales(channels: Int) throws(QuantizeError) {
        for (coding, range) in [
            (step, 0..<channels), (matrices, 0..<scan.states), (matrices, scan.states..<(2 * scan.states)),
        ] {
            let scales = Set(range.map { coding.scale($0) })
            guard scales.count == 1 else {
                throw QuantizeError(
                    layer: layer,
                    message: "a scan's input has scales from \(scales.min()!) to \(scales.max()!) (must be one)")
            }
        }
    }

    /// - Throws: `QuantizeError` naming the layer.
    func bytes(channels: Int) throws(QuantizeError) -> [UInt8] {
        try checkScales(channels: channels)
        var table = RecordBytes()
        for value in try softplusTable() { table.append(value) }
        let pairs = (scan.states + 1) / 2
        for first in stride(from: 0, to: channels, by: Scan.group) {
            var group: [Channel] = []
            for d in first..<(first + Scan.group) {
                group.append(d < channels ? try channel(d) : Channel(rates: [UInt16](repeating: 0, count: scan.states)))
            }
            for field in [\Channel.stepShift, \.injectionShift, \.exponentBits, \.multiplier, \.skip, \.shift] {
                for channel in group { table.append(channel[keyPath: field]) }
            }
            for pair in 0..<pairs {
                for channel in group {
                    table.append(channel.rates[2 * pair])
                    table.append(2 * pair + 1 < scan.states ? channel.rates[2 * pair + 1] : 0)
                }
            }
        }
        return table.bytes
    }

    func channel(_ d: Int) throws(QuantizeError) -> Channel {
        let alphas = (0..<scan.states).map { -Double(scan.a[d * scan.states + $0]) * 1.4426950408889634 }
        // A step beyond the calibrated one saturates; a quarter more is free.
        let largestStep = max(min(Self.softplus(peaks[d].step) * 1.25, 16), 1e-6)
        let (bits, fraction) = try exponent(largestStep, alphas.max()!)
        var result = Channel(stepShift: Int32(27 - fraction), exponentBits: Int32(bits))
        result.rates = alphas.map { UInt16(min(($0 * exp2(Double(32 - bits - fraction))).rounded(), 65535)) }
        // One unit of the state at injection shift k is S_x · S_b · 2^(k - fraction).
        let (inputScale, matrixScale) = (Double(x.scale(d)), Double(matrices.scale(0)))
        let unit = inputScale * matrixScale * exp2(Double(-fraction))
        let forState = log2(max(peaks[d].state, 1e-30) / (0x1p30 * unit))
        let forInjection = log2(max(peaks[d].injection, 1e-30) * 1.25 / inputScale * exp2(Double(fraction)) / 65534)
        let k = min(max(ceil(max(forState, forInjection)), 1), 25)
        result.injectionShift = Int32(k)
        let outputScale = Double(output.scale(d))
        let dropped = Scan(channels: 1, states: scan.states, isReversed: false, inputZeroPoint: 0).readOutShift
        let matrixUnit = Double(matrices.scale(scan.states)) * exp2(Double(dropped))
        let readOut = 0x1p16 * unit * exp2(k) * matrixUnit / outputScale
        let direct = Double(scan.skip[d]) * inputScale / outputScale * 0x1p-15
        var shift = 53.0
        while shift > 33, max(readOut, abs(direct)) * exp2(shift) >= 0x1p31 - 1 { shift -= 1 }
        guard max(readOut, abs(direct)) * exp2(shift) < 0x1p31 - 1 else {
            throw QuantizeError(layer: layer, message: "the scan's output range is too small for its state")
        }
        result.multiplier = Int32((readOut * exp2(shift)).rounded())
        result.skip = Int32((direct * exp2(shift)).rounded())
        result.shift = Int32(shift)
        return result
    }

    /// Integer bits e of the exponent Δ·alpha, and fraction bits s of Δ; alpha gets 32 - e - s. The product's 32 bits are shared so
    /// that neither factor is coarse: small steps need few bits of their own, and rates of a slow state many.
    private func exponent(_ step: Double, _ rate: Double) throws(QuantizeError) -> (bits: Int, fraction: Int) {
        let most = log2(step * rate)
        // Below three bits the rounding of the fraction saturates too often (`Exponent`).
        var bits = max(3, Int(ceil(most + 1e-4)))
        let used = Double(32 - bits) + most
        let forRate = max(used - 16, min(14, used / 2 + 1))
        var fraction = Int(ceil(Double(32 - bits) - forRate + log2(rate)))
        fraction = min(fraction, Int(floor(log2(65535 / step))), 26)
        // Rounding u to a whole number must not overflow.
        while rate * exp2(Double(32 - bits - fraction)) > 65535 * (1 - exp2(Double(-bits - 1))) { bits += 1 }
        guard bits <= Int(Exponent.bitsRange.upperBound) else {
            throw QuantizeError(layer: layer, message: "step \(step) times decay rate \(rate) (too large)")
        }
        return (bits, fraction)
    }
}

extension Lowering {
    mutating func addScan(_ index: Int, _ node: Node, _ scan: SelectiveScan) throws(QuantizeError) {
        let constants = ScanConstants(
            scan: scan, x: codings[node.inputs[0]]!, step: codings[node.inputs[1]]!,
            matrices: codings[node.inputs[2]]!, output: codings[node.output]!, peaks: scanPeaks[index]!,
            layer: node.name)
        let table = try constants.bytes(channels: graph.channels[node.output])
        addTensor(node.output, name: node.name)
        var op = OpRecord()
        op.kind = .scan
        op.mode = scan.reversed ? 1 : 0
        op.multiplierA = Int64(scan.states)
        addOp(op, node, output: node.output, table: table, tableAlignment: 64)
        finish(index, "scan")
    }
}
