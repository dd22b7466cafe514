import COps
import FixedPoint
import Ops

/// Collects records and writes them as a `.mkq` file. The same calls give the same bytes.
public struct ModelBuilder: Sendable {
    public var record = ModelRecord()
    public private(set) var tensors: [TensorRecord] = []
    public private(set) var ops: [OpRecord] = []
    private var operands: [UInt32] = []
    private var scales: [Float] = []
    private var channels: [mk_channel] = []
    private var weights = ByteWriter()
    private var tables = ByteWriter()
    private var strings = ByteWriter()
    private var labels: [LabelRecord] = []
    private var provenance: [(StringRef, StringRef)] = []
    private var channelNames: [StringRef] = []
    private var features: [String] = []

    public init() {}

    public mutating func string(_ text: String) -> StringRef {
        let bytes = Array(text.utf8)
        defer { strings.append(contentsOf: bytes) }
        return StringRef(offset: UInt32(strings.count), length: UInt32(bytes.count))
    }

    /// Adds a tensor with its scales (one, or one per channel; none for labels) and returns its index.
    public mutating func addTensor(_ tensor: TensorRecord, name: String, scales values: [Float]) -> UInt32 {
        var tensor = tensor
        tensor.name = string(name)
        tensor.scaleOffset = UInt32(scales.count)
        tensor.scaleCount = UInt32(values.count)
        scales += values
        let (depth, height, width) = (tensor.coarseness.depth, tensor.coarseness.height, tensor.coarseness.width)
        if depth != height || height != width { require(feature: "anisotropic") }
        tensors.append(tensor)
        return UInt32(tensors.count - 1)
    }

    /// Adds an op with its weights, channel parameters and table, as its kind has them (`OpRecord`).
    public mutating func addOp(
        _ op: OpRecord, name: String, inputs: [UInt32], output: UInt32, weights kernelOrder: [Int8] = [],
        channels parameters: [mk_channel] = [], table: [UInt8] = [], tableAlignment: Int = 1
    ) {
        var op = op
        op.name = string(name)
        op.operandOffset = UInt32(operands.count)
        op.operandCount = UInt32(inputs.count)
        operands += inputs
        op.output = output
        if !kernelOrder.isEmpty {
            weights.pad(to: MKQ.alignment)
            op.weightsOffset = UInt64(weights.count)
            op.weightsBytes = UInt64(kernelOrder.count)
            weights.append(contentsOf: kernelOrder.map { UInt8(bitPattern: $0) })
        }
        if !parameters.isEmpty {
            op.channelOffset = UInt32(channels.count)
            channels += parameters
        }
        if !table.isEmpty {
            tables.pad(to: tableAlignment)
            op.tableOffset = UInt32(tables.count)
            tables.append(contentsOf: table)
        }
        ops.append(op)
    }

    /// Adds the window weight tables (first, second, third oriented axis) and points the model record at them.
    public mutating func setWindowTables(_ axes: [[UInt8]]) {
        record.windowTable = UInt32(tables.count)
        for axis in axes { tables.append(contentsOf: axis) }
    }

    public mutating func addLabel(_ name: String, value: UInt16, rgb: (UInt8, UInt8, UInt8)) {
        labels.append(LabelRecord(name: string(name), value: value, red: rgb.0, green: rgb.1, blue: rgb.2))
    }

    public mutating func addProvenance(_ key: String, _ value: String) {
        let key = string(key)
        provenance.append((key, string(value)))
    }

    public mutating func addChannelName(_ name: String) { channelNames.append(string(name)) }

    /// A feature that a reader must know, at most 16 ASCII characters.
    public mutating func require(feature: String) {
        if !features.contains(feature) { features.append(feature) }
    }

    // MARK: Bytes

    public func bytes() -> [UInt8] {
        var file = ByteWriter()
        file.zeros(MKQ.headerBytes + Section.allCases.count * MKQ.sectionEntryBytes)
        var table = ByteWriter()
        for section in Section.allCases {
            let content = content(of: section)
            file.pad(to: MKQ.alignment)
            table.append(section.rawValue)
            table.append(crc32c(content))
            table.append(UInt64(file.count))
            table.append(UInt64(content.count))
            table.append(UInt32(content.count / section.recordBytes))
            table.append(UInt32(0))
            file.append(contentsOf: content)
        }
        file.pad(to: MKQ.alignment)
        let header = header(fileBytes: file.count)
        return header.bytes(with: table) + file.bytes[(MKQ.headerBytes + table.count)...]
    }

    private func header(fileBytes: Int) -> ByteWriter {
        var header = ByteWriter()
        for i in 0..<8 { header.append(MKQ.magic[i]) }
        header.append(MKQ.versionMajor)
        header.append(MKQ.versionMinor)
        header.append(UInt32(Section.allCases.count))
        header.append(UInt64(fileBytes))
        header.zeros(MKQ.headerBytes - header.count)
        return header
    }

    private func content(of section: Section) -> [UInt8] {
        var w = ByteWriter()
        switch section {
        case .model: record.write(&w)
        case .tensors: for tensor in tensors { tensor.write(&w) }
        case .ops: for op in ops { op.write(&w) }
        case .operands: for value in operands { w.append(value) }
        case .scales: for value in scales { w.append(value.bitPattern) }
        case .channels:
            for channel in channels {
                for value in [channel.bias, channel.multiplier, channel.shift, channel.reserved] { w.append(value) }
            }
        case .weights: return weights.bytes
        case .tables: return tables.bytes
        case .strings: return strings.bytes
        case .labels: for label in labels { label.write(&w) }
        case .provenance:
            for (key, value) in provenance {
                key.write(&w)
                value.write(&w)
            }
        case .channelNames: for name in channelNames { name.write(&w) }
        case .features:
            for name in features {
                let text = Array(name.utf8.prefix(MKQ.featureNameBytes))
                w.append(contentsOf: text)
                w.zeros(MKQ.featureNameBytes - text.count)
            }
        }
        return w.bytes
    }
}

extension ByteWriter {
    /// The header followed by the section table, with the checksum over both filled in.
    fileprivate func bytes(with table: ByteWriter) -> [UInt8] {
        var all = self
        all.append(contentsOf: table.bytes)
        all.patch(crc32c(all.bytes), at: 24)
        return all.bytes
    }
}

private func crc32c(_ bytes: [UInt8]) -> UInt32 {
    var crc = CRC32C()
    for byte in bytes { crc.update(byte) }
    return crc.value
}
