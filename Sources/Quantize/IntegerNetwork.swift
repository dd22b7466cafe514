import FlatGraph
import GraphIR
import HostRuntime
import MKRuntime
import Ops

/// Runs a model file with the very kernels that the device uses, and lets the converter see every tensor.
public final class IntegerNetwork {
    public let file: ModelFile
    let pool: ThreadPool
    private let memory: ModelMemory

    public init(_ bytes: [UInt8], threads: Int) throws(ModelFileError) {
        memory = ModelMemory(bytes)
        file = try unsafe ModelFile(validating: UnsafeRawBufferPointer(memory.bytes), owner: memory)
        pool = ThreadPool(threads: threads)
    }

    /// Gives a convolution other weights and channel constants of the same size, for the ops that have not run yet.
    func replace(_ op: Int, with parts: ConvolutionParts) {
        let record = file.op(op)
        let start = unsafe UnsafeRawPointer(memory.bytes.baseAddress!)
        let weights = unsafe UnsafeRawPointer(file.weights(record)) - start
        let channels = unsafe UnsafeRawPointer(file.channels(record)) - start
        precondition(parts.weights.count == Int(record.weightsBytes), "weights of another size")
        unsafe parts.weights.withUnsafeBytes { source in
            unsafe UnsafeMutableRawBufferPointer(rebasing: memory.bytes[weights...]).copyMemory(from: source)
        }
        unsafe parts.channels.withUnsafeBytes { source in
            unsafe UnsafeMutableRawBufferPointer(rebasing: memory.bytes[channels...]).copyMemory(from: source)
        }
    }

    /// Bytes of the network's input codes for real inputs: floor(x / scale + 0.5) + zeroPoint, clamped to what a code can be.
    public func codes(_ input: FloatTensor) -> [UInt8] {
        let tensor = file.tensor(Int(file.record.inputTensor))
        let scale = Double(file.scale(Int(tensor.scaleOffset)))
        let zeroPoint = Double(tensor.zeroPoint)
        func code(_ x: Float, _ least: Double, _ most: Double) -> Double {
            min(max((Double(x) / scale + 0.5).rounded(.down) + zeroPoint, least), most)
        }
        guard file.codeBytes == 2 else { return input.values.map { UInt8(code($0, 0, 255)) } }
        let codes = input.values.map { Int16(code($0, -32768, 32767)) }
        return unsafe codes.withUnsafeBytes { unsafe Array($0) }
    }

    /// Runs the whole volume and returns class indices.
    /// - Parameter observe: op index and a view of its output, the scores included; without it they exist row by row.
    public func run(
        _ input: FloatTensor, observe: ((Int, TensorView) -> Void)? = nil
    ) throws(RuntimeError) -> [UInt16] {
        let codes = codes(input)
        let extent = Extent(input.size)
        let plan = try RunPlan(
            file: file, volume: extent, mode: .whole, threads: pool.threads, materializeScores: observe != nil)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: plan.arenaBytes, alignment: 64)
        defer { unsafe arena.deallocate() }
        let session = try unsafe Session(file: file, plan: plan, arena: arena, isa: ISA.best)
        let bytes = Argmax(classes: file.classCount).labelBytes
        var labels = [UInt8](repeating: 0, count: extent.voxels * bytes)
        try unsafe withObserver(observe ?? { _, _ in }) { observer throws(RuntimeError) in
            unsafe try Self.run(session, codes, &labels, pool, observer)
        }
        return (0..<extent.voxels).map {
            bytes == 1 ? UInt16(labels[$0]) : UInt16(labels[2 * $0]) | UInt16(labels[2 * $0 + 1]) << 8
        }
    }

    private func withObserver(
        _ observe: (Int, TensorView) -> Void, _ body: (@escaping OpObserver) throws(RuntimeError) -> Void
    ) throws(RuntimeError) {
        var failure: RuntimeError?
        withoutActuallyEscaping(observe) { observe in
            do throws(RuntimeError) {
                unsafe try body { [file] op, layout, base in
                    let record = file.tensor(Int(file.op(op).output))
                    unsafe observe(op, TensorView(file: file, record: record, layout: layout, base: base))
                }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    private static func run(
        _ session: Session, _ codes: [UInt8], _ labels: inout [UInt8], _ pool: ThreadPool,
        _ observer: @escaping OpObserver
    ) throws(RuntimeError) {
        var failure: RuntimeError?
        unsafe codes.withUnsafeBufferPointer { codes in
            unsafe labels.withUnsafeMutableBytes { labels in
                do throws(RuntimeError) {
                    unsafe try session.run(codes: codes, labels: labels, parallel: pool, observer: observer)
                } catch {
                    failure = error
                }
            }
        }
        if let failure { throw failure }
    }
}

/// A tensor of the running network, readable while the observer is called.
@safe public struct TensorView {
    let file: ModelFile
    let record: TensorRecord
    public let layout: TensorLayout
    private let base: UnsafeRawPointer

    init(file: ModelFile, record: TensorRecord, layout: TensorLayout, base: UnsafeRawPointer) {
        self.file = file
        self.record = record
        self.layout = layout
        unsafe self.base = base
    }

    /// Real values of one channel, `[depth][height][width]`.
    public func reals(_ channel: Int) -> [Float] {
        let scale = file.scale(Int(record.scaleOffset) + (record.scaleCount == 1 ? 0 : channel))
        let zeroPoint = Float(record.zeroPoint)
        return codes(channel).map { scale * (Float($0) - zeroPoint) }
    }

    /// Real values of every channel.
    var allReals: [[Float]] { (0..<layout.channels).map { reals($0) } }

    /// Real value of a voxel, by its index.
    func real(_ channel: Int, _ voxel: Int) -> Float {
        let (height, width) = (layout.extent.height, layout.extent.width)
        let code = code(channel, voxel / (height * width), voxel / width % height, voxel % width)
        let scale = file.scale(Int(record.scaleOffset) + (record.scaleCount == 1 ? 0 : channel))
        return scale * Float(code - Int32(record.zeroPoint))
    }

    /// The code of one voxel.
    func code(_ channel: Int, _ z: Int, _ y: Int, _ x: Int) -> Int32 {
        let perBlock = layout.element.channelsPerBlock
        let at =
            layout.rowOffset(block: channel / perBlock, z: z, y: y) + x * 4 + (channel % perBlock) * (4 / perBlock)
        return layout.element == .u8
            ? unsafe Int32(base.load(fromByteOffset: at, as: UInt8.self))
            : unsafe Int32(base.load(fromByteOffset: at, as: Int16.self))
    }

    public func codes(_ channel: Int) -> [Int32] {
        let perBlock = layout.element.channelsPerBlock
        var result: [Int32] = []
        result.reserveCapacity(layout.extent.voxels)
        for row in 0..<layout.extent.rows {
            let start =
                layout.rowOffset(block: channel / perBlock, z: 0, y: row) + (channel % perBlock) * (4 / perBlock)
            for x in 0..<layout.extent.width {
                result.append(
                    layout.element == .u8
                        ? unsafe Int32(base.load(fromByteOffset: start + x * 4, as: UInt8.self))
                        : unsafe Int32(base.load(fromByteOffset: start + x * 4, as: Int16.self)))
            }
        }
        return result
    }
}
