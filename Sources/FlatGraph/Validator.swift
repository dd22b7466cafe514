import FixedPoint
import Ops

/// All checks on the contents of a file whose structure is sound. Allocates nothing, stops at the first fault.
struct Validator {
    let file: ModelFile

    func run() throws(ModelFileError) {
        try checkCounts()
        try checkStrings()
        for index in 0..<file.tensorCount { try checkTensor(index) }
        try checkModel()
        for index in 0..<file.opCount { try checkOp(index) }
        try checkFlow()
    }

    private func checkCounts() throws(ModelFileError) {
        for section in Section.allCases where section.recordBytes > 1 {
            let isGraph = section == .tensors || section == .ops || section == .operands
            let limit = isGraph ? MKQ.maximumGraphRecords : MKQ.maximumRecords
            guard file.count(section) <= limit else {
                throw ModelFileError(
                    .tooLarge, section.place, field: "records", value: file.count(section), expected: limit)
            }
        }
        for section in [Section.tensors, .ops, .labels, .channelNames] where file.count(section) == 0 {
            throw ModelFileError(.badValue, section.place, field: "records", value: 0, expected: 1)
        }
    }

    // MARK: Strings

    private func checkStrings() throws(ModelFileError) {
        try check(file.record.name, .model, 0, "name")
        for i in 0..<file.count(.labels) {
            guard let label = LabelRecord(file.section(.labels), i * LabelRecord.size) else {
                throw ModelFileError(.badRecord, .labels, index: i)
            }
            try check(label.name, .labels, i, "name")
        }
        for i in 0..<file.count(.provenance) {
            try check(file.provenance(i).key, .provenance, i, "key")
            try check(file.provenance(i).value, .provenance, i, "value")
        }
        for i in 0..<file.count(.channelNames) { try check(file.channelName(i), .channelNames, i, "name") }
    }

    private func check(
        _ ref: StringRef, _ place: ModelFileError.Place, _ index: Int, _ field: StaticString
    ) throws(ModelFileError) {
        let size = file.section(.strings).count
        guard Int(clamping: ref.offset) <= size, Int(clamping: ref.length) <= size - Int(clamping: ref.offset),
            isPrintable(file.stringBytes(ref))
        else {
            throw ModelFileError(.badString, place, index: index, field: field, value: Int(clamping: ref.offset))
        }
    }

    /// Well-formed UTF-8 (RFC 3629) without control characters: names end up on terminals and in reports.
    private func isPrintable(_ text: ByteView) -> Bool {
        var i = 0
        while i < text.count {
            let lead = text.u8(i)
            if lead < 0x80 {
                guard lead >= 0x20, lead != 0x7F else { return false }
                i += 1
                continue
            }
            let length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2
            guard lead >= 0xC2, lead <= 0xF4, i + length <= text.count else { return false }
            let second = text.u8(i + 1)
            let lowest: UInt8 = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80
            let highest: UInt8 = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF
            guard second >= lowest, second <= highest else { return false }
            for k in 2..<max(length, 2) where text.u8(i + k) & 0xC0 != 0x80 { return false }
            i += length
        }
        return true
    }

    // MARK: Records

    /// 0 <= low < high <= 1 and 0 <= epsilon, for finite numbers, whose bits order those of one sign: boards may have no
    /// floating point.
    private static func isOrdered(_ m: ModelRecord) -> Bool {
        func bits(_ value: Double) -> Int64 { Int64(bitPattern: value.bitPattern) }
        return bits(m.low) >= 0 && bits(m.low) < bits(m.high) && bits(m.high) <= bits(1) && bits(m.epsilon) >= 0
    }

    private func checkModel() throws(ModelFileError) {
        let m = file.record
        for (field, value) in [("inputTensor" as StaticString, m.inputTensor), ("labelTensor", m.labelTensor)]
        where Int(clamping: value) >= file.tensorCount {
            throw ModelFileError(
                .indexOutOfRange, .model, field: field, value: Int(clamping: value), expected: file.tensorCount - 1)
        }
        for value in [m.low, m.high, m.epsilon, m.clip] where !value.isFinite {
            throw ModelFileError(.badValue, .model, field: "normalization")
        }
        if m.normalization == .quantile, !Self.isOrdered(m) {
            throw ModelFileError(.badValue, .model, field: "quantiles")
        }
        for value in [m.spacing.0, m.spacing.1, m.spacing.2] where value > 100_000 || (value > 0 && value < 10) {
            throw ModelFileError(.badValue, .model, field: "spacing", value: Int(clamping: value), expected: 100_000)
        }
        for value in [m.dims.0, m.dims.1, m.dims.2, m.patch.0, m.patch.1, m.patch.2] where value > 4096 {
            throw ModelFileError(.badValue, .model, field: "dims", value: Int(clamping: value), expected: 4096)
        }
        if m.windowScheme != .none {
            for value in [m.patch.0, m.patch.1, m.patch.2] where value == 0 {
                throw ModelFileError(.badValue, .model, field: "patch", value: 0, expected: 4096)
            }
            let tableBytes = Int(m.patch.0) + Int(m.patch.1) + Int(m.patch.2)
            let tables = file.section(.tables).count
            guard Int(clamping: m.windowTable) <= tables, tableBytes <= tables - Int(clamping: m.windowTable) else {
                throw ModelFileError(
                    .indexOutOfRange, .model, field: "windowTable", value: Int(clamping: m.windowTable),
                    expected: tables)
            }
            guard m.overlapPerMille <= 900 else {
                throw ModelFileError(.badValue, .model, field: "overlap", value: Int(m.overlapPerMille), expected: 900)
            }
        }
        let input = file.tensor(Int(clamping: m.inputTensor))
        guard Int(input.channels) == file.count(.channelNames) else {
            throw ModelFileError(
                .badShape, .channelNames, field: "records", value: file.count(.channelNames),
                expected: Int(input.channels))
        }
    }

