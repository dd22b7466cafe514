/// Why a network cannot be expressed in integers; names the layer.
public struct QuantizeError: Error, CustomStringConvertible, Equatable, Sendable {
    public var layer: String
    public var message: String

    public init(layer: String, message: String) {
        self.layer = layer
        self.message = message
    }

    public var description: String { "layer \(layer): \(message)" }
}
