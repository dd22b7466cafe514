import CommandSupport
import GraphIR

/// A source file (checkpoint or ONNX) before any conversion: what is in it and whether it can be imported.
struct SourceDescription {
    let checkpoint: Checkpoint

    /// One word each.
    private var facts: [(String, JSON)] {
        var facts: [(String, JSON)] = [
            ("file", .string(checkpoint.path)), ("container", .string(checkpoint.container.rawValue)),
            ("sha256", .string(checkpoint.sha256)),
        ]
        if let onnx = checkpoint.onnx {
            facts += [
                ("producer", .string(onnx.producer)), ("opset", .integer(onnx.opset)),
                ("operators", .object(onnx.operators.map { ($0.name, .integer($0.count)) })),
            ]
        } else {
            facts.append(("values", .integer(checkpoint.tensors.reduce(0) { $0 + $1.values.count })))
        }
        return facts
    }

    /// Empty when an ONNX file can be imported; nil for bare weights, which a configuration has to tell about.
    private var problems: [String]? {
        guard let onnx = checkpoint.onnx else { return nil }
        do throws(ImportError) {
            _ = try ONNXImporter.graph(model: onnx)
            return []
        } catch {
            return error.details.isEmpty ? [error.message] : error.details
        }
    }

    var text: String {
        var lines = facts.compactMap { key, value in
            if case .object(let counts) = value {
                return "operators: " + counts.map { "\($0.0) × \($0.1.text())" }.joined(separator: ", ")
            }
            if case .string(let text) = value { return "\(key): \(text)" }
            return "\(key): \(value.text())"
        }
        if checkpoint.onnx == nil {
            let rows = checkpoint.tensors.map { ["\($0.name)", $0.shape.map(String.init).joined(separator: " × ")] }
            lines.append(Format.table([["tensor", "shape"]] + rows))
        }
        if let problems {
            lines.append(problems.isEmpty ? "can be imported" : "cannot be imported:")
            lines += problems.map { "  \($0)" }
        }
        return lines.joined(separator: "\n")
    }

    var json: JSON {
        var fields = facts
        if let problems {
            fields += [("importable", .bool(problems.isEmpty)), ("problems", .array(problems.map { .string($0) }))]
        } else {
            fields.append(
                (
                    "tensors",
                    .array(
                        checkpoint.tensors.map { tensor in
                            .object([
                                ("name", .string(tensor.name)), ("shape", .array(tensor.shape.map { .integer($0) })),
                            ])
                        })
                ))
        }
        return .object(fields)
    }
}
