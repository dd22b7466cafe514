/// A small pickle interpreter (protocols 2 to 5) that builds tensors and plain containers, nothing else. Every opcode
/// and every global outside a short list is refused by name.
///
/// Limits: 64 MiB of program, 4 million opcodes. Nothing recurses, every opcode adds a bounded amount and handles
/// each value on the stack at most once, so time and memory grow with the program's length only.
struct PickleMachine {
    private(set) var heap = PickleHeap()

    private let bytes: [UInt8]
    private let path: String
    private var at = 0
    /// Offset of the opcode being executed, for messages.
    private var opcodeAt = 0
    private var stack: [PickleValue] = []
    /// Heights of the stack at the open marks: values below the last one are out of reach.
    private var marks: [Int] = []
    private var memo: [Int: PickleValue] = [:]

    private static let maximumBytes = 64 << 20
    private static let maximumOpcodes = 4_000_000
    private static let maximumRank = 32

    init(bytes: [UInt8], path: String) {
        self.bytes = bytes
        self.path = path
    }

    /// Runs the program and returns what it leaves.
    ///
    /// Throws `.malformed` for a damaged program, `.unsupported` for one that wants more than tensors.
    mutating func run() throws(ImportError) -> PickleValue {
        guard bytes.count <= Self.maximumBytes else {
            throw fail("program of \(bytes.count) bytes (limit \(Self.maximumBytes))", .unsupported)
        }
        try begin()
        for _ in 0..<Self.maximumOpcodes {
            opcodeAt = at
            let opcode = UInt8(try number(1))
            if opcode == UInt8(ascii: ".") { return try finish() }
            if try pushConstant(opcode) { continue }
            if try useMemo(opcode) { continue }
            if try makeTuple(opcode) { continue }
            try build(opcode)
        }
        throw fail("more than \(Self.maximumOpcodes) opcodes", .unsupported)
    }

    private mutating func begin() throws(ImportError) {
        guard bytes.count >= 2, bytes[0] == 0x80 else {
            throw fail("no protocol number: not a pickle of protocol 2 to 5")
        }
        guard 2...5 ~= bytes[1] else { throw fail("protocol \(bytes[1]) (must be 2...5)", .unsupported) }
        at = 2
    }

    private mutating func finish() throws(ImportError) -> PickleValue {
        let result = try pop()
        guard stack.isEmpty, marks.isEmpty else { throw fail("\(stack.count) values are left on the stack") }
        guard at == bytes.count else { throw fail("\(bytes.count - at) bytes after the end") }
        return result
    }

    private func fail(_ message: String, _ kind: ImportError.Kind = .malformed) -> ImportError {
        ImportError(kind, path, "pickle byte \(opcodeAt): \(message)")
    }

    // MARK: Input

    private mutating func take(_ count: Int) throws(ImportError) -> ArraySlice<UInt8> {
        guard count <= bytes.count - at else {
            throw fail("\(count) bytes wanted, \(bytes.count - at) left: truncated")
        }
        defer { at += count }
        return bytes[at..<(at + count)]
    }

    /// Little-endian, of 1 to 8 bytes.
    private mutating func number(_ count: Int) throws(ImportError) -> Int {
        let value = bytes.little(try take(count).startIndex, count)
        guard let result = Int(exactly: value) else { throw fail("number \(value) is too large") }
        return result
    }

    private mutating func text(_ length: Int) throws(ImportError) -> String {
        guard let result = String(validating: try take(length), as: UTF8.self) else {
            throw fail("string is not UTF-8")
        }
        return result
    }

    private mutating func line() throws(ImportError) -> String {
        guard let end = bytes[at...].firstIndex(of: 10) else { throw fail("unterminated line") }
        defer { at = end + 1 }
        return try text(end - at)
    }

    /// LONG1: two's complement, of at most 8 bytes here.
    private mutating func long() throws(ImportError) -> Int {
        let count = try number(1)
        guard count <= 8 else { throw fail("integer of \(count) bytes (limit 8)", .unsupported) }
        let data = try take(count)
        var value = data.last ?? 0 >= 0x80 ? -1 : 0
        for byte in data.reversed() { value = value << 8 | Int(byte) }
        return value
    }

