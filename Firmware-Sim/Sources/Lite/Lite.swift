import CPlatform
import FixedPoint
import FlatGraph
import MKRuntime
import Ops

/// `mkrun-lite`: the runtime as one static program without a Swift runtime, Foundation or threads.
///
///     mkrun-lite MODEL INPUT [-o LABELS] [--size W,H,D] [--isa NAME] [--mode whole|lines|windows|tiles]
///
/// INPUT holds the network's input codes, one byte each, as uncompressed NIfTI-1 (channels along the fourth axis) or raw
/// `[channel][depth][height][width]` with `--size`; those of 16 bits only raw, low byte first. LABELS gets the label values, in a copy of the NIfTI header or raw.
/// Exit statuses are those of mkrun.
struct Lite {
    enum Mode { case whole, lines, windows, tiles }

    var model: Argument?
    var input: Argument?
    var output: Argument?
    var size: Extent?
    var isa = ISA.best
    var mode = ExecutionMode.whole

    @unsafe init?(_ count: Int, _ arguments: UnsafePointer<UnsafePointer<CChar>?>) {
        var index = 1
        while index < count, let text = unsafe arguments[index] {
            let argument = unsafe Argument(text)
            let value: Argument? =
                if index + 1 < count, let next = unsafe arguments[index + 1] { unsafe Argument(next) } else { nil }
            index += 1
            switch (argument, value) {
            case (let a, let value?) where a == "-o": output = value
            case (let a, let value?) where a == "--size":
                guard let n = value.numbers(3, separator: 44) else { return nil }
                size = Extent(depth: n.2, height: n.1, width: n.0)
            case (let a, let value?) where a == "--isa":
                guard let found = ISA.allCases.first(where: { value == $0.name }), found.isSupported else {
                    return nil
                }
                isa = found
            case (let a, let value?) where a == "--mode":
                guard let found = Self.modes.first(where: { value == $0.0 }) else { return nil }
                mode = found.1
            default:
                if model == nil { model = argument } else if input == nil { input = argument } else { return nil }
                continue
            }
            index += 1
        }
        guard model != nil, input != nil else { return nil }
    }

    private static var modes: [(StaticString, ExecutionMode)] {
        [("whole", .whole), ("lines", .lines), ("windows", .windows), ("tiles", .tiles)]
    }

    func run() -> Int32 {
        guard let bytes = unsafe Self.map(model!) else { return Self.fail(3, "the model cannot be read") }
        let file: ModelFile
        do throws(ModelFileError) {
            file = try unsafe ModelFile(validating: bytes)
        } catch {
            Console.print("reason ")
            Console.print(Int(error.reason.rawValue))
            return Self.fail(6, ": the model is refused")
        }
        guard let data = unsafe Self.map(input!) else { return Self.fail(3, "the input cannot be read") }
        let channels = Int(file.tensor(Int(file.record.inputTensor)).channels)
        guard let image = unsafe Image(data, size: size, isNIfTI: input!.hasSuffix(".nii")) else {
            return Self.fail(4, "the input is neither a NIfTI-1 file of bytes nor raw with --size")
        }
        guard image.voxelBytes == channels * file.codeBytes, file.codeBytes == 1 || image.header.isEmpty else {
            return Self.fail(5, "the model needs another number of channels")
        }
        do throws(RuntimeError) {
            return try segment(file, image)
        } catch {
            Console.print("reason ")
            Console.print(Int(error.reason.rawValue))
            return Self.fail(7, ": the run is refused")
        }
    }

    private func segment(_ file: ModelFile, _ image: Image) throws(RuntimeError) -> Int32 {
        // Scores exist as a whole only where a mode keeps them.
        let plan = try RunPlan(
            file: file, volume: image.extent, mode: mode, threads: 1, materializeScores: mode == .whole,
            fusion: .rows)
        let count = image.extent.voxels * (file.classCount > 256 ? 2 : 1)
        guard let arena = unsafe mkp_reserve(plan.arenaBytes), let labels = unsafe mkp_reserve(count) else {
            throw RuntimeError(.arenaTooSmall, need: plan.arenaBytes)
        }
        let session = try unsafe Session(
            file: file, plan: plan, arena: UnsafeMutableRawBufferPointer(start: arena, count: plan.arenaBytes), isa: isa
        )
        var scores: UInt32?
        let last = file.opCount - 2
        let observer: OpObserver = { op, layout, tensor in
            if op == last { scores = unsafe checksum(of: tensor, layout) }
        }
        let buffer = unsafe UnsafeMutableRawBufferPointer(start: labels, count: count)
        unsafe try session.run(
            codes: image.codes, labels: buffer, parallel: SerialPool(), observer: mode == .whole ? observer : nil)
        Console.print("labels ")
        Console.printHex(unsafe CRC32C.checksum(UnsafeRawBufferPointer(buffer)))
        Console.print(" scores ")
        if let scores { Console.printHex(scores) } else { Console.print("-       ") }
        Console.print(" arena ")
        Console.print(plan.arenaBytes)
        Console.print(" ")
        Console.print(isa.name)
        Console.print("\n")
        guard let output else { return 0 }
        guard unsafe save(file, image, buffer, output) else { return Self.fail(8, "the labels cannot be written") }
        return 0
    }

    /// Class indices become the model's label values.
    private func save(
        _ file: ModelFile, _ image: Image, _ labels: UnsafeMutableRawBufferPointer, _ path: Argument
    ) -> Bool {
        var largest: UInt16 = 0
        for index in 0..<file.classCount { largest = max(largest, file.label(index).value) }
        let bytes = largest > 255 ? 2 : 1
        let header = image.header.count
        let voxels = image.extent.voxels
        let size = header + voxels * bytes
        guard let result = unsafe mkp_reserve(size) else { return false }
        if header > 0 {
            unsafe result.copyMemory(from: image.header.baseAddress!, byteCount: header)
            Image.describeLabels(unsafe UnsafeMutableRawBufferPointer(start: result, count: header), bytes: bytes)
        }
        for i in 0..<voxels {
            let index =
                file.classCount > 256
                ? unsafe Int(labels.load(fromByteOffset: 2 * i, as: UInt16.self)) : unsafe Int(labels[i])
            let value = file.label(index).value
            if bytes == 2 {
                unsafe result.storeBytes(of: value.littleEndian, toByteOffset: header + 2 * i, as: UInt16.self)
            } else {
                unsafe result.storeBytes(of: UInt8(value), toByteOffset: header + i, as: UInt8.self)
            }
        }
        return unsafe mkp_save(path.pointer, result, size)
    }

    private static func map(_ path: Argument) -> UnsafeRawBufferPointer? {
        var count = 0
        guard let bytes = unsafe mkp_map(path.pointer, &count) else { return nil }
        return unsafe UnsafeRawBufferPointer(start: bytes, count: count)
    }

    private static func fail(_ status: Int32, _ text: StaticString) -> Int32 {
        Console.print(text)
        Console.print("\n")
        return status
    }
}

@_cdecl("mk_program")
public func liteProgram(_ count: Int32, _ arguments: UnsafePointer<UnsafePointer<CChar>?>) -> Int32 {
    guard let program = unsafe Lite(Int(count), arguments) else {
        Console.print("usage: mkrun-lite MODEL INPUT [-o LABELS] [--size W,H,D] [--isa NAME] [--mode NAME]\n")
        return 2
    }
    return program.run()
}
