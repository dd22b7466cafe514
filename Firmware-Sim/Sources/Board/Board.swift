import CPlatform
import FixedPoint
import FlatGraph
import MKRuntime
import Ops

/// One run on a board: the model in place in flash, the volume from the scanner, everything else in the fixed regions.
struct Board {
    let options: Options
    let file: ModelFile
    let model: UInt32
    let channels: Int
    /// Bytes of a voxel's codes in all channels.
    private var voxelBytes: Int { channels * file.codeBytes }

    /// Ops of a chain meet in a board's memory, not in a cache: few rows at a time keep the arena small.
    private static var chainBytes: Int { 1 << 12 }

    /// The model file in flash.
    static var flash: UnsafeRawBufferPointer {
        let flash = unsafe mkp_flash()
        let region = unsafe UnsafeRawBufferPointer(start: flash.start, count: flash.count)
        // The file says how long it is; the reader checks that and everything else before anything is used.
        let length = unsafe UInt64(littleEndian: region.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        return unsafe UnsafeRawBufferPointer(rebasing: region[..<Int(clamping: min(length, UInt64(region.count)))])
    }

    static func open(_ options: Options) -> (Board?, Status) {
        let bytes = unsafe flash
        do throws(ModelFileError) {
            let file = try unsafe ModelFile(validating: bytes)
            let channels = Int(file.tensor(Int(file.record.inputTensor)).channels)
            let board = Board(
                options: options, file: file, model: unsafe CRC32C.checksum(bytes), channels: channels)
            return (board, .done)
        } catch {
            Console.print("model refused, reason ")
            Console.print(Int(error.reason.rawValue))
            Console.print("\n")
            return (nil, .modelDamaged)
        }
    }

    func run() -> Status {
        do throws(RuntimeError) {
            return options.isStream ? try stream() : try whole()
        } catch {
            return Self.status(of: error)
        }
    }

    private static func status(of error: RuntimeError) -> Status {
        Console.print("run refused, reason ")
        Console.print(Int(error.reason.rawValue))
        Console.print("\n")
        switch error.reason {
        case .arenaTooSmall, .arenaMisaligned, .volumeTooLarge: return .arenaTooSmall
        case .guardOverwritten: return .memoryCorrupted
        default: return .runRefused
        }
    }

    /// The arena of `count` bytes and what follows it in its region.
    private func arena(_ count: Int, besides: Int) throws(RuntimeError) -> UnsafeMutableRawBufferPointer {
        let region = unsafe mkp_arena()
        guard unsafe count + besides <= region.count else {
            throw RuntimeError(.arenaTooSmall, need: count + besides, have: unsafe region.count)
        }
        let given = options.fault == .smallArena ? count - 1 : count
        return unsafe UnsafeMutableRawBufferPointer(start: region.start, count: given)
    }

    // MARK: The volume at once, with its scores

    private func whole() throws(RuntimeError) -> Status {
        let plan = try RunPlan(
            file: file, volume: options.size, mode: .whole, threads: 1, materializeScores: true, fusion: .rows,
            chainBytes: Self.chainBytes)
        let voxels = options.size.voxels
        let memory = try unsafe arena(plan.arenaBytes, besides: voxels)
        let session = try unsafe Session(file: file, plan: plan, arena: memory, isa: ISA.best)
        let labels = unsafe UnsafeMutableRawBufferPointer(
            start: memory.baseAddress! + plan.arenaBytes, count: voxels)
        let codes = unsafe UnsafeBufferPointer(start: UnsafePointer(mkp_scanner().start), count: voxels * voxelBytes)
        let scores = Checksum()
        let last = file.opCount - 2
        let observer: OpObserver = { op, layout, tensor in
            if op == last { scores.value = unsafe checksum(of: tensor, layout) }
        }
        mkp_plan_close()
        let start = mkp_nanoseconds()
        unsafe try session.run(codes: codes, labels: labels, parallel: SerialPool(), observer: observer)
        report(
            labels: unsafe CRC32C.checksum(UnsafeRawBufferPointer(labels)), scores: scores.value,
            nanoseconds: mkp_nanoseconds() &- start, arena: plan.arenaBytes)
        return .done
    }

    // MARK: Slices as they come

    private func stream() throws(RuntimeError) -> Status {
        let store = Store(options.size, voxelBytes: voxelBytes, model: model)
        let finished = store?.finished ?? 0
        // Labels from here on need no slice before the origin: the network looks back this far.
        let origin = max(0, finished - reach)
        let extent = Extent(
            depth: options.size.depth - origin, height: options.size.height, width: options.size.width)
        let mode: ExecutionMode = RunPlan.isGlobal(file) ? .whole : .lines
        let plan = try RunPlan(file: file, volume: extent, mode: mode, threads: 1, fusion: .rows, chainBytes: Self.chainBytes)
        let slice = options.size.height * options.size.width * voxelBytes
        let memory = try unsafe arena(plan.arenaBytes, besides: 2 * slice)
        let session = try unsafe Session(file: file, plan: plan, arena: memory, isa: ISA.best)
        let scanner = unsafe Scanner(
            codes: UnsafePointer(mkp_scanner().start), channels: channels, codeBytes: file.codeBytes, options: options,
            first: store?.received ?? 0)
        let buffer = unsafe (memory.baseAddress! + plan.arenaBytes).assumingMemoryBound(to: UInt8.self)
        let receiver = unsafe Receiver(scanner, buffer: buffer, store: store, origin: origin)
        let sink = LabelCounter(
            receiver: receiver, store: store, origin: origin, first: finished, reach: mode == .lines ? reach : nil,
            options: options)
        if store?.isResumed ?? false {
            Console.print("resumed at slice ")
            Console.print(finished)
            Console.print("\n")
        }
        mkp_plan_close()
        let start = mkp_nanoseconds()
        do throws(RuntimeError) {
            try session.run(from: receiver, to: sink, parallel: SerialPool())
        } catch {
            store?.clear()
            if let fault = receiver.fault { return fault }
            throw error
        }
        let total = mkp_nanoseconds() &- start
        report(
            labels: sink.checksum(depth: options.size.depth), scores: nil, nanoseconds: total &- receiver.idle,
            arena: plan.arenaBytes)
        Console.print("slices ")
        Console.print(options.size.depth)
        Console.print(" late ")
        Console.print(sink.late)
        Console.print(" idle-us ")
        Console.print(Int64(receiver.idle / 1000))
        Console.print(mode == .lines ? " lines\n" : " whole\n")
        store?.clear()
        return .done
    }

    /// Slices that a label looks ahead, and back.
    private var reach: Int {
        var sum = 0
        for index in 0..<file.opCount {
            let op = file.op(index)
            guard op.kind == .conv3d else { continue }
            let conv = file.conv3D(op)
            sum += conv.dilation.depth * (conv.kernel.depth - 1) - conv.padding.depth
        }
        return sum
    }

    /// Multiply-adds of all convolutions.
    private var multiplyAdds: Int64 {
        var sum: Int64 = 0
        for index in 0..<file.opCount where file.op(index).kind == .conv3d {
            let conv = file.conv3D(file.op(index))
            let cell = file.tensor(Int(file.op(index).output)).cell
            sum += Int64(conv.inChannels * conv.outChannels * conv.taps) * Int64(options.size.voxels / cell.voxels)
        }
        return sum
    }

    private func report(labels: UInt32, scores: UInt32?, nanoseconds: UInt64, arena: Int) {
        Console.print("labels ")
        Console.printHex(labels)
        if let scores {
            Console.print(" scores ")
            Console.printHex(scores)
        }
        Console.print(" isa ")
        Console.print(ISA.best.name)
        Console.print(" arena ")
        Console.print(arena)
        Console.print(" plan ")
        Console.print(mkp_plan_used())
        Console.print(" stack ")
        Console.print(mkp_stack_used())
        Console.print(" busy-ns ")
        Console.print(Int64(nanoseconds))
        Console.print(" multiply-adds ")
        Console.print(multiplyAdds)
        Console.print("\n")
    }
}

/// Opens a copy of the model with one bit wrong: every bit of the first 4 KiB (header, tables, graph), then one in `stride`.
func flips(_ stride: Int) -> Status {
    let (original, arena) = unsafe (Board.flash, mkp_arena())
    guard unsafe original.count <= arena.count else { return .arenaTooSmall }
    let copy = unsafe UnsafeMutableRawBufferPointer(start: arena.start, count: original.count)
    unsafe copy.copyMemory(from: original)
    var (tried, undetected, bit) = (0, 0, 0)
    while bit < original.count * 8 {
        unsafe copy[bit / 8] ^= 1 << UInt8(bit % 8)
        tried += 1
        if (try? unsafe ModelFile(validating: UnsafeRawBufferPointer(copy))) != nil { undetected += 1 }
        unsafe copy[bit / 8] ^= 1 << UInt8(bit % 8)
        bit += bit < 4096 * 8 ? 1 : stride
    }
    Console.print("flips ")
    Console.print(tried)
    Console.print(" undetected ")
    Console.print(undetected)
    Console.print("\n")
    return undetected == 0 && tried > 0 ? .done : .modelDamaged
}

/// A checksum that a closure can set.
final class Checksum {
    var value: UInt32 = 0
}

/// Takes finished slices: adds them to the checksum, notes which came late, and keeps them where the board has a store.
final class LabelCounter: LabelSink {
    private let receiver: Receiver
    private let store: Store?
    private let origin: Int
    private let first: Int
    private let reach: Int?
    private let options: Options
    private var crc = CRC32C()
    private(set) var late = 0

