import Testing

@testable import GraphIR

/// A torch zip around a program that a test writes.
private func program(
    _ name: String, _ message: String, as kind: ImportError.Kind = .malformed,
    _ write: @escaping @Sendable (inout PickleWriter) -> Void
) -> Refusal {
    Refusal(name, message, as: kind) {
        var writer = PickleWriter()
        write(&writer)
        return torchZip(writer.bytes)
    }
}

/// A state dict of one tensor that lies.
private func tensor(
    _ name: String, _ message: String, as kind: ImportError.Kind = .malformed,
    _ change: @escaping @Sendable (inout TensorSpec) -> Void
) -> Refusal {
    Refusal(name, message, as: kind) {
        var spec = TensorSpec()
        change(&spec)
        return torchZip(spec)
    }
}

/// Calls that would run something, or make something that could.
private let evil: [Refusal] = [
    program("os.system", "global os.system is not allowed", as: .unsupported) {
        $0.global("os", "system")
        $0.op("(")
        $0.string("true")
        $0.op("tR.")
    },
    program("eval", "global builtins.eval is not allowed", as: .unsupported) {
        $0.global("builtins", "eval")
    },
    program("STACK_GLOBAL", "global posix.system is not allowed", as: .unsupported) {
        $0.string("posix")
        $0.string("system")
        $0.op(0x93)
    },
    program("a name with a dot", "global torch._utils.os.system is not allowed", as: .unsupported) {
        $0.global("torch._utils", "os.system")
    },
    program("a line break in a name", "global a\\u{d}b.c is not allowed", as: .unsupported) {
        $0.global("a\r" + "b", "c")
    },
    program("torch.load", "global torch.load is not allowed", as: .unsupported) {
        $0.global("torch", "load")
    },
    program("ByteStorage", "global torch.ByteStorage is not allowed", as: .unsupported) {
        $0.global("torch", "ByteStorage")
    },
    program("INST", "opcode INST is not allowed", as: .unsupported) { $0.op("(ios\nsystem\n") },
    program("OBJ", "opcode OBJ is not allowed", as: .unsupported) { $0.op("(o") },
    program("NEWOBJ", "opcode NEWOBJ is not allowed", as: .unsupported) { $0.op(0x81) },
    program("NEWOBJ_EX", "opcode NEWOBJ_EX is not allowed", as: .unsupported) { $0.op(0x92) },
    program("EXT1", "opcode EXT1 is not allowed", as: .unsupported) { $0.op(0x82) },
    program("PERSID", "opcode PERSID is not allowed", as: .unsupported) { $0.op("Px\n") },
    program("DUP", "opcode DUP is not allowed", as: .unsupported) { $0.op("]2") },
    program("BYTEARRAY8", "opcode BYTEARRAY8 is not allowed", as: .unsupported) { $0.op(0x96) },
    program("LONG4", "opcode LONG4 is not allowed", as: .unsupported) { $0.op(0x8B) },
    program("PROTO again", "pickle byte 2: opcode PROTO is not allowed", as: .unsupported) { $0.op(0x80) },
    program("no opcode", "opcode 0xff is not allowed", as: .unsupported) { $0.op(0xFF) },
    program("REDUCE of a string", "call of something that is not a function") {
        $0.string("os.system")
        $0.op(")R")
    },
    program("REDUCE of a dictionary", "call of something that is not a function") { $0.op("})R") },
    program("REDUCE without a tuple", "call without an argument tuple") {
        $0.global("collections", "OrderedDict")
        $0.op("]R")
    },
    program("call of a storage", "call of a storage type", as: .unsupported) {
        $0.global("torch", "FloatStorage")
        $0.op(")R")
    },
    program("OrderedDict of something", "OrderedDict with arguments", as: .unsupported) {
        $0.global("collections", "OrderedDict")
        $0.op("]\u{85}R".unicodeScalars.map { UInt8($0.value) })
    },
    program("BUILD of a list", "BUILD of something that is not a state dict", as: .unsupported) {
        $0.op("]}b")
    },
    program("parameter of nothing", "parameter without a tensor") {
        $0.global("torch._utils", "_rebuild_parameter")
        $0.op(")R")
    },
    program("tensor of nothing", "tensor with wrong arguments") {
        $0.global("torch._utils", "_rebuild_tensor_v2")
        $0.op(")R")
    },
    program("persistent id is a string", "persistent id is not a tensor storage", as: .unsupported) {
        $0.string("x")
        $0.op("Q")
    },
    program("persistent id of a function", "persistent id is not a tensor storage", as: .unsupported) {
        $0.op("(")
        $0.string("storage")
        $0.global("collections", "OrderedDict")
        $0.string("0")
        $0.string("cpu")
        $0.integer(6)
        $0.op("tQ")
    },
]

