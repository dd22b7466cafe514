import CommandSupport

/// Which file is which channel of the model. Several channels must be named: their order on the command line is not
/// trusted, since exchanged channels give labels that look almost right.
struct ChannelInputs {
    /// Names in the model's order.
    let names: [String]

    /// - Parameters:
    ///   - options: values of `--input`: NAME=FILE, or FILE for a model of one channel.
    ///   - arguments: the same as plain arguments; there an unknown name is part of a file name when the model has one
    ///     channel.
    /// - Returns: files in the model's order.
    /// - Throws: status 2 for an unknown, repeated or missing name.
    func paths(options: [String], arguments: [String]) throws -> [String] {
        var found: [String: String] = [:]
        for (image, isOption) in options.map({ ($0, true) }) + arguments.map({ ($0, false) }) {
            let (name, path) = try split(image, isOption: isOption)
            guard found.updateValue(path, forKey: name) == nil else {
                throw CommandError(.usage, "\(image): channel \(name) is given twice")
            }
        }
        let missing = names.filter { found[$0] == nil }
        guard missing.isEmpty else {
            let verb = missing.count == 1 ? "channel \(missing[0]) is" : "channels \(list(missing)) are"
            throw CommandError(.usage, "\(verb) missing (channels: \(list(names)))")
        }
        return names.map { found[$0]! }
    }

    private func split(_ image: String, isOption: Bool) throws -> (name: String, path: String) {
        let parts = image.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        if parts.count == 2, names.contains(parts[0]) {
            guard !parts[1].isEmpty else { throw CommandError(.usage, "\(image): no file for channel \(parts[0])") }
            return (parts[0], parts[1])
        }
        guard names.count == 1, !isOption || parts.count == 1 else {
            throw CommandError(
                .usage,
                parts.count == 2
                    ? "\(image): unknown channel \(parts[0]) (channels: \(list(names)))"
                    : "\(image): name the channel, as NAME=FILE (channels: \(list(names)))")
        }
        return (names[0], image)
    }

    private func list(_ names: [String]) -> String { names.joined(separator: ", ") }
}
