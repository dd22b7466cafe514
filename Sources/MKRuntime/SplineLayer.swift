import FlatGraph
import Ops

/// How the spline basis of a Kolmogorov-Arnold layer and the convolution that reads it run. All give the same labels.
public enum SplineUse: UInt8, Sendable, CaseIterable {
    /// As two ops, for observers of tensors.
    case separate
    /// A few rows at a time, so that basis bytes stay in the cache and need no tensor.
    case fused
    /// By tables per edge (`Ops.KANEdges`) where these stay in a second-level cache and are read so often that filling it pays;
    /// else fused.
    case tablesWhereFaster
    /// By tables wherever they have 16 bits.
    case tables
}

/// A Kolmogorov-Arnold layer as one op: the basis is left out, the convolution reads what the basis read.
struct SplineLayer: Sendable {
    /// Op indices, one behind the other.
    let basis: Int
    var conv: Int { basis + 1 }
    /// Tensors: what the basis reads, and what it would write.
    let input: Int
    let skipped: Int
    /// Instead of the basis.
    var tables: KANEdges?

    /// Measured (Tools/bench): with tables of 64 to 64 channels, 2 MiB, in the second-level cache a layer takes a fifth less time with
    /// AVX-512, three fifths less with AVX2. To fetch them from beyond it takes as long as the former saves in some 8,000 voxels.
    private static let tableBytes = 2 << 20
    private static let fewestVoxels = 16384
    /// Of the basis at a time.
    private static let rowBytes = 1 << 17

    /// - Parameter tail: first op that works row by row at the end.
    static func find(_ file: ModelFile, _ layouts: [TensorLayout], _ use: SplineUse, tail: Int) -> [SplineLayer] {
        var result: [SplineLayer] = []
        guard hasBlockOps, use != .separate else { return result }
        for index in 0..<max(0, tail - 1) {
            guard var layer = SplineLayer(file, index) else { continue }
            if hasEdgeTables { layer.chooseTables(file, layouts, use) }
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
        input = file.operand(basis, 0)
        skipped = Int(basis.output)
    }

    private mutating func chooseTables(_ file: ModelFile, _ layouts: [TensorLayout], _ use: SplineUse) {
        guard use == .tables || use == .tablesWhereFaster else { return }
        let edges = KANEdges(basis: file.kanBasis(file.op(basis)), conv: file.conv3D(file.op(conv)))
        let isFaster = edges.tableBytes <= Self.tableBytes && layouts[skipped].extent.voxels >= Self.fewestVoxels
        guard use == .tables || isFaster,
            unsafe edges.fits(table: file.table(file.op(basis)), weights: file.weights(file.op(conv)))
        else { return }
        tables = edges
    }

    /// Rows of the basis that are there at a time, of one thread.
    /// - Parameter full: what the basis would write.
    static func rows(_ full: TensorLayout) -> TensorLayout {
        let count = max(1, min(full.extent.rows, rowBytes / max(1, full.blocks * full.extent.width * 4)))
        return TensorLayout(
            channels: full.channels, extent: Extent(depth: 1, height: count, width: full.extent.width),
            element: full.element)
    }
}

extension RunPlan {
    /// Number of Kolmogorov-Arnold layers that run by tables per edge.
    public var tableLayerCount: Int { splines.reduce(0) { $0 + ($1.tables == nil ? 0 : 1) } }

    /// Bytes of tables and codes that convolution `index` reads for a voxel where it stands for a layer by tables.
    public func tableBytesPerVoxel(conv index: Int) -> Int? {
        let position = spline(conv: index)
        guard position >= 0, let tables = splines[position].tables else { return nil }
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
    /// A layer as one op, resolved once.
    struct SplineStep {
        /// Op index.
        var basis: Int
        /// Of the tables, or of the rows of the first thread.
        var offset: Int
        var tables: KANEdges?
        var rows: TensorLayout
    }

    static func resolveSplines(_ plan: RunPlan) -> [SplineStep] {
        guard hasBlockOps else { return [] }
        return plan.splines.map { layer in
            let block = plan.streamedBlock(layer.conv)
            let full =
                block.map { $0.layout(plan.layouts[layer.skipped], plan.streaming!) } ?? plan.layouts[layer.skipped]
            return SplineStep(
                basis: layer.basis, offset: plan.offset(of: .spline(layer.conv)), tables: layer.tables,
                rows: SplineLayer.rows(full))
        }
    }

    /// Fills the tables of a plan that has some.
    static func buildTables(_ file: ModelFile, _ plan: RunPlan, _ arena: UnsafeMutableRawPointer) {
        guard hasEdgeTables else { return }
        for layer in plan.splines {
            unsafe layer.tables?.build(
                table: file.table(file.op(layer.basis)), weights: file.weights(file.op(layer.conv)),
                into: arena + plan.offset(of: .spline(layer.conv)))
        }
    }

    /// Rows of the output of a layer.
    @inline(never)
    func runSplineRows(
        _ step: Step, _ rows: Range<Int>, _ thread: Int, output: UnsafeMutableRawPointer,
        input: UnsafeRawPointer
    ) {
        guard hasBlockOps else { return }
        let spline = splines[step.spline]
        let (from, to) = (step.inputLayouts[0], step.outputLayout)
        if hasEdgeTables, let tables = spline.tables {
            return unsafe tables.run(
                isa: isa, memory: arena + spline.offset, channels: file.channels(step.op), input: input,
                inputLayout: from, output: output, outputLayout: to, rows: rows)
        }
        let some = spline.rows
        let basis = unsafe arena + (spline.offset + thread * BufferPlanner.aligned(some.byteCount))
        let buffers = unsafe buffers(step, input: basis, output: output)
        for first in stride(from: rows.lowerBound, to: rows.upperBound, by: some.extent.height) {
            let count = min(some.extent.height, rows.upperBound - first)
            unsafe file.kanBasis(file.op(spline.basis)).run(
                isa: isa, table: file.table(file.op(spline.basis)), input: input + first * from.rowPitch,
                inputLayout: from,
                output: basis, outputLayout: some, rows: 0..<count)
            var part = unsafe buffers
            unsafe part.output += first * to.rowPitch
            unsafe step.conv!.run(
                isa: isa, buffers: part, input: some, output: to, rows: 0..<count,
                outputExtent: Extent(depth: 1, height: count, width: to.extent.width))
        }
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