/// Damaged programs.
private let damaged: [Refusal] = [
    Refusal("empty pickle", "no protocol number") { torchZip([]) },
    Refusal("protocol 0", "no protocol number") { torchZip(Array("(dp0\n.".utf8)) },
    Refusal("protocol 1", "protocol 1 (must be 2...5)", as: .unsupported) { torchZip([0x80, 1]) },
    Refusal("protocol 6", "protocol 6 (must be 2...5)", as: .unsupported) { torchZip([0x80, 6]) },
    Refusal("not stopped", "truncated") { torchZip(Array(stateDictPickle([TensorSpec()]).dropLast())) },
    Refusal("bytes after the end", "1 bytes after the end") {
        torchZip(stateDictPickle([TensorSpec()]) + [0])
    },
    program("nothing but a stop", "stack is empty") { $0.op(".") },
    program("values left", "1 values are left") { $0.op("]].") },
    program("open mark", "values are left") { $0.op("(}.") },
    program("pop through a mark", "stack is empty") { $0.op("](0") },
    program("no mark", "no mark on the stack") { $0.op("t") },
    program("TUPLE3 of two", "stack is empty") {
        $0.op("NN")
        $0.op(0x87)
    },
    program("long string", "4294967295 bytes wanted, 0 left: truncated") {
        $0.op([0x58, 0xFF, 0xFF, 0xFF, 0xFF])
    },
    program("short string cut", "9 bytes wanted, 1 left") { $0.op([0x8C, 9, 65]) },
    program("string is not UTF-8", "string is not UTF-8") { $0.op([0x8C, 2, 0xC0, 0x80]) },
    program("number cut", "4 bytes wanted, 1 left") { $0.op("J1") },
    program("integer of 9 bytes", "integer of 9 bytes (limit 8)", as: .unsupported) {
        $0.op([0x8A, 9] + [UInt8](repeating: 1, count: 9))
    },
    program("global without an end", "unterminated line") { $0.op("cos\nsystem") },
    program("global of a number", "global without a name") {
        $0.op("K\u{1}K\u{1}")
        $0.op(0x93)
    },
    program("frame beyond the end", "frame of 100 bytes, 1 left") {
        $0.op([0x95, 100, 0, 0, 0, 0, 0, 0, 0, 0x4E])
    },
    program("frame of 2^64-1", "is too large") { $0.op([0x95] + [UInt8](repeating: 255, count: 8)) },
    program("unknown memo", "memo 7 does not exist") { $0.op("h\u{7}") },
    program("unknown long memo", "memo 1000 does not exist") { $0.op([0x6A, 0xE8, 3, 0, 0]) },
    program("memo of nothing", "stack is empty") { $0.op("q\u{0}") },
    program("memo of a mark", "stack is empty") { $0.op("](q\u{0}") },
    program("append to a dictionary", "not a list") { $0.op("}Na") },
    program("items for a list", "not a dictionary") { $0.op("](NNu") },
    program("items in a tuple", "not a dictionary") { $0.op(")NNs") },
    program("key without a value", "a key without a value") { $0.op("}(Nu") },
    program("memo bomb", "no dictionary of tensors") {
        // Each list holds the one before twice: 2^40 leaves, if anybody counted them.
        $0.op("]q\u{0}")
        for _ in 0..<40 { $0.op("](h\u{0}h\u{0}eq\u{0}0h\u{0}") }
        for _ in 0..<40 { $0.op("0") }
        $0.op(".")
    },
    program("deep tuples", "no dictionary of tensors") {
        $0.op([0x29] + [UInt8](repeating: 0x85, count: 2_000_000) + [0x2E])
    },
    program("deep marks", "no mark on the stack") {
        $0.op([UInt8](repeating: 0x28, count: 500_000) + [UInt8](repeating: 0x74, count: 500_001))
    },
    program("too much work", "more than 4000000 opcodes", as: .unsupported) {
        $0.op([UInt8](repeating: 0x4E, count: 4_000_001))
    },
    program("too long", "(limit 67108864)", as: .unsupported) {
        $0.op([UInt8](repeating: 0x4E, count: 64 << 20))
    },
    program("list of itself", "no dictionary of tensors") { $0.op("]q\u{0}h\u{0}a.") },
    program("None", "no dictionary of tensors") { $0.op("N.") },
    program("empty dictionary", "no tensors in the checkpoint") { $0.op("}.") },
    program("key is a number", "a key of the state dict is not a string") { $0.op("}K\u{1}Ns.") },
    program("dictionary of itself", "no tensors in the checkpoint") {
        $0.op("}q\u{0}")
        $0.string("state_dict")
        $0.op("h\u{0}s.")
    },
    program("state_dict twice", "key state_dict occurs twice") {
        $0.op("}(")
        for _ in 0..<2 {
            $0.string("state_dict")
            $0.op("}")
        }
        $0.op("u.")
    },
]