    // MARK: Stack and memo

    private mutating func pop() throws(ImportError) -> PickleValue {
        guard stack.count > marks.last ?? 0 else { throw fail("stack is empty") }
        return stack.removeLast()
    }

    private mutating func popToMark() throws(ImportError) -> [PickleValue] {
        guard let mark = marks.popLast() else { throw fail("no mark on the stack") }
        defer { stack.removeSubrange(mark...) }
        return Array(stack[mark...])
    }

    private func top() throws(ImportError) -> PickleValue {
        guard stack.count > marks.last ?? 0, let value = stack.last else { throw fail("stack is empty") }
        return value
    }

    private mutating func useMemo(_ opcode: UInt8) throws(ImportError) -> Bool {
        switch opcode {
        case UInt8(ascii: "q"): memo[try number(1)] = try top()
        case UInt8(ascii: "r"): memo[try number(4)] = try top()
        case 0x94: memo[memo.count] = try top()
        case UInt8(ascii: "h"): try recall(try number(1))
        case UInt8(ascii: "j"): try recall(try number(4))
        default: return false
        }
        return true
    }

    private mutating func recall(_ key: Int) throws(ImportError) {
        guard let value = memo[key] else { throw fail("memo \(key) does not exist") }
        stack.append(value)
    }

    // MARK: Opcodes

    /// Opcodes that push a constant or an empty container.
    private mutating func pushConstant(_ opcode: UInt8) throws(ImportError) -> Bool {
        switch opcode {
        case 0x95:  // FRAME only announces how much to read at once
            let length = try number(8)
            guard length <= bytes.count - at else {
                throw fail("frame of \(length) bytes, \(bytes.count - at) left: truncated")
            }
        case UInt8(ascii: "("): marks.append(stack.count)
        case UInt8(ascii: "N"): stack.append(.none)
        case 0x88: stack.append(.bool(true))
        case 0x89: stack.append(.bool(false))
        case UInt8(ascii: "K"): stack.append(.integer(try number(1)))
        case UInt8(ascii: "M"): stack.append(.integer(try number(2)))
        case UInt8(ascii: "J"): stack.append(.integer(Int(Int32(truncatingIfNeeded: try number(4)))))
        case 0x8A: stack.append(.integer(try long()))
        case UInt8(ascii: "G"):  // BINFLOAT is big-endian
            let start = try take(8).startIndex
            stack.append(.double(Double(bitPattern: bytes.little(start, 8).byteSwapped)))
        case UInt8(ascii: "X"): stack.append(.string(try text(try number(4))))
        case 0x8C: stack.append(.string(try text(try number(1))))
        case UInt8(ascii: "}"): stack.append(heap.dictionary())
        case UInt8(ascii: "]"): stack.append(heap.list([]))
        case UInt8(ascii: ")"): stack.append(heap.tuple([]))
        case UInt8(ascii: "c"):
            let module = try line()
            try pushGlobal("\(module).\(try line())")
        default: return false
        }
        return true
    }

    private mutating func pushGlobal(_ name: String) throws(ImportError) {
        guard let global = PickleGlobal.byName[name] else {
            throw fail("global \(name) is not allowed (a checkpoint may only hold tensors)", .unsupported)
        }
        stack.append(.global(global))
    }

    private mutating func makeTuple(_ opcode: UInt8) throws(ImportError) -> Bool {
        var items: [PickleValue] = []
        switch opcode {
        case UInt8(ascii: "t"): items = try popToMark()
        case 0x85...0x87:
            for _ in 0..<(opcode - 0x84) { items.append(try pop()) }
            items.reverse()
        default: return false
        }
        stack.append(heap.tuple(items))
        return true
    }

