import COps
import FixedPoint
import Ops

/// A `.mkq` file in memory, validated once and then read in place: no copies, no allocation.
///
/// `init` checks structure (header, section table, checksums), every record (ranges, indices, strings), the graph
/// (execution order, shapes, requantizers) and proves for every convolution that its accumulator cannot overflow. After
/// that the executor trusts the file.
public struct ModelFile: Sendable {
    public let bytes: ByteView
    public let record: ModelRecord
    private let sections: InlineArray<13, ByteView>
    #if !hasFeature(Embedded)
        /// Keeps the memory alive for as long as any copy of this value.
        private let owner: (any AnyObject & Sendable)?
    #endif

    #if hasFeature(Embedded)
        /// The memory (flash) must outlive the value.
        public init(validating memory: UnsafeRawBufferPointer) throws(ModelFileError) {
            sections = try unsafe Self.readSections(memory)
            bytes = unsafe ByteView(memory)
            record = try Self.readRecord(sections)
            try Validator(file: self).run()
        }
    #else
        /// - Parameter owner: kept alive with the value; nil when the memory outlives it anyway.
        public init(
            validating memory: UnsafeRawBufferPointer, owner: (any AnyObject & Sendable)?
        ) throws(ModelFileError) {
            sections = try unsafe Self.readSections(memory)
            bytes = unsafe ByteView(memory)
            record = try Self.readRecord(sections)
            self.owner = owner
            try Validator(file: self).run()
        }
    #endif

    private static func readSections(
        _ memory: UnsafeRawBufferPointer
    ) throws(ModelFileError) -> InlineArray<13, ByteView> {
        guard UInt(bitPattern: memory.baseAddress) % UInt(MKQ.alignment) == 0 else {
            throw ModelFileError(.misaligned, .header, expected: MKQ.alignment)
        }
        let sections = try SectionTable.read(unsafe ByteView(memory))
        try checkFeatures(sections[Int(Section.features.rawValue) - 1])
        return sections
    }

    private static func readRecord(_ sections: InlineArray<13, ByteView>) throws(ModelFileError) -> ModelRecord {
        guard sections[0].count == ModelRecord.size, let record = ModelRecord(sections[0], 0) else {
            throw ModelFileError(.badRecord, .model)
        }
        return record
    }

    public func section(_ section: Section) -> ByteView { sections[Int(section.rawValue) - 1] }
    public func count(_ section: Section) -> Int { self.section(section).count / section.recordBytes }

    public var tensorCount: Int { count(.tensors) }
    public var opCount: Int { count(.ops) }
    public var classCount: Int { count(.labels) }

    /// Bytes of one code of the image: 1 for u8, 2 for i16.
    public var codeBytes: Int { tensor(Int(record.inputTensor)).storage == .i16 ? 2 : 1 }

    /// Precondition for the record accessors: index in range (validated files only hold valid indices).
    public func tensor(_ index: Int) -> TensorRecord {
        TensorRecord(section(.tensors), index * TensorRecord.size)!
    }
    public func op(_ index: Int) -> OpRecord { OpRecord(section(.ops), index * OpRecord.size)! }
    public func label(_ index: Int) -> LabelRecord { LabelRecord(section(.labels), index * LabelRecord.size)! }
    public func operand(_ op: OpRecord, _ index: Int) -> Int {
        Int(clamping: section(.operands).u32((Int(op.operandOffset) + index) * 4))
    }
    public func scale(_ index: Int) -> Float { Float(bitPattern: section(.scales).u32(index * 4)) }
    public func stringBytes(_ ref: StringRef) -> ByteView {
        section(.strings).slice(Int(ref.offset), Int(ref.length))
    }
    public func provenance(_ index: Int) -> (key: StringRef, value: StringRef) {
        (StringRef(section(.provenance), index * 16), StringRef(section(.provenance), index * 16 + 8))
    }
    public func channelName(_ index: Int) -> StringRef { StringRef(section(.channelNames), index * 8) }

    /// Requantization of output channel `index` of the channels section.
    public func channel(_ index: Int) -> mk_channel {
        let view = section(.channels)
        return mk_channel(
            bias: view.i32(index * 16), multiplier: view.i32(index * 16 + 4), shift: view.i32(index * 16 + 8),
            reserved: view.i32(index * 16 + 12))
    }

