import CommandSupport
import FixedPoint
import FlatGraph
import HostRuntime

/// A model file in words and as JSON.
struct ModelDescription {
    let model: MappedModel
    private var file: ModelFile { model.file }

    var text: String {
        [
            "\(model.path): \(file.string(file.record.name)), format \(MKQ.versionMajor).\(MKQ.versionMinor), "
                + "\(model.byteCount) bytes, CRC-32C \(Format.hex(model.checksum))",
            inputText, Format.table(opRows), Format.table(tensorRows), labelText,
            Format.table(
                (0..<file.count(.provenance)).map { index in
                    let pair = file.provenance(index)
                    return [file.string(pair.key) + ":  " + file.string(pair.value)]
                }),
            Format.table(sectionRows),
        ].joined(separator: "\n\n")
    }

    private var orientation: String {
        let o = file.record.orientation
        return String(decoding: [o.0, o.1, o.2], as: UTF8.self)
    }

    private var normalizationText: String {
        let r = file.record
        switch r.normalization {
        case .none: return "none"
        case .quantile: return "quantile \(r.low) ... \(r.high), epsilon \(r.epsilon)"
        case .minMax: return "min-max"
        case .zScore: return "z-score" + (r.clip > 0 ? ", clip \(r.clip)" : "")
        case .zScoreNonzero: return "z-score of non-zero voxels" + (r.clip > 0 ? ", clip \(r.clip)" : "")
        }
    }

    private var inputText: String {
        let r = file.record
        let channels = (0..<file.count(.channelNames)).map { file.string(file.channelName($0)) }
        let window =
            r.windowScheme == .none
            ? "none (whole volume only)"
            : "\(r.windowScheme) \(r.patch.0) x \(r.patch.1) x \(r.patch.2), overlap \(Double(r.overlapPerMille) / 1000), "
                + "\(r.windowWeight)"
        func axis(_ value: UInt32) -> String { value == 0 ? "as the image" : "\(Double(value) / 1000)" }
        return """
            channels       \(channels.joined(separator: ", "))
            normalization  \(normalizationText)
            orientation    \(orientation)
            voxels (mm)    \(axis(r.spacing.0)), \(axis(r.spacing.1)), \(axis(r.spacing.2))
            window         \(window)
            """
    }

    private var opRows: [[String]] {
        [["op", "kind", "name", "inputs", "output", "kernel", "dilation", "padding", "weights crc"]]
            + (0..<file.opCount).map { index in
                let op = file.op(index)
                let inputs = (0..<Int(op.operandCount)).map { "\(file.operand(op, $0))" }.joined(separator: ",")
                let isConv = op.kind == .conv3d
                return [
                    "\(index)", "\(op.kind)", file.string(op.name), inputs, "\(op.output)",
                    isConv ? "\(op.kernel.0)x\(op.kernel.1)x\(op.kernel.2)" : "",
                    isConv ? "\(op.dilation.0)" : "", isConv ? "\(op.padding.0)" : "",
                    isConv ? weightsChecksum(op) : "",
                ]
            }
    }

    private func weightsChecksum(_ op: OpRecord) -> String {
        let view = file.section(.weights).slice(Int(op.weightsOffset), Int(op.weightsBytes))
        return Format.hex(unsafe CRC32C.checksum(view.bytes))
    }

    private var tensorRows: [[String]] {
        [["tensor", "name", "type", "channels", "zero point", "range", "scale"]]
            + (0..<file.tensorCount).map { index in
                let tensor = file.tensor(index)
                let scales = (0..<Int(tensor.scaleCount)).map { file.scale(Int(tensor.scaleOffset) + $0) }
                let scale =
                    scales.count > 1 ? "\(scales.min()!) ... \(scales.max()!)" : scales.first.map { "\($0)" } ?? ""
                return [
                    "\(index)", file.string(tensor.name), "\(tensor.storage)", "\(tensor.channels)",
                    "\(tensor.zeroPoint)",
                    tensor.storage == .labels
                        ? "" : "\(Format.fixed(Double(tensor.low), 3)) ... \(Format.fixed(Double(tensor.high), 3))",
                    scale,
                ]
            }
    }