    init(receiver: Receiver, store: Store?, origin: Int, first: Int, reach: Int?, options: Options) {
        self.receiver = receiver
        self.store = store
        self.origin = origin
        self.first = first
        self.reach = reach
        self.options = options
    }

    func take(_ slice: LabelSlice) -> Bool {
        let z = origin + slice.z
        // Finished before the reset, and computed again without the slices before the origin.
        guard z >= first else { return true }
        unsafe crc.update(slice.labels)
        // Due one period after the last slice that it depends on; all slices, where the network looks at the whole volume.
        let needed = min(options.size.depth - 1, z + (reach ?? options.size.depth))
        if mkp_nanoseconds() > receiver.due(needed) &+ UInt64(options.microseconds) &* 1000 { late += 1 }
        if let store {
            unsafe store.keepLabels(z, slice.labels)
            if options.fault == .reset, z == options.faultAt, first == 0 { mkp_reset() }
        }
        return true
    }

    /// Of all labels, those kept before a reset included.
    func checksum(depth: Int) -> UInt32 {
        guard let store, first > 0 else { return crc.value }
        var all = CRC32C()
        for z in 0..<depth { unsafe all.update(store.labels(of: z)) }
        return all.value
    }
}

@_cdecl("mk_program")
public func boardProgram(_ count: Int32, _ arguments: UnsafePointer<UnsafePointer<CChar>?>) -> Int32 {
    guard let options = unsafe Options(Int(count), arguments) else { return Status.usage.rawValue }
    if let stride = options.flipStride { return flips(stride).rawValue }
    let (board, status) = Board.open(options)
    guard let board else { return status.rawValue }
    return board.run().rawValue
}