    /// Pointers for the kernels, used in place.
    public func weights(_ op: OpRecord) -> UnsafePointer<Int8> {
        unsafe (section(.weights).bytes.baseAddress! + Int(op.weightsOffset)).assumingMemoryBound(to: Int8.self)
    }
    public func channels(_ op: OpRecord) -> UnsafePointer<mk_channel> {
        unsafe (section(.channels).bytes.baseAddress! + Int(op.channelOffset) * 16)
            .assumingMemoryBound(to: mk_channel.self)
    }
    public func table(_ op: OpRecord) -> UnsafePointer<UInt8> {
        unsafe (section(.tables).bytes.baseAddress! + Int(op.tableOffset)).assumingMemoryBound(to: UInt8.self)
    }

    /// Weights of a window's voxels along the oriented axis `axis` (0 first … 2 third). Precondition: a window scheme.
    public func windowTable(_ axis: Int) -> UnsafePointer<UInt8> {
        let before = [0, Int(record.patch.0), Int(record.patch.0) + Int(record.patch.1)][axis]
        return unsafe (section(.tables).bytes.baseAddress! + Int(record.windowTable) + before)
            .assumingMemoryBound(to: UInt8.self)
    }

    /// The convolution of a validated conv3d record.
    public func conv3D(_ op: OpRecord) -> Conv3D {
        let input = tensor(operand(op, 0))
        let output = tensor(Int(op.output))
        return Conv3D(
            inChannels: Int(input.channels), outChannels: Int(output.channels), kernel: Extent(op.kernel),
            dilation: Extent(op.dilation), padding: Extent(op.padding), stride: op.factor,
            inputElement: input.element ?? .u8, inputZeroPoint: input.zeroPoint,
            outputZeroPoint: output.zeroPoint, outputElement: output.element ?? .u8, isRectified: op.mode & 2 != 0)
    }

    /// The normalization of a validated groupNorm record.
    public func norm(_ op: OpRecord) -> Norm {
        let output = tensor(Int(op.output))
        return Norm(
            channels: Int(output.channels), groups: Int(op.multiplierA), outputElement: output.element ?? .u8,
            zeroPoint: output.zeroPoint, isRectified: op.mode & 1 == 1, isPerSlice: op.mode & 2 == 2)
    }

    /// Constants of channel `channel` of a normalization.
    public func normChannel(_ op: OpRecord, _ channel: Int) -> NormChannel {
        let view = section(.tables)
        let at = Int(op.tableOffset) + channel * NormChannel.size
        return NormChannel(
            gain: view.i32(at), gainShift: view.i32(at + 4), bias: view.i32(at + 8), epsilon: view.u32(at + 12),
            epsilonShift: view.i32(at + 16))
    }

    public func add(_ op: OpRecord) -> Add {
        Add(
            multiplierA: op.multiplierA, multiplierB: op.multiplierB, shift: op.shift,
            zeroPointA: tensor(operand(op, 0)).zeroPoint, zeroPointB: tensor(operand(op, 1)).zeroPoint,
            zeroPointOut: tensor(Int(op.output)).zeroPoint)
    }

    private static func checkFeatures(_ view: ByteView) throws(ModelFileError) {
        for index in 0..<(view.count / MKQ.featureNameBytes) {
            let at = index * MKQ.featureNameBytes
            var known = false
            for name in MKQ.knownFeatures where matches(view, at, name) { known = true }
            guard known else {
                throw ModelFileError(
                    .unknownFeature, .features, index: index, value: Int(truncatingIfNeeded: view.i64(at)),
                    expected: Int(truncatingIfNeeded: view.i64(at + 8)))
            }
        }
    }

    private static func matches(_ view: ByteView, _ at: Int, _ name: StaticString) -> Bool {
        name.withUTF8Buffer { text in
            for i in 0..<MKQ.featureNameBytes {
                let expected = i < text.count ? unsafe text[i] : 0
                if view.u8(at + i) != expected { return false }
            }
            return true
        }
    }
}

extension Extent {
    init(_ triple: (UInt16, UInt16, UInt16)) {
        self.init(depth: Int(triple.0), height: Int(triple.1), width: Int(triple.2))
    }
}

#if !hasFeature(Embedded)
    extension ModelFile {
        public func string(_ ref: StringRef) -> String {
            unsafe String(decoding: stringBytes(ref).bytes, as: UTF8.self)
        }
    }
#endif
