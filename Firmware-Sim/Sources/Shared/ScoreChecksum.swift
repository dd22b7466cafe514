import FixedPoint
import Ops

/// CRC-32C over the words of a tensor in the order block, slice, row: what stands between rows does not count.
func checksum(of tensor: UnsafeRawPointer, _ layout: TensorLayout) -> UInt32 {
    var crc = CRC32C()
    for block in 0..<layout.blocks {
        for row in 0..<layout.extent.rows {
            let words = unsafe tensor + layout.rowOffset(block: block, z: 0, y: row)
            unsafe crc.update(UnsafeRawBufferPointer(start: words, count: layout.extent.width * 4))
        }
    }
    return crc.value
}
