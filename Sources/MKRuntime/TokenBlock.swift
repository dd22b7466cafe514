import FlatGraph
import Ops

/// How the wide intermediate tensors of state-space blocks are kept.
public struct BlockStreaming: Equatable, Sendable {
    /// Tokens that go through a block at a time, 1 or more.
    public var chunk: Int
    /// What the backward direction, which runs from the last token to the first, leaves for the forward pass: its whole
    /// output (plan M), or only its state at every chunk's end, from which the chunk is computed again (plan R).
    public var keepsBackwardOutput: Bool

    public init(chunk: Int, keepsBackwardOutput: Bool) {
        precondition(chunk >= 1, "a chunk has at least one token")
        self.chunk = chunk
        self.keepsBackwardOutput = keepsBackwardOutput
    }
}

/// A run of ops between two tensors that works on tokens one by one, but for convolutions along the sequence and scans: it can go
/// through in chunks of tokens, with one read and one written tensor of full size.
///
/// Chunks are computed with a halo for the convolutions; scans see the chunk's own tokens, and their states carry over. The
/// backward scans make a sweep of their own over the chunks, from the last to the first, before the others.
struct TokenBlock: Sendable {
    let ops: Range<Int>
    let input: Int
    let output: Int
    /// Tokens before and after a chunk that convolutions read.
    let halo: (before: Int, after: Int)
    /// Ops that the backward scans need, by position in `ops`.
    let leadsBackward: [Bool]
    /// Op indices of the backward scans.
    let backward: [Int]

    /// All blocks of a network, in order.
    static func find(_ file: ModelFile, tail: Int) -> [TokenBlock] {
        var result: [TokenBlock] = []
        guard hasBlockOps else { return result }
        var first = 0
        while first < tail {
            if let block = TokenBlock(file, from: first, tail: tail) {
                result.append(block)
                first = block.ops.upperBound
            } else {
                first += 1
            }
        }
        return result
    }

    /// The longest block that starts with op `first`; nil when there is none with a scan.
    private init?(_ file: ModelFile, from first: Int, tail: Int) {
        let input = file.operand(file.op(first), 0)
        var made = TensorSet(file, [input])
        // Tensors that depend on a scan: another scan must not read them.
        var scanned = TensorSet(file)
        var end: Int?
        var hasScan = false
        for index in first..<tail {
            let op = file.op(index)
            let operands = (0..<Int(op.operandCount)).map { file.operand(op, $0) }
            guard Self.isTokenwise(file, op), operands.allSatisfy(made.contains) else { break }
            let follows = operands.contains(where: scanned.contains)
            if op.kind == .scan || op.kind == .tokenConv {
                // A convolution behind a scan would need a halo of states.
                guard !follows else { break }
            }
            made.insert(Int(op.output))
            if follows || op.kind == .scan { scanned.insert(Int(op.output)) }
            hasScan = hasScan || op.kind == .scan
            if hasScan, Self.isOnlyOutput(file, first...index) { end = index + 1 }
        }
        guard let end else { return nil }
        let ops = first..<end
        self.ops = ops
        self.input = input
        output = Int(file.op(end - 1).output)
        backward = ops.filter { file.op($0).kind == .scan && file.scan(file.op($0)).isReversed }
        var halo = (before: 0, after: 0)
        for index in ops where file.op(index).kind == .tokenConv {
            let conv = file.tokenConv(file.op(index))
            if conv.isReversed { halo.after += conv.taps - 1 } else { halo.before += conv.taps - 1 }
        }
        self.halo = halo
        var needed = TensorSet(file)
        var leads = [Bool](repeating: false, count: ops.count)
        for index in ops.reversed() {
            let op = file.op(index)
            guard backward.contains(index) || needed.contains(Int(op.output)) else { continue }
            leads[index - ops.lowerBound] = true
            for operand in 0..<Int(op.operandCount) { needed.insert(file.operand(op, operand)) }
        }
        leadsBackward = leads
    }

    private static func isTokenwise(_ file: ModelFile, _ op: OpRecord) -> Bool {
        switch op.kind {
        case .conv3d: file.conv3D(op).isPointwise
        case .lookup, .lookupWide, .add, .addWide, .concat, .narrow, .layerNorm, .tokenConv, .kanBasis, .gate, .scan:
            true
        default: false
        }
    }

    /// Whether later ops read, of all that `ops` make, what the last one makes and nothing else.
    private static func isOnlyOutput(_ file: ModelFile, _ ops: ClosedRange<Int>) -> Bool {
        let made = TensorSet(file, ops.map { Int(file.op($0).output) })
        let last = Int(file.op(ops.upperBound).output)
        var isRead = false
        for index in (ops.upperBound + 1)..<file.opCount {
            let op = file.op(index)
            for operand in 0..<Int(op.operandCount) where made.contains(file.operand(op, operand)) {
                guard file.operand(op, operand) == last else { return false }
                isRead = true
            }
        }
        return isRead
    }

    // MARK: Chunks

    /// Tokens of a row of a chunk's buffers, which threads share by rows.
    static let row = 64

    func chunks(_ tokens: Int, _ size: Int) -> Int { (tokens + size - 1) / size }

    /// Where a chunk lies: its own tokens, and those its buffers hold.
    func chunk(_ index: Int, _ size: Int, tokens: Int) -> (own: Range<Int>, held: Range<Int>) {
        let own = (index * size)..<min((index + 1) * size, tokens)
        return (own, max(0, own.lowerBound - halo.before)..<min(tokens, own.upperBound + halo.after))
    }

    /// Buffer of a tensor for a chunk: consecutive tokens in whole rows.
    func layout(_ full: TensorLayout, _ streaming: BlockStreaming) -> TensorLayout {
        let most = min(streaming.chunk + halo.before + halo.after, full.extent.voxels)
        return TensorLayout(
            channels: full.channels,
            extent: Extent(depth: 1, height: (most + Self.row - 1) / Self.row, width: Self.row),
            element: full.element)
    }

    /// The block that op `index` belongs to.
    static func of(_ index: Int, _ blocks: [TokenBlock]) -> TokenBlock? {
        for block in blocks where block.ops.contains(index) { return block }
        return nil
    }

    /// Buffer of a tensor as op `index` sees it: whole, or of a chunk.
    static func layout(
        _ full: TensorLayout, op index: Int, _ blocks: [TokenBlock], _ streaming: BlockStreaming?
    ) -> TensorLayout {
        guard let streaming, let block = of(index, blocks) else { return full }
        return block.layout(full, streaming)
    }

    /// Tensors that exist for a chunk only, by the op that makes them; the block's input has a copy, too.
    func isInner(_ tensor: Int, _ file: ModelFile) -> Bool {
        tensor != output && ops.contains { Int(file.op($0).output) == tensor }
    }
}

/// A set of tensors of a model. The standard library's sets compute in floating point, which boards may lack.
struct TensorSet {
    private var members: [Bool]

    init(_ file: ModelFile, _ tensors: [Int] = []) {
        members = [Bool](repeating: false, count: file.tensorCount)
        for tensor in tensors { insert(tensor) }
    }

    mutating func insert(_ tensor: Int) { members[tensor] = true }

    func contains(_ tensor: Int) -> Bool { members[tensor] }
}