/// Tensors that do not fit what the archive holds.
private let lies: [Refusal] = [
    Refusal("duplicate name", "key w occurs twice in the state dict") {
        torchZip(TensorSpec(), TensorSpec())
    },
    tensor("storage claimed longer", "storage 0 is shorter (24 bytes) than its 7 values") { $0.count = 7 },
    tensor("storage claimed shorter", "storage 0 is longer (24 bytes) than its 5 values") { $0.count = 5 },
    tensor("storage claimed huge", "storage 0 is shorter") { $0.count = .max },
    tensor("storage claimed negative", "storage 0 of -1 elements") { $0.count = -1 },
    tensor("another type", "than its 6 values of float64") { $0.storage = "DoubleStorage" },
    tensor("integers", "tensor w has integer type int32", as: .unsupported) { $0.storage = "IntStorage" },
    tensor("missing storage", "tensor w: storage 9 is missing") { $0.key = "9" },
    tensor("storage outside", "storage ../data.pkl is missing") { $0.key = "../data.pkl" },
    tensor("larger than its storage", "shape=[2, 4] is larger than its storage of 6 values") {
        $0.shape = [2, 4]
    },
    tensor("expanded beyond its storage", "is larger than its storage") {
        $0.shape = [1 << 40, 1]
        $0.strides = [0, 0]
    },
    tensor("negative size", "shape=[-2, 3] is negative") { $0.shape = [-2, 3] },
    tensor("product overflow", "is negative or too large") { $0.shape = [1 << 32, 1 << 32] },
    tensor("negative offset", "offset=-1") { $0.offset = -1 },
    tensor("negative stride", "strides=[-3, 1]") { $0.strides = [-3, 1] },
    tensor("offset out of range", "from 1 leave its storage") { $0.offset = 1 },
    tensor("offset overflow", "leave its storage") { $0.offset = .max },
    tensor("stride out of range", "strides=[3, 2] from 0 leave its storage of 6 values") {
        $0.strides = [3, 2]
    },
    tensor("stride overflow", "leave its storage") { $0.strides = [.max, .max] },
    tensor("fewer strides than sizes", "tensor of 2 sizes and 1 strides") { $0.strides = [1] },
    tensor("33 dimensions", "more than 32 dimensions") {
        $0.shape = [Int](repeating: 1, count: 33)
        $0.strides = $0.shape
    },
    Refusal("one storage, two types", "storage 0 is used with two types") {
        torchZip(
            stateDictPickle([
                TensorSpec(name: "a", storage: "HalfStorage", count: 6),
                TensorSpec(name: "b", storage: "BFloat16Storage"),
            ]), ["0": [UInt8](repeating: 0, count: 12)])
    },
    Refusal("a view for every name", "more values than the file has bytes") {
        let data = [UInt8](repeating: 0, count: 400_000)
        let specs = (0..<100).map {
            TensorSpec(name: "w\($0)", count: 100_000, shape: [100_000], strides: [1])
        }
        return torchZip(stateDictPickle(specs), ["0": data])
    },
]

@Suite struct PickleRefusalTests {
    @Test(arguments: evil) func code(_ refusal: Refusal) { expectRefusal(refusal) }
    @Test(arguments: damaged) func program(_ refusal: Refusal) { expectRefusal(refusal) }
    @Test(arguments: lies) func tensor(_ refusal: Refusal) { expectRefusal(refusal) }
}
