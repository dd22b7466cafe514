/// The tensors of a `torch.save` archive: a state dict, directly or under "state_dict" or "model".
struct TorchReader {
    private let archive: ZipArchive
    private let path: String
    private let folder: String
    private let isBigEndian: Bool
    private var storages: [String: [UInt8]] = [:]

    static func tensors(bytes: [UInt8], path: String) throws(ImportError) -> [NamedTensor] {
        var reader = try TorchReader(archive: ZipArchive(bytes: bytes, path: path), path: path)
        return try reader.read()
    }

    private init(archive: ZipArchive, path: String) throws(ImportError) {
        self.archive = archive
        self.path = path
        let pickles = archive.entries.keys.filter { $0 == "data.pkl" || $0.hasSuffix("/data.pkl") }
        guard pickles.count == 1, let pickle = pickles.first else {
            throw ImportError(.malformed, path, "zip archive has \(pickles.count) entries data.pkl (must be 1): not a torch checkpoint")
        }
        folder = String(pickle.dropLast("data.pkl".count))
        if let order = archive.entries[folder + "byteorder"] {
            let text = String(decoding: try archive.data(order), as: UTF8.self)
            guard text == "little" || text == "big" else { throw ImportError(.malformed, path, "byteorder=\(text.prefix(20)) (must be little or big)") }
            isBigEndian = text == "big"
        } else {
            isBigEndian = false
        }
    }

    private func fail(_ message: String, _ kind: ImportError.Kind = .malformed) -> ImportError {
        ImportError(kind, path, message)
    }

    private mutating func read() throws(ImportError) -> [NamedTensor] {
        var machine = PickleMachine(bytes: try archive.data(archive.entries[folder + "data.pkl"]!), path: path)
        let root = try machine.run()
        var items = try dictionary(root, machine)
        for key in ["state_dict", "model"] {
            if let nested = items.first(where: { $0.0 == key }), case .dictionary = nested.1 {
                items = try dictionary(nested.1, machine)
                break
            }
        }
        var result: [NamedTensor] = []
        for (name, value) in items {
            guard case .tensor(let tensor) = value else { continue }
            if name.hasSuffix("num_batches_tracked"), !tensor.storage.type.isFloat { continue }
            result.append(try load(name, tensor))
        }
        guard !result.isEmpty else { throw fail("no tensors in the checkpoint") }
        return result
    }

    private func dictionary(_ value: PickleValue, _ machine: PickleMachine) throws(ImportError) -> [(String, PickleValue)] {
        guard case .dictionary(let id) = value else { throw fail("the pickle holds no dictionary of tensors") }
        var result: [(String, PickleValue)] = []
        for (key, item) in machine.dictionaries[id] {
            guard case .string(let name) = key else { throw fail("a key of the state dict is not a string") }
            result.append((name, item))
        }
        return result
    }

    private mutating func load(_ name: String, _ tensor: PickleTensor) throws(ImportError) -> NamedTensor {
        let type = tensor.storage.type
        guard type.isFloat else { throw fail("tensor \(name) has integer type \(type) (must be a float type)", .unsupported) }
        let data = try storage(tensor.storage, for: name)
        let available = data.count / type.bytes
        guard let count = elementCount(tensor.shape), count <= available else {
            throw fail("tensor \(name): shape \(tensor.shape) is larger than its storage of \(available)")
        }
        guard tensor.offset >= 0, tensor.strides.allSatisfy({ $0 >= 0 }), let last = lastIndex(tensor), last < available || count == 0 else {
            throw fail("tensor \(name): strides \(tensor.strides) from \(tensor.offset) leave its storage of \(available)")
        }
        var values: [Float] = []
        values.reserveCapacity(count)
        var index = [Int](repeating: 0, count: tensor.shape.count)
        for _ in 0..<count {
            let position = zip(index, tensor.strides).reduce(tensor.offset) { $0 + $1.0 * $1.1 }
            values.append(type.value(data, position * type.bytes, bigEndian: isBigEndian))
            for axis in tensor.shape.indices.reversed() {
                index[axis] += 1
                if index[axis] < tensor.shape[axis] { break }
                index[axis] = 0
            }
        }
        return NamedTensor(name: name, shape: tensor.shape, values: values)
    }

    /// Highest storage index that the tensor touches; nil when it does not fit in an Int.
    private func lastIndex(_ tensor: PickleTensor) -> Int? {
        var last = tensor.offset
        for (size, stride) in zip(tensor.shape, tensor.strides) where size > 0 {
            let (step, overflow) = (size - 1).multipliedReportingOverflow(by: stride)
            let (sum, overflowed) = last.addingReportingOverflow(step)
            guard !overflow, !overflowed else { return nil }
            last = sum
        }
        return last
    }

    private mutating func storage(_ storage: PickleStorage, for name: String) throws(ImportError) -> [UInt8] {
        if let known = storages[storage.key] { return known }
        guard let entry = archive.entries["\(folder)data/\(storage.key)"] else {
            throw fail("tensor \(name): storage \(storage.key) is missing from the archive")
        }
        let (bytes, overflow) = storage.count.multipliedReportingOverflow(by: storage.type.bytes)
        guard !overflow, entry.range.count >= bytes else {
            throw fail("tensor \(name): storage \(storage.key) has \(entry.range.count) bytes, its tensors need \(storage.count) values")
        }
        let data = try archive.data(entry)
        storages[storage.key] = data
        return data
    }
}