    private mutating func build(_ opcode: UInt8) throws(ImportError) {
        switch opcode {
        case UInt8(ascii: "l"): stack.append(heap.list(try popToMark()))
        case UInt8(ascii: "a"): try append([try pop()])
        case UInt8(ascii: "e"): try append(try popToMark())
        case UInt8(ascii: "s"):
            let value = try pop()
            try setItems([try pop(), value])
        case UInt8(ascii: "u"): try setItems(try popToMark())
        case 0x93:
            guard case .string(let name) = try pop(), case .string(let module) = try pop() else {
                throw fail("global without a name")
            }
            try pushGlobal("\(module).\(name)")
        case UInt8(ascii: "R"): try reduce()
        case UInt8(ascii: "Q"): try persistentStorage()
        case UInt8(ascii: "b"): try ignoreAttributes()
        case UInt8(ascii: "0"): _ = try pop()
        default:
            let name = PickleOpcode.name(opcode)
            throw fail("opcode \(name) is not allowed (a checkpoint may only hold tensors)", .unsupported)
        }
    }

    private mutating func append(_ items: [PickleValue]) throws(ImportError) {
        guard case .list(let number) = try top() else { throw fail("append to something that is not a list") }
        heap.append(items, toList: number)
    }

    private mutating func setItems(_ items: [PickleValue]) throws(ImportError) {
        guard case .dictionary(let number) = try top() else {
            throw fail("items for something that is not a dictionary")
        }
        guard items.count.isMultiple(of: 2) else { throw fail("a key without a value") }
        heap.set(items, inDictionary: number)
    }

    /// BUILD would set attributes: a state dict gets `_metadata` so. We need none of them, and only a dictionary may
    /// have any.
    private mutating func ignoreAttributes() throws(ImportError) {
        _ = try pop()
        guard case .dictionary = try top() else {
            throw fail("BUILD of something that is not a state dict is not allowed", .unsupported)
        }
    }

    private mutating func reduce() throws(ImportError) {
        guard case .tuple(let number) = try pop() else { throw fail("call without an argument tuple") }
        let arguments = heap.tuples[number]
        guard case .global(let function) = try pop() else {
            throw fail("call of something that is not a function")
        }
        switch function {
        case .orderedDictionary:
            guard arguments.isEmpty else {
                throw fail("OrderedDict with arguments is not allowed", .unsupported)
            }
            stack.append(heap.dictionary())
        case .rebuildTensor: stack.append(try tensor(arguments))
        case .rebuildParameter:
            guard 1...3 ~= arguments.count, case .tensor = arguments[0] else {
                throw fail("parameter without a tensor")
            }
            stack.append(arguments[0])
        case .storage(let type): throw fail("call of a storage type (\(type)) is not allowed", .unsupported)
        }
    }

    /// Arguments: storage, offset, sizes, strides, and up to three that do not change the values.
    private mutating func tensor(_ arguments: [PickleValue]) throws(ImportError) -> PickleValue {
        guard 4...7 ~= arguments.count, case .storage(let number) = arguments[0],
            case .integer(let offset) = arguments[1],
            let shape = heap.integers(arguments[2], limit: Self.maximumRank),
            let strides = heap.integers(arguments[3], limit: Self.maximumRank)
        else { throw fail("tensor with wrong arguments, or of more than \(Self.maximumRank) dimensions") }
        guard shape.count == strides.count else {
            throw fail("tensor of \(shape.count) sizes and \(strides.count) strides")
        }
        return heap.tensor(
            .init(storage: heap.storages[number], offset: offset, shape: shape, strides: strides))
    }

    /// BINPERSID of ("storage", type, key, device, count).
    private mutating func persistentStorage() throws(ImportError) {
        guard case .tuple(let number) = try pop() else {
            throw fail("persistent id is not a tensor storage", .unsupported)
        }
        let id = heap.tuples[number]
        guard id.count == 5, case .string("storage") = id[0], case .global(.storage(let type)) = id[1],
            case .string(let key) = id[2], case .string = id[3], case .integer(let count) = id[4]
        else { throw fail("persistent id is not a tensor storage", .unsupported) }
        guard count >= 0 else { throw fail("storage \(key) of \(count) elements") }
        stack.append(heap.storage(.init(type: type, key: key, count: count)))
    }
}
