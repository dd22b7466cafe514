import CPlatform
import FixedPoint
import MKRuntime
import Ops

/// The simulated scanner: sends a slice (all channels) every period, each with its number and checksum, and whatever fault the
/// run is about.
struct Scanner {
    let codes: UnsafePointer<UInt8>
    let extent: Extent
    let channels: Int
    /// Of a row of one channel.
    let rowBytes: Int
    let period: UInt64
    let options: Options
    private var sent = 0
    private var start: UInt64

    @unsafe init(codes: UnsafePointer<UInt8>, channels: Int, codeBytes: Int, options: Options, first: Int) {
        unsafe self.codes = codes
        self.channels = channels
        self.options = options
        extent = options.size
        rowBytes = options.size.width * codeBytes
        period = UInt64(options.microseconds) * 1000
        sent = first
        start = mkp_nanoseconds() &- UInt64(first) &* period
    }

    struct Packet {
        var slice: Int
        var checksum: UInt32
        /// When it is there, in nanoseconds.
        var time: UInt64
    }

    /// Of a slice in all channels.
    var sliceBytes: Int { extent.height * rowBytes * channels }

    /// When slice `slice` is there if all goes well.
    func due(_ slice: Int) -> UInt64 { start &+ UInt64(slice + 1) &* period }

    /// Copies the next slice into `buffer`, `[channel][height][width]`.
    mutating func next(into buffer: UnsafeMutablePointer<UInt8>) -> Packet {
        let order = sent
        sent += 1
        let at = options.faultAt
        var slice = order
        var time = due(order)
        switch options.fault {
        case .drop where order >= at: slice += 1
        case .repeated where order >= at: slice -= 1
        case .reorder where order == at: slice += 1
        case .reorder where order == at + 1: slice -= 1
        case .stall where order == at: time &+= 1000 &* period
        default: break
        }
        let plane = extent.height * rowBytes
        for channel in 0..<channels {
            let source = (channel * extent.depth + min(slice, extent.depth - 1)) * plane
            unsafe (buffer + channel * plane).update(from: codes + source, count: plane)
        }
        let checksum = unsafe CRC32C.checksum(UnsafeRawBufferPointer(start: buffer, count: channels * plane))
        if options.fault == .damage, order == at { unsafe buffer[plane / 2] ^= 4 }
        return Packet(slice: slice, checksum: checksum, time: time)
    }
}

/// The board's end of the line: takes slices in order, checks each before it is used, keeps them where the board has a store.
final class Receiver: CodeSource {
    private var scanner: Scanner
    private let buffer: UnsafeMutablePointer<UInt8>
    private let spare: UnsafeMutablePointer<UInt8>
    private let store: Store?
    /// First slice of the volume that the run is about.
    private let origin: Int
    private var held = -1
    private(set) var fault: Status?
    private(set) var idle: UInt64 = 0

    /// - Parameter buffer: two slices of all channels.
    @unsafe init(_ scanner: Scanner, buffer: UnsafeMutablePointer<UInt8>, store: Store?, origin: Int) {
        self.scanner = scanner
        unsafe self.buffer = buffer
        unsafe spare = buffer + scanner.sliceBytes
        self.store = store
        self.origin = origin
    }

    func due(_ slice: Int) -> UInt64 { scanner.due(slice) }

    func read(channel: Int, z: Int, rows: Range<Int>, into target: UnsafeMutablePointer<UInt8>) -> Bool {
        let slice = origin + z
        if held != slice { guard hold(slice) else { return false } }
        let pitch = scanner.rowBytes
        let first = (channel * scanner.extent.height + rows.lowerBound) * pitch
        unsafe target.update(from: buffer + first, count: rows.count * pitch)
        return true
    }

    private func hold(_ slice: Int) -> Bool {
        if let store, slice < store.received {
            unsafe store.readSlice(slice, into: buffer)
            held = slice
            return true
        }
        guard receive(slice) else { return false }
        held = slice
        if let store { unsafe store.keepSlice(slice, buffer) }
        return true
    }

    /// Waits for a slice and checks number and contents.
    private func receive(_ slice: Int) -> Bool {
        let asked = mkp_nanoseconds()
        let packet = unsafe scanner.next(into: buffer)
        let limit = asked &+ 4 &* scanner.period
        while mkp_nanoseconds() < packet.time {
            if mkp_nanoseconds() > limit, packet.time > limit { return stop(.scannerStalled) }
            mkp_pause()
        }
        if packet.time > asked { idle &+= packet.time &- asked }
        // One slice may wait; a second one would overwrite it.
        if asked > packet.time &+ 2 &* scanner.period { return stop(.scannerOverrun) }
        let found = unsafe CRC32C.checksum(UnsafeRawBufferPointer(start: buffer, count: scanner.sliceBytes))
        if found != packet.checksum { return stop(.scannerDamaged) }
        if packet.slice == slice { return true }
        if packet.slice < slice { return stop(.scannerRepeated) }
        // Ahead of its turn: the next one tells whether the missing slice is only late.
        let next = unsafe scanner.next(into: spare)
        return stop(next.slice == slice ? .scannerReordered : .scannerDropped)
    }

    private func stop(_ status: Status) -> Bool {
        fault = status
        return false
    }
}
