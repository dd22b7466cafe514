import Ops

/// What a tensor is filled with: anything, or what saturates.
public enum Noise: CaseIterable, Sendable {
    case uniform, extreme, lowest, highest
}

/// A blocked tensor in memory of its own with guard bytes on both sides: a kernel that writes outside is seen.
public final class TestTensor {
    public static let guardByte: UInt8 = 0xA5
    public static let guardBytes = 256
    public let layout: TensorLayout
    private let storage: UnsafeMutableRawBufferPointer

    public init(_ layout: TensorLayout, zeroPoint: UInt8) {
        self.layout = layout
        storage = .allocate(byteCount: layout.byteCount + 2 * Self.guardBytes, alignment: 64)
        storage.initializeMemory(as: UInt8.self, repeating: Self.guardByte)
        for i in 0..<layout.byteCount { base.storeBytes(of: zeroPoint, toByteOffset: i, as: UInt8.self) }
    }

    deinit { storage.deallocate() }

    public var base: UnsafeMutableRawPointer { storage.baseAddress! + Self.guardBytes }

    public var guardsIntact: Bool {
        storage.prefix(Self.guardBytes).allSatisfy { $0 == Self.guardByte }
            && storage.suffix(Self.guardBytes).allSatisfy { $0 == Self.guardByte }
    }

    private func offset(_ c: Int, _ z: Int, _ y: Int, _ x: Int) -> Int {
        let n = layout.element.channelsPerBlock
        return layout.rowOffset(block: c / n, z: z, y: y) + x * 4 + (c % n) * (4 / n)
    }

    public subscript(c: Int, z: Int, y: Int, x: Int) -> Int {
        get {
            let o = offset(c, z, y, x)
            return layout.element == .u8
                ? Int(base.load(fromByteOffset: o, as: UInt8.self)) : Int(base.load(fromByteOffset: o, as: Int16.self))
        }
        set {
            let o = offset(c, z, y, x)
            if layout.element == .u8 {
                base.storeBytes(of: UInt8(newValue), toByteOffset: o, as: UInt8.self)
            } else {
                base.storeBytes(of: Int16(newValue), toByteOffset: o, as: Int16.self)
            }
        }
    }

    /// Fills the existing channels with random codes and leaves the padding at the zero point.
    public func randomize(_ generator: inout SplitMix64) {
        for c in 0..<layout.channels {
            for z in 0..<layout.extent.depth {
                for y in 0..<layout.extent.height {
                    for x in 0..<layout.extent.width {
                        self[c, z, y, x] =
                            layout.element == .u8
                            ? Int.random(in: 0...255, using: &generator)
                            : Int.random(in: -32768...32767, using: &generator)
                    }
                }
            }
        }
    }

    /// Fills everything, gaps, absent channels and slack included: a kernel may not depend on those.
    public func fill(_ noise: Noise, _ generator: inout SplitMix64) {
        for i in 0..<(layout.byteCount / 2) {
            let random = UInt16.random(in: 0...0xFFFF, using: &generator)
            let value: UInt16 =
                switch noise {
                case .uniform: random
                case .extreme: [0x0000, 0xFFFF, 0x8000, 0x7FFF, 0x00FF, 0xFF00][Int(random) % 6]
                case .lowest: layout.element == .u8 ? 0 : 0x8000
                case .highest: layout.element == .u8 ? 0xFFFF : 0x7FFF
                }
            base.storeBytes(of: value, toByteOffset: 2 * i, as: UInt16.self)
        }
    }

    /// The slack and the alignment bytes between blocks, which nobody writes.
    public var unusedBytes: [UInt8] {
        let used = layout.padX * 4 + layout.extent.rows * layout.rowPitch
        var result: [UInt8] = []
        for block in 0..<layout.blocks {
            let end = block < layout.blocks - 1 ? layout.blockStride : layout.byteCount - block * layout.blockStride
            result += UnsafeRawBufferPointer(start: base + block * layout.blockStride + used, count: end - used)
        }
        return result
    }

    /// All bytes of the tensor but the slack and the alignment bytes between blocks.
    public var bytes: [UInt8] {
        var result: [UInt8] = []
        let used = layout.padX * 4 + layout.extent.rows * layout.rowPitch
        for block in 0..<layout.blocks {
            result += UnsafeRawBufferPointer(start: base + block * layout.blockStride, count: used)
        }
        return result
    }
}

public func forEachVoxel(_ layout: TensorLayout, _ body: (Int, Int, Int, Int) -> Void) {
    for c in 0..<layout.channels {
        for z in 0..<layout.extent.depth {
            for y in 0..<layout.extent.height {
                for x in 0..<layout.extent.width { body(c, z, y, x) }
            }
        }
    }
}
