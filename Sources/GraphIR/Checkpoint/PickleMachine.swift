/// What a pickle may build: data, and descriptions of tensors. There is no value that could run anything.
indirect enum PickleValue: Sendable {
    case none
    case bool(Bool)
    case integer(Int)
    case double(Double)
    case string(String)
    case tuple([PickleValue])
    case list(Int)
    case dictionary(Int)
    case global(String)
    case storage(PickleStorage)
    case tensor(PickleTensor)
    case mark
}

struct PickleStorage: Sendable {
    var type: StoredType
    var key: String
    var count: Int
}

struct PickleTensor: Sendable {
    var storage: PickleStorage
    var offset: Int
    var shape: [Int]
    var strides: [Int]
}

/// A small pickle interpreter (protocols 2 to 5) that builds tensors and plain containers, nothing else. Every opcode
/// and every global outside a short list is refused by name; work, stack and memo are bounded by the file's size.
struct PickleMachine {
    private let bytes: [UInt8]
    private let path: String
    private var at = 0
    private var stack: [PickleValue] = []
    private var memo: [Int: PickleValue] = [:]
    /// Mutable containers by identity: the memo may name one before it is filled.
    private(set) var lists: [[PickleValue]] = []
    private(set) var dictionaries: [[(PickleValue, PickleValue)]] = []

    private static let maximumContainers = 1_000_000
    private static let storages: [String: StoredType] = [
        "torch.FloatStorage": .float32, "torch.DoubleStorage": .float64, "torch.HalfStorage": .float16,
        "torch.BFloat16Storage": .bfloat16, "torch.LongStorage": .int64, "torch.IntStorage": .int32,
    ]
    private static let functions: Set<String> = [
        "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter",
    ]

    init(bytes: [UInt8], path: String) {
        self.bytes = bytes
        self.path = path
    }

    private func fail(_ message: String, _ kind: ImportError.Kind = .malformed) -> ImportError {
        ImportError(kind, path, "pickle byte \(at): \(message)")
    }

    // MARK: Input

    private mutating func take(_ count: Int) throws(ImportError) -> ArraySlice<UInt8> {
        guard count >= 0, count <= bytes.count - at else { throw fail("\(count) bytes wanted, \(bytes.count - at) left: truncated") }
        defer { at += count }
        return bytes[at..<(at + count)]
    }

    private mutating func number(_ count: Int) throws(ImportError) -> Int {
        _ = try take(count)
        let value = bytes.little(at - count, count)
        guard let result = Int(exactly: value) else { throw fail("number \(value) is too large") }
        return result
    }

    private mutating func text(_ length: Int) throws(ImportError) -> String {
        guard let result = String(validating: try take(length), as: UTF8.self) else { throw fail("string is not UTF-8") }
        return result
    }

    private mutating func line() throws(ImportError) -> String {
        guard let end = bytes[at...].firstIndex(of: 10) else { throw fail("unterminated line") }
        let result = try text(end - at)
        at += 1
        return result
    }

    // MARK: Stack

    private mutating func pop() throws(ImportError) -> PickleValue {
        guard let value = stack.popLast() else { throw fail("stack is empty") }
        if case .mark = value { throw fail("unexpected mark") }
        return value
    }

    private mutating func popToMark() throws(ImportError) -> [PickleValue] {
        guard let mark = stack.lastIndex(where: { if case .mark = $0 { true } else { false } }) else {
            throw fail("no mark on the stack")
        }
        defer { stack.removeSubrange(mark...) }
        return Array(stack[(mark + 1)...])
    }

    private mutating func newDictionary(_ items: [(PickleValue, PickleValue)] = []) throws(ImportError) -> PickleValue {
        guard dictionaries.count < Self.maximumContainers else { throw fail("too many containers") }
        dictionaries.append(items)
        return .dictionary(dictionaries.count - 1)
    }

    private mutating func newList(_ items: [PickleValue]) throws(ImportError) -> PickleValue {
        guard lists.count < Self.maximumContainers else { throw fail("too many containers") }
        lists.append(items)
        return .list(lists.count - 1)
    }

    // MARK: Execution

    /// Runs the program and returns what it leaves.
    mutating func run() throws(ImportError) -> PickleValue {
        while true {
            let opcode = try take(1).first!
            if opcode == UInt8(ascii: ".") { return try pop() }
            if try pushConstant(opcode) { continue }
            if try useMemo(opcode) { continue }
            try build(opcode)
        }
    }

    /// Opcodes that push a constant or an empty container.
    private mutating func pushConstant(_ opcode: UInt8) throws(ImportError) -> Bool {
        switch opcode {
        case 0x80: _ = try take(1)  // PROTO
        case 0x95: _ = try take(8)  // FRAME
        case UInt8(ascii: "("): stack.append(.mark)
        case UInt8(ascii: "N"): stack.append(.none)
        case 0x88: stack.append(.bool(true))
        case 0x89: stack.append(.bool(false))
        case UInt8(ascii: "K"): stack.append(.integer(try number(1)))
        case UInt8(ascii: "M"): stack.append(.integer(try number(2)))
        case UInt8(ascii: "J"): stack.append(.integer(Int(Int32(truncatingIfNeeded: try number(4)))))
        case 0x8A: stack.append(.integer(try long()))
        case UInt8(ascii: "G"):
            let start = at
            _ = try take(8)
            stack.append(.double(Double(bitPattern: bytes.little(start, 8).byteSwapped)))
        case UInt8(ascii: "X"): stack.append(.string(try text(try number(4))))
        case 0x8C: stack.append(.string(try text(try number(1))))
        case UInt8(ascii: "}"): stack.append(try newDictionary())
        case UInt8(ascii: "]"): stack.append(try newList([]))
        case UInt8(ascii: ")"): stack.append(.tuple([]))
        case UInt8(ascii: "c"):
            let module = try line()
            try pushGlobal("\(module).\(try line())")
        default: return false
        }
        return true
    }

