/// The tensors of a `torch.save` archive: a state dict, directly or under "state_dict" or "model".
struct TorchReader {
    private let archive: ZipArchive
    private let path: String
    private let folder: String
    private let isBigEndian: Bool
    /// Storages whose entry has been checked, by key.
    private var storages: [String: (type: StoredType, range: Range<Int>)] = [:]
    /// Values that may still be made. Tensors may share a storage, so a small file could describe any number of values;
    /// one per byte of the file is more than an honest one has.
    private var budget: Int

    /// The float tensors in the order of the state dict. Integer counters (`num_batches_tracked`) and values that are
    /// no tensors are left out.
    ///
    /// Throws `.malformed` for a damaged file or one that lies, `.unsupported` for one that wants more than tensors.
    static func tensors(bytes: [UInt8], path: String) throws(ImportError) -> [NamedTensor] {
        var reader = try TorchReader(archive: ZipArchive(bytes: bytes, path: path), path: path)
        return try reader.read()
    }

    private init(archive: ZipArchive, path: String) throws(ImportError) {
        self.archive = archive
        self.path = path
        budget = archive.bytes.count
        let pickles = archive.entries.keys.filter { $0 == "data.pkl" || $0.hasSuffix("/data.pkl") }
        guard pickles.count == 1, let pickle = pickles.first else {
            throw ImportError(
                .malformed, path,
                "zip archive has \(pickles.count) entries data.pkl (must be 1): not a torch checkpoint")
        }
        folder = String(pickle.dropLast("data.pkl".count))
        guard let order = archive.entries[folder + "byteorder"] else {
            isBigEndian = false  // files older than the entry
            return
        }
        let text = String(decoding: archive.bytes[try archive.checkedRange(order)].prefix(20), as: UTF8.self)
        guard text == "little" || text == "big" else {
            throw ImportError(.malformed, path, "byteorder=\(text) (must be little or big)")
        }
        isBigEndian = text == "big"
    }

    private func fail(_ message: String, _ kind: ImportError.Kind = .malformed) -> ImportError {
        ImportError(kind, path, message)
    }

    private mutating func read() throws(ImportError) -> [NamedTensor] {
        guard let pickle = archive.entries[folder + "data.pkl"] else { throw fail("data.pkl is missing") }
        var machine = PickleMachine(bytes: try archive.data(pickle), path: path)
        var items = try dictionary(try machine.run(), machine.heap)
        for key in ["state_dict", "model"] {
            if let nested = items.first(where: { $0.name == key }), case .dictionary = nested.value {
                items = try dictionary(nested.value, machine.heap)
                break
            }
        }
        var result: [NamedTensor] = []
        for (name, value) in items {
            guard case .tensor(let number) = value else { continue }
            let tensor = machine.heap.tensors[number]
            if name.hasSuffix("num_batches_tracked"), !tensor.storage.type.isFloat { continue }
            result.append(try load(name, tensor))
        }
        guard !result.isEmpty else { throw fail("no tensors in the checkpoint") }
        return result
    }

    private func dictionary(
        _ value: PickleValue, _ heap: PickleHeap
    ) throws(ImportError) -> [(name: String, value: PickleValue)] {
        guard case .dictionary(let number) = value else {
            throw fail("the pickle holds no dictionary of tensors")
        }
        var result: [(name: String, value: PickleValue)] = []
        var seen: Set<String> = []
        for (key, item) in heap.dictionaries[number] {
            guard case .string(let name) = key else { throw fail("a key of the state dict is not a string") }
            guard seen.insert(name).inserted else { throw fail("key \(name) occurs twice in the state dict") }
            result.append((name, item))
        }
        return result
    }

    private mutating func load(_ name: String, _ tensor: PickleTensor) throws(ImportError) -> NamedTensor {
        let type = tensor.storage.type
        guard type.isFloat else {
            throw fail("tensor \(name) has integer type \(type) (must be a float type)", .unsupported)
        }
        let base = try range(of: tensor.storage, for: name).lowerBound
        let count = try checkedCount(name, tensor)
        guard count <= budget else {
            throw fail("tensor \(name): the tensors hold more values than the file has bytes")
        }
        budget -= count
        var values: [Float] = []
        values.reserveCapacity(count)
        var index = [Int](repeating: 0, count: tensor.shape.count)
        var position = tensor.offset
        for _ in 0..<count {
            values.append(type.value(archive.bytes, base + position * type.bytes, bigEndian: isBigEndian))
            for axis in tensor.shape.indices.reversed() {
                if index[axis] + 1 < tensor.shape[axis] {
                    index[axis] += 1
                    position += tensor.strides[axis]
                    break
                }
                position -= index[axis] * tensor.strides[axis]
                index[axis] = 0
            }
        }
        return NamedTensor(name: name, shape: tensor.shape, values: values)
    }

    /// Number of elements of a tensor, all of which lie in its storage.
    private func checkedCount(_ name: String, _ tensor: PickleTensor) throws(ImportError) -> Int {
        let available = tensor.storage.count
        guard let count = elementCount(tensor.shape) else {
            throw fail("tensor \(name): shape=\(tensor.shape) is negative or too large")
        }
        guard count <= available else {
            throw fail(
                "tensor \(name): shape=\(tensor.shape) is larger than its storage of \(available) values")
        }
        guard tensor.offset >= 0, tensor.strides.allSatisfy({ $0 >= 0 }) else {
            throw fail(
                "tensor \(name): offset=\(tensor.offset), strides=\(tensor.strides) (must not be negative)")
        }
        guard count == 0 || lastIndex(tensor).map({ $0 < available }) == true else {
            throw fail(
                "tensor \(name): strides=\(tensor.strides) from \(tensor.offset) leave its storage of \(available) values"
            )
        }
        return count
    }

    /// Highest storage index that a tensor without empty dimensions touches; nil when it does not fit in an Int.
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

    /// Where a storage lies in the file: its entry exists, is undamaged, and is exactly as long as the pickle says.
    private mutating func range(of storage: PickleStorage, for name: String) throws(ImportError) -> Range<Int> {
        let known = storages[storage.key]
        guard let entry = archive.entries["\(folder)data/\(storage.key)"] else {
            throw fail("tensor \(name): storage \(storage.key) is missing from the archive")
        }
        let (bytes, overflow) = storage.count.multipliedReportingOverflow(by: storage.type.bytes)
        guard !overflow, entry.range.count == bytes else {
            let word = overflow || entry.range.count < bytes ? "shorter" : "longer"
            throw fail(
                "tensor \(name): storage \(storage.key) is \(word) (\(entry.range.count) bytes) "
                    + "than its \(storage.count) values of \(storage.type)")
        }
        guard known?.type ?? storage.type == storage.type else {
            throw fail("tensor \(name): storage \(storage.key) is used with two types")
        }
        if let known { return known.range }
        let range = try archive.checkedRange(entry)
        storages[storage.key] = (storage.type, range)
        return range
    }
}
