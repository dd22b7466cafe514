/// A number type in which voxels are kept in memory.
protocol VoxelScalar: BitwiseCopyable, Comparable, Sendable {
    static var zero: Self { get }
    /// Exact: every stored type fits a double.
    var real: Double { get }
    /// Width of `orderKey` in bits.
    static var keyBits: Int { get }
    /// An unsigned integer that orders like the value (-0 just before 0).
    var orderKey: UInt64 { get }
    static func fromKey(_ key: UInt64) -> Self
    /// False for NaN and the infinities.
    var isUsable: Bool { get }
}

extension VoxelScalar where Self: FixedWidthInteger {
    @inline(__always) var real: Double { Double(self) }
    static var keyBits: Int { bitWidth }
    // Moving the range to start at 0 keeps the order.
    @inline(__always) var orderKey: UInt64 { UInt64(truncatingIfNeeded: Int64(self) &- Int64(Self.min)) }
    @inline(__always) static func fromKey(_ key: UInt64) -> Self {
        Self(truncatingIfNeeded: Int64(truncatingIfNeeded: key) &+ Int64(Self.min))
    }
    @inline(__always) var isUsable: Bool { true }
}

extension UInt8: VoxelScalar {}
extension Int8: VoxelScalar {}
extension UInt16: VoxelScalar {}
extension Int16: VoxelScalar {}
extension UInt32: VoxelScalar {}
extension Int32: VoxelScalar {}

// A negative float orders by its inverted bits, a positive one by its bits above all negative ones.
extension Float: VoxelScalar {
    @inline(__always) var real: Double { Double(self) }
    static var keyBits: Int { 32 }
    @inline(__always) var orderKey: UInt64 {
        let bits = bitPattern
        return UInt64(bits >> 31 == 1 ? ~bits : bits | 0x8000_0000)
    }
    @inline(__always) static func fromKey(_ key: UInt64) -> Float {
        let bits = UInt32(truncatingIfNeeded: key)
        return Float(bitPattern: bits >> 31 == 1 ? bits & 0x7fff_ffff : ~bits)
    }
    @inline(__always) var isUsable: Bool { isFinite }
}

extension Double: VoxelScalar {
    @inline(__always) var real: Double { self }
    static var keyBits: Int { 64 }
    @inline(__always) var orderKey: UInt64 {
        bitPattern >> 63 == 1 ? ~bitPattern : bitPattern | 0x8000_0000_0000_0000
    }
    @inline(__always) static func fromKey(_ key: UInt64) -> Double {
        Double(bitPattern: key >> 63 == 1 ? key & 0x7fff_ffff_ffff_ffff : ~key)
    }
    @inline(__always) var isUsable: Bool { isFinite }
}

/// The voxels of one volume in the type they are stored in; 64-bit integers are kept in 32 bits.
enum VoxelArray: Sendable {
    case uint8([UInt8])
    case int8([Int8])
    case uint16([UInt16])
    case int16([Int16])
    case uint32([UInt32])
    case int32([Int32])
    case float32([Float])
    case float64([Double])
}

/// Work over all voxels of one type. The type is looked up once per call, not per voxel.
protocol VoxelVisitor {
    associatedtype Result
    mutating func visit<T: VoxelScalar>(_ voxels: [T]) -> Result
}

extension VoxelArray {
    @inline(__always)
    func apply<V: VoxelVisitor>(_ visitor: inout V) -> V.Result {
        switch self {
        case .uint8(let voxels): visitor.visit(voxels)
        case .int8(let voxels): visitor.visit(voxels)
        case .uint16(let voxels): visitor.visit(voxels)
        case .int16(let voxels): visitor.visit(voxels)
        case .uint32(let voxels): visitor.visit(voxels)
        case .int32(let voxels): visitor.visit(voxels)
        case .float32(let voxels): visitor.visit(voxels)
        case .float64(let voxels): visitor.visit(voxels)
        }
    }
}