    /// LONG1: a little-endian two's complement integer of at most 8 bytes.
    private mutating func long() throws(ImportError) -> Int {
        let count = try number(1)
        guard count <= 8 else { throw fail("integer of \(count) bytes (limit 8)") }
        let data = try take(count)
        guard let last = data.last else { return 0 }
        var value: Int = last >= 0x80 ? -1 : 0
        for byte in data.reversed() { value = value << 8 | Int(byte) }
        return value
    }

    private mutating func pushGlobal(_ name: String) throws(ImportError) {
        guard Self.functions.contains(name) || Self.storages[name] != nil else {
            throw fail("global \(name) is not allowed (a checkpoint may only hold tensors)", .unsupported)
        }
        stack.append(.global(name))
    }

    private mutating func useMemo(_ opcode: UInt8) throws(ImportError) -> Bool {
        switch opcode {
        case UInt8(ascii: "q"): try store(try number(1))
        case UInt8(ascii: "r"): try store(try number(4))
        case 0x94: try store(memo.count)
        case UInt8(ascii: "h"): try recall(try number(1))
        case UInt8(ascii: "j"): try recall(try number(4))
        default: return false
        }
        return true
    }

    private mutating func store(_ key: Int) throws(ImportError) {
        guard let top = stack.last else { throw fail("stack is empty") }
        memo[key] = top
    }

    private mutating func recall(_ key: Int) throws(ImportError) {
        guard let value = memo[key] else { throw fail("memo \(key) does not exist") }
        stack.append(value)
    }

    private mutating func build(_ opcode: UInt8) throws(ImportError) {
        switch opcode {
        case UInt8(ascii: "t"): stack.append(.tuple(try popToMark()))
        case 0x85: stack.append(.tuple([try pop()]))
        case 0x86:
            let b = try pop()
            stack.append(.tuple([try pop(), b]))
        case 0x87:
            let c = try pop()
            let b = try pop()
            stack.append(.tuple([try pop(), b, c]))
        case UInt8(ascii: "l"): stack.append(try newList(try popToMark()))
        case UInt8(ascii: "a"), UInt8(ascii: "e"):
            let items = opcode == UInt8(ascii: "a") ? [try pop()] : try popToMark()
            guard case .list(let id)? = stack.last else { throw fail("append to something that is not a list") }
            lists[id] += items
        case UInt8(ascii: "s"), UInt8(ascii: "u"): try setItems(single: opcode == UInt8(ascii: "s"))
        case 0x93:
            guard case .string(let name) = try pop(), case .string(let module) = try pop() else { throw fail("global without a name") }
            try pushGlobal("\(module).\(name)")
        case UInt8(ascii: "R"): try reduce()
        case UInt8(ascii: "Q"): try persistentStorage()
        case UInt8(ascii: "b"): _ = try pop()  // BUILD: attributes such as _metadata; the object stays as it is
        case UInt8(ascii: "0"): _ = try pop()
        default:
            throw fail("opcode 0x\(String(opcode, radix: 16)) is not allowed (a checkpoint may only hold tensors)", .unsupported)
        }
    }

    private mutating func setItems(single: Bool) throws(ImportError) {
        var items: [PickleValue]
        if single {
            let value = try pop()
            items = [try pop(), value]
        } else {
            items = try popToMark()
        }
        guard items.count % 2 == 0, case .dictionary(let id)? = stack.last else { throw fail("items for something that is not a dictionary") }
        for i in stride(from: 0, to: items.count, by: 2) { dictionaries[id].append((items[i], items[i + 1])) }
    }

    private mutating func reduce() throws(ImportError) {
        guard case .tuple(let arguments) = try pop() else { throw fail("call without an argument tuple") }
        guard case .global(let name) = try pop() else { throw fail("call of something that is not a function") }
        switch name {
        case "collections.OrderedDict":
            guard arguments.isEmpty else { throw fail("OrderedDict with arguments", .unsupported) }
            stack.append(try newDictionary())
        case "torch._utils._rebuild_tensor_v2": stack.append(try tensor(arguments))
        case "torch._utils._rebuild_parameter":
            guard let first = arguments.first, case .tensor = first else { throw fail("parameter without a tensor") }
            stack.append(first)
        default: throw fail("call of \(name) is not allowed", .unsupported)
        }
    }

    private func tensor(_ arguments: [PickleValue]) throws(ImportError) -> PickleValue {
        guard arguments.count >= 4, case .storage(let storage) = arguments[0], case .integer(let offset) = arguments[1],
            case .tuple(let shape) = arguments[2], case .tuple(let strides) = arguments[3],
            let sizes = Self.integers(shape), let steps = Self.integers(strides), sizes.count == steps.count
        else { throw fail("tensor with wrong arguments") }
        return .tensor(PickleTensor(storage: storage, offset: offset, shape: sizes, strides: steps))
    }

    private static func integers(_ values: [PickleValue]) -> [Int]? {
        var result: [Int] = []
        for value in values {
            guard case .integer(let number) = value else { return nil }
            result.append(number)
        }
        return result
    }

    /// BINPERSID of ("storage", type, key, device, count).
    private mutating func persistentStorage() throws(ImportError) {
        guard case .tuple(let id) = try pop(), id.count == 5, case .string("storage") = id[0],
            case .global(let name) = id[1], case .string(let key) = id[2], case .integer(let count) = id[4],
            let type = Self.storages[name], count >= 0
        else { throw fail("persistent id is not a tensor storage", .unsupported) }
        stack.append(.storage(PickleStorage(type: type, key: key, count: count)))
    }
}
