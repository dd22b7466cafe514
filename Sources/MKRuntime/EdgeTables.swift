import FlatGraph
import Ops

/// Which Kolmogorov-Arnold layers run by tables per edge (`Ops.KANEdges`) instead of basis and convolution. The labels are the same.
public enum EdgeTableUse: UInt8, Sendable, CaseIterable {
    case never
    /// Those whose tables stay in a second-level cache and are read so often that filling it pays.
    case whereFaster
    /// All whose tables have 16 bits.
    case always
}

/// A Kolmogorov-Arnold layer by tables: the basis is left out, the convolution reads what the basis read.
struct EdgeTables: Sendable {
    /// Op indices, one behind the other.
    let basis: Int
    var conv: Int { basis + 1 }
    let op: KANEdges
    /// Tensors: what the basis reads, and what it would write.
    let input: Int
    let skipped: Int

    /// Measured (Tools/bench): with tables of 64 to 64 channels, 2 MiB, in the second-level cache a layer takes half of the time. To
    /// fetch them from beyond it takes as long as the convolution gains in one to two thousand voxels.
    private static let cacheBytes = 2 << 20
    private static let fewestVoxels = 4096

    /// - Parameter tail: first op that works row by row at the end.
    static func find(_ file: ModelFile, _ layouts: [TensorLayout], _ use: EdgeTableUse, tail: Int) -> [EdgeTables] {
        var result: [EdgeTables] = []
        guard hasEdgeTables, use != .never else { return result }
        for index in 0..<max(0, tail - 1) {
            guard let layer = EdgeTables(file, index) else { continue }
            let isFaster =
                layer.op.tableBytes <= cacheBytes && layouts[layer.skipped].extent.voxels >= fewestVoxels
            guard use == .always || isFaster,
                unsafe layer.op.fits(table: file.table(file.op(index)), weights: file.weights(file.op(index + 1)))
            else { continue }
            result.append(layer)
        }
        return result
    }

    private init?(_ file: ModelFile, _ index: Int) {
        let (basis, conv) = (file.op(index), file.op(index + 1))
        guard basis.kind == .kanBasis, conv.kind == .conv3d, file.operand(conv, 0) == Int(basis.output),
            RunPlan.lastUse(of: Int(basis.output), file) == index + 1, file.conv3D(conv).isPointwise
        else { return nil }
        self.basis = index
        op = KANEdges(basis: file.kanBasis(basis), conv: file.conv3D(conv))
        input = file.operand(basis, 0)
        skipped = Int(basis.output)
    }
}

extension RunPlan {
    /// Number of Kolmogorov-Arnold layers that run by tables per edge.
    public var edgeTableCount: Int { edges.count }

    /// Bytes of tables and codes that convolution `index` reads for a voxel where it stands for a layer by tables.
    public func edgeTableBytesPerVoxel(conv index: Int) -> Int? {
        edges(conv: index).map { $0.op.basis.channels * ($0.op.row * 2 + 1) }
    }

    /// The layer whose convolution is op `index`.
    func edges(conv index: Int) -> EdgeTables? {
        guard hasEdgeTables else { return nil }
        for layer in edges where layer.conv == index { return layer }
        return nil
    }

    /// Whether op `index` is part of another.
    func isLeftOut(_ index: Int) -> Bool {
        guard hasEdgeTables else { return false }
        for layer in edges where layer.basis == index { return true }
        return false
    }
}

extension Session {
    /// Fills the tables of a plan that has some.
    static func buildEdgeTables(_ file: ModelFile, _ plan: RunPlan, _ arena: UnsafeMutableRawPointer) {
        guard hasEdgeTables else { return }
        for layer in plan.edges {
            unsafe layer.op.build(
                table: file.table(file.op(layer.basis)), weights: file.weights(file.op(layer.conv)),
                into: arena + plan.offset(of: .edgeTables(layer.conv)))
        }
    }
}

/// Boards have no cache that holds such tables.
var hasEdgeTables: Bool {
    @inline(__always) get {
        #if hasFeature(Embedded)
            false
        #else
            true
        #endif
    }
}
