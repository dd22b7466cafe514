import FlatGraph
import Ops

/// A Kolmogorov-Arnold layer as one op, by tables per edge: the basis is left out, the convolution reads what the basis read.
struct SplineLayer: Sendable {
    /// Op indices, one behind the other.
    let basis: Int
    var conv: Int { basis + 1 }
    /// Tensor that the basis reads.
    let input: Int
    let tables: KANEdges

    /// Measured (Tools/bench): with tables of 64 to 64 channels, 2 MiB, in the second-level cache a layer takes a fifth less time with
    /// AVX-512, three fifths less with AVX2. To fetch them from beyond it takes as long as the former saves in some 8,000 voxels.
    private static let tableBytes = 2 << 20
    private static let fewestVoxels = 16384

    /// - Parameter tail: first op that works row by row at the end.
    static func find(_ file: ModelFile, _ layouts: [TensorLayout], _ fusion: Fusion, tail: Int) -> [SplineLayer] {
        var result: [SplineLayer] = []
        guard hasBlockOps, hasEdgeTables, fusion == .tables || fusion == .tablesWhereFaster else { return result }
        for index in 0..<max(0, tail - 1) {
            if let layer = SplineLayer(file, index, layouts, fusion) { result.append(layer) }
        }
        return result
    }

    /// The layer that op `index` begins, where it is to run by tables and these have 16 bits.
    private init?(_ file: ModelFile, _ index: Int, _ layouts: [TensorLayout], _ fusion: Fusion) {
        let (basis, conv) = (file.op(index), file.op(index + 1))
        guard basis.kind == .kanBasis, conv.kind == .conv3d, file.operand(conv, 0) == Int(basis.output),
            RunPlan.lastUse(of: Int(basis.output), file) == index + 1, file.conv3D(conv).isPointwise
        else { return nil }
        let tables = KANEdges(basis: file.kanBasis(basis), conv: file.conv3D(conv))
        let isFaster =
            tables.tableBytes <= Self.tableBytes && layouts[Int(basis.output)].extent.voxels >= Self.fewestVoxels
        // Every plan that is tried asks, and this takes a while.
        guard fusion == .tables || isFaster, unsafe tables.fits(table: file.table(basis), weights: file.weights(conv))
        else { return nil }
        self.basis = index
        self.tables = tables
        input = file.operand(basis, 0)
    }
}

extension RunPlan {
    /// Number of Kolmogorov-Arnold layers that run by tables per edge.
    public var tableLayerCount: Int { splines.count }

    /// Bytes of tables and codes that convolution `index` reads for a voxel where it stands for a layer by tables.
    public func tableBytesPerVoxel(conv index: Int) -> Int? {
        let position = spline(conv: index)
        guard position >= 0 else { return nil }
        let tables = splines[position].tables
        return tables.basis.channels * (tables.row * 2 + 1)
    }

    /// Position in `splines` of the layer whose convolution is op `index`, or -1.
    func spline(conv index: Int) -> Int {
        guard hasBlockOps else { return -1 }
        for position in splines.indices where splines[position].conv == index { return position }
        return -1
    }

    /// Whether op `index` is part of another.
    func isLeftOut(_ index: Int) -> Bool {
        guard hasBlockOps else { return false }
        for layer in splines where layer.basis == index { return true }
        return false
    }
}

extension Session {
    /// Fills the tables of a plan that has some.
    static func buildTables(_ file: ModelFile, _ plan: RunPlan, _ arena: UnsafeMutableRawPointer) {
        guard hasEdgeTables else { return }
        for layer in plan.splines {
            unsafe layer.tables.build(
                table: file.table(file.op(layer.basis)), weights: file.weights(file.op(layer.conv)),
                into: arena + plan.offset(of: .spline(layer.conv)))
        }
    }

    /// Rows of the output of a layer.
    @inline(never)
    func runSplineRows(_ step: Step, _ rows: Range<Int>, output: UnsafeMutableRawPointer, input: UnsafeRawPointer) {
        guard hasBlockOps, hasEdgeTables else { return }
        let layer = plan.splines[step.spline]
        unsafe layer.tables.run(
            isa: isa, memory: arena + step.scratch!, channels: file.channels(step.op), input: input,
            inputLayout: step.inputLayouts[0], output: output, outputLayout: step.outputLayout, rows: rows)
    }
}

/// Boards have no cache that holds tables.
var hasEdgeTables: Bool {
    @inline(__always) get {
        #if hasFeature(Embedded)
            false
        #else
            true
        #endif
    }
}