    private func checkTensor(_ index: Int) throws(ModelFileError) {
        guard let tensor = TensorRecord(file.section(.tensors), index * TensorRecord.size) else {
            throw ModelFileError(.badRecord, .tensors, index: index)
        }
        try check(tensor.name, .tensors, index, "name")
        guard (1...65_535).contains(tensor.channels) else {
            throw ModelFileError(
                .badValue, .tensors, index: index, field: "channels", value: Int(clamping: tensor.channels),
                expected: 65_535)
        }
        guard tensor.isSpanSound else {
            throw ModelFileError(.badValue, .tensors, index: index, field: "span", value: Int(tensor.span.rawValue))
        }
        if tensor.storage != .u8, tensor.zeroPoint != 0 {
            throw ModelFileError(.badValue, .tensors, index: index, field: "zeroPoint", value: Int(tensor.zeroPoint))
        }
        guard tensor.storage != .labels else { return }
        let scales = file.count(.scales)
        guard tensor.scaleCount == 1 || tensor.scaleCount == tensor.channels,
            Int(clamping: tensor.scaleOffset) <= scales,
            Int(clamping: tensor.scaleCount) <= scales - Int(clamping: tensor.scaleOffset)
        else {
            throw ModelFileError(
                .indexOutOfRange, .tensors, index: index, field: "scales", value: Int(clamping: tensor.scaleOffset),
                expected: scales)
        }
        for i in 0..<Int(clamping: tensor.scaleCount) {
            let scale = file.scale(Int(clamping: tensor.scaleOffset) + i)
            guard scale.isFinite, scale > 0 else {
                throw ModelFileError(.badValue, .scales, index: Int(clamping: tensor.scaleOffset) + i, field: "scale")
            }
        }
    }

    private func checkOp(_ index: Int) throws(ModelFileError) {
        guard let op = OpRecord(file.section(.ops), index * OpRecord.size) else {
            throw ModelFileError(.badRecord, .ops, index: index)
        }
        try check(op.name, .ops, index, "name")
        let operands = file.count(.operands)
        guard Int(clamping: op.operandOffset) <= operands,
            Int(clamping: op.operandCount) <= operands - Int(clamping: op.operandOffset)
        else {
            throw ModelFileError(
                .indexOutOfRange, .ops, index: index, field: "operands", value: Int(clamping: op.operandOffset),
                expected: operands)
        }
        guard Int(clamping: op.output) < file.tensorCount else {
            throw ModelFileError(
                .indexOutOfRange, .ops, index: index, field: "output", value: Int(clamping: op.output),
                expected: file.tensorCount - 1)
        }
        for i in 0..<Int(clamping: op.operandCount) where file.operand(op, i) >= file.tensorCount {
            throw ModelFileError(
                .indexOutOfRange, .operands, index: Int(clamping: op.operandOffset) + i, field: "tensor",
                value: file.operand(op, i), expected: file.tensorCount - 1)
        }
        try OpValidator(file: file, op: op, index: index).run()
    }

    /// Every tensor is produced once and before its first use; the input tensor by nobody; the labels by the last op.
    private func checkFlow() throws(ModelFileError) {
        for index in 0..<file.opCount {
            let op = file.op(index)
            for i in 0..<Int(clamping: op.operandCount) {
                let tensor = file.operand(op, i)
                guard tensor == Int(file.record.inputTensor) || isProduced(tensor, before: index) else {
                    throw ModelFileError(.badGraph, .ops, index: index, field: "operand", value: tensor)
                }
            }
            guard Int(clamping: op.output) != Int(file.record.inputTensor),
                !isProduced(Int(clamping: op.output), before: index)
            else {
                throw ModelFileError(.badGraph, .ops, index: index, field: "output", value: Int(clamping: op.output))
            }
        }
        let last = file.op(file.opCount - 1)
        guard last.kind == .argmax, last.output == file.record.labelTensor else {
            throw ModelFileError(.badGraph, .ops, index: file.opCount - 1, field: "output", value: Int(last.output))
        }
        let input = file.tensor(Int(file.record.inputTensor))
        guard input.storage != .labels, input.growth == (0, 0, 0), input.span == .voxel else {
            throw ModelFileError(.badGraph, .tensors, index: Int(file.record.inputTensor), field: "storage")
        }
        // Without padding the labels cover only the middle of the volume; they never reach beyond it.
        let growth = file.tensor(Int(last.output)).growth
        let most = Int(max(growth.0, growth.1, growth.2))
        guard most <= 0 else {
            throw ModelFileError(.badShape, .tensors, index: Int(last.output), field: "growth", value: most)
        }
    }

    private func isProduced(_ tensor: Int, before op: Int) -> Bool {
        for index in 0..<op where Int(file.op(index).output) == tensor { return true }
        return false
    }
}