    private var labelText: String {
        Format.table(
            [["label", "name", "colour"]]
                + (0..<file.classCount).map { index in
                    let label = file.label(index)
                    return ["\(label.value)", file.string(label.name), "\(label.red) \(label.green) \(label.blue)"]
                })
    }

    private var sectionRows: [[String]] {
        [["section", "bytes", "records", "CRC-32C"]]
            + Section.allCases.map { section in
                let view = file.section(section)
                return [
                    "\(section)", "\(view.count)", "\(file.count(section))",
                    Format.hex(unsafe CRC32C.checksum(view.bytes)),
                ]
            }
    }

    var json: JSON {
        let r = file.record
        return .object([
            ("path", .string(model.path)), ("name", .string(file.string(r.name))),
            ("format", .string("\(MKQ.versionMajor).\(MKQ.versionMinor)")), ("bytes", .integer(model.byteCount)),
            ("crc32c", .string(Format.hex(model.checksum))), ("normalization", .string(normalizationText)),
            ("orientation", .string(orientation)),
            ("spacing_mm", .array([r.spacing.0, r.spacing.1, r.spacing.2].map { .number(Double($0) / 1000) })),
            ("channels", .array((0..<file.count(.channelNames)).map { .string(file.string(file.channelName($0))) })),
            ("ops", .array((0..<file.opCount).map(opJSON))),
            ("tensors", .array((0..<file.tensorCount).map(tensorJSON))),
            ("labels", .array((0..<file.classCount).map(labelJSON))),
            (
                "provenance",
                .object(
                    (0..<file.count(.provenance)).map { index in
                        let pair = file.provenance(index)
                        return (file.string(pair.key), .string(file.string(pair.value)))
                    })
            ),
            (
                "sections",
                .object(
                    Section.allCases.map { section in
                        (
                            "\(section)",
                            .object([
                                ("bytes", .integer(file.section(section).count)),
                                ("crc32c", .string(Format.hex(unsafe CRC32C.checksum(file.section(section).bytes)))),
                            ])
                        )
                    })
            ),
        ])
    }

    private func opJSON(_ index: Int) -> JSON {
        let op = file.op(index)
        var fields: [(String, JSON)] = [
            ("kind", .string("\(op.kind)")), ("name", .string(file.string(op.name))),
            ("inputs", .array((0..<Int(op.operandCount)).map { .integer(file.operand(op, $0)) })),
            ("output", .integer(Int(op.output))),
        ]
        if op.kind == .conv3d {
            for (name, triple) in [("kernel", op.kernel), ("dilation", op.dilation), ("padding", op.padding)] {
                fields.append((name, .array([triple.0, triple.1, triple.2].map { .integer(Int($0)) })))
            }
            fields.append(("weights_crc32c", .string(weightsChecksum(op))))
        }
        return .object(fields)
    }

    private func tensorJSON(_ index: Int) -> JSON {
        let tensor = file.tensor(index)
        return .object([
            ("name", .string(file.string(tensor.name))), ("storage", .string("\(tensor.storage)")),
            ("channels", .integer(Int(tensor.channels))), ("zero_point", .integer(Int(tensor.zeroPoint))),
            (
                "scales",
                .array(
                    (0..<Int(tensor.scaleCount)).map {
                        .number(Double(file.scale(Int(tensor.scaleOffset) + $0)))
                    })
            ),
        ])
    }

    private func labelJSON(_ index: Int) -> JSON {
        let label = file.label(index)
        return .object([
            ("value", .integer(Int(label.value))), ("name", .string(file.string(label.name))),
            ("rgb", .array([label.red, label.green, label.blue].map { .integer(Int($0)) })),
        ])
    }
}
