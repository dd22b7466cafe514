import CPlatform
import Ops

/// Memory that keeps its contents over a reset: the slices received and the labels finished so far. A run that finds one of its own
/// goes on where the last one ended.
final class Store {
    private struct Header {
        var magic: UInt32
        var model: UInt32
        var depth: UInt32
        var received: UInt32
        var finished: UInt32
    }
    private static let magic: UInt32 = 0x4D4B_5331

    private let header: UnsafeMutablePointer<Header>
    private let slices: UnsafeMutablePointer<UInt8>
    private let labels: UnsafeMutablePointer<UInt8>
    private let sliceBytes: Int
    private let plane: Int
    let isResumed: Bool

    /// nil where the board has none or it is too small.
    init?(_ extent: Extent, voxelBytes: Int, model: UInt32) {
        let region = unsafe mkp_store()
        plane = extent.height * extent.width
        sliceBytes = plane * voxelBytes
        guard let start = unsafe region.start, unsafe region.count >= 64 + (sliceBytes + plane) * extent.depth else {
            return nil
        }
        unsafe header = UnsafeMutableRawPointer(start).assumingMemoryBound(to: Header.self)
        unsafe slices = start + 64
        unsafe labels = start + 64 + sliceBytes * extent.depth
        let found = unsafe header.pointee
        isResumed =
            found.magic == Self.magic && found.model == model && Int(found.depth) == extent.depth
            && found.received <= found.depth && found.finished <= found.received
        if !isResumed {
            unsafe header.pointee = Header(
                magic: Self.magic, model: model, depth: UInt32(extent.depth), received: 0, finished: 0)
        }
    }

    var received: Int { unsafe Int(header.pointee.received) }
    var finished: Int { unsafe Int(header.pointee.finished) }

    /// The count follows the contents, so that a reset in between loses a slice and never keeps half of one.
    func keepSlice(_ slice: Int, _ bytes: UnsafePointer<UInt8>) {
        unsafe (slices + slice * sliceBytes).update(from: bytes, count: sliceBytes)
        unsafe header.pointee.received = UInt32(slice + 1)
    }

    func readSlice(_ slice: Int, into bytes: UnsafeMutablePointer<UInt8>) {
        unsafe bytes.update(from: slices + slice * sliceBytes, count: sliceBytes)
    }

    func keepLabels(_ slice: Int, _ bytes: UnsafeRawBufferPointer) {
        unsafe UnsafeMutableRawPointer(labels + slice * plane).copyMemory(
            from: bytes.baseAddress!, byteCount: bytes.count)
        unsafe header.pointee.finished = UInt32(slice + 1)
    }

    func labels(of slice: Int) -> UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: labels + slice * plane, count: plane)
    }

    /// So that the next run starts anew.
    func clear() { unsafe header.pointee.magic = 0 }
}
