/// What a pickle may build: data, and descriptions of tensors. There is no value that could run anything.
///
/// Compound values are numbers into the tables of `PickleHeap`. So a value never owns another one: a million nested
/// tuples cost no stack when they are released, and a container may hold itself without leaking.
enum PickleValue: Sendable {
    case none
    case bool(Bool)
    case integer(Int)
    case double(Double)
    case string(String)
    case tuple(Int)
    case list(Int)
    case dictionary(Int)
    case global(PickleGlobal)
    case storage(Int)
    case tensor(Int)
}

/// The globals a checkpoint of tensors needs. Any other name is refused before it means anything.
enum PickleGlobal: Sendable {
    case orderedDictionary
    case rebuildTensor
    case rebuildParameter
    case storage(StoredType)

    static let byName: [String: PickleGlobal] = [
        "collections.OrderedDict": .orderedDictionary,
        "torch._utils._rebuild_tensor_v2": .rebuildTensor,
        "torch._utils._rebuild_parameter": .rebuildParameter,
        "torch.FloatStorage": .storage(.float32),
        "torch.DoubleStorage": .storage(.float64),
        "torch.HalfStorage": .storage(.float16),
        "torch.BFloat16Storage": .storage(.bfloat16),
        "torch.LongStorage": .storage(.int64),
        "torch.IntStorage": .storage(.int32),
    ]
}

/// `count` elements in the archive's entry `data/KEY`, as the pickle claims.
struct PickleStorage: Sendable {
    var type: StoredType
    var key: String
    var count: Int
}

/// A view of a storage, as the pickle claims: nothing here is checked yet but that there are as many strides as sizes.
struct PickleTensor: Sendable {
    var storage: PickleStorage
    var offset: Int
    var shape: [Int]
    var strides: [Int]
}

/// Compound values by number. Every opcode adds at most one entry, so the program's length bounds it.
struct PickleHeap: Sendable {
    private(set) var tuples: [[PickleValue]] = []
    private(set) var lists: [[PickleValue]] = []
    /// Items in the order of insertion; keys may repeat.
    private(set) var dictionaries: [[(key: PickleValue, value: PickleValue)]] = []
    private(set) var storages: [PickleStorage] = []
    private(set) var tensors: [PickleTensor] = []

    mutating func tuple(_ items: [PickleValue]) -> PickleValue {
        tuples.append(items)
        return .tuple(tuples.count - 1)
    }

    mutating func list(_ items: [PickleValue]) -> PickleValue {
        lists.append(items)
        return .list(lists.count - 1)
    }

    mutating func dictionary() -> PickleValue {
        dictionaries.append([])
        return .dictionary(dictionaries.count - 1)
    }

    mutating func storage(_ storage: PickleStorage) -> PickleValue {
        storages.append(storage)
        return .storage(storages.count - 1)
    }

    mutating func tensor(_ tensor: PickleTensor) -> PickleValue {
        tensors.append(tensor)
        return .tensor(tensors.count - 1)
    }

    mutating func append(_ items: [PickleValue], toList number: Int) { lists[number] += items }

    /// Keys and values in turn. Precondition: an even number of items.
    mutating func set(_ items: [PickleValue], inDictionary number: Int) {
        for i in stride(from: 0, to: items.count, by: 2) {
            dictionaries[number].append((items[i], items[i + 1]))
        }
    }

    /// The numbers of a tuple of nothing but integers, at most `limit` of them: the same tuple may be asked for often.
    func integers(_ value: PickleValue, limit: Int) -> [Int]? {
        guard case .tuple(let number) = value, tuples[number].count <= limit else { return nil }
        var result: [Int] = []
        for item in tuples[number] {
            guard case .integer(let integer) = item else { return nil }
            result.append(integer)
        }
        return result
    }
}
