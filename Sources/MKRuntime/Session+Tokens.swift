import COps
import FlatGraph
import Ops

extension Session {
    /// The row-by-row ops of state-space and Kolmogorov-Arnold blocks.
    func runTokenRows(
        _ step: Step, _ layout: TensorLayout, _ output: UnsafeMutableRawPointer, _ rows: Range<Int>,
        input operand: (Int) -> UnsafeRawPointer
    ) {
        guard hasBlockOps else { return }
        let op = step.op
        let input = unsafe operand(0)
        let inputLayout = step.inputLayouts[0]
        switch op.kind {
        case .narrow:
            unsafe file.narrow(op).apply(
                isa: isa, affines: tablePointer(op, as: mk_affine.self), input: input, inputLayout: inputLayout,
                output: output, outputLayout: layout, rows: rows)
        case .lookupWide:
            unsafe LookupWide().run(
                isa: isa, table: file.table(op), input: input, inputLayout: inputLayout, output: output,
                outputLayout: layout, zeroPoint: file.tensor(Int(op.output)).zeroPoint, rows: rows)
        case .layerNorm:
            unsafe file.layerNorm(op).run(
                isa: isa, parameters: tablePointer(op, as: LayerNorm.Channel.self), input: input,
                inputLayout: inputLayout, output: output, outputLayout: layout, rows: rows)
        case .addWide:
            unsafe AddWide().run(
                isa: isa, a: input, layoutA: inputLayout, b: operand(1), layoutB: step.inputLayouts[1],
                output: output, outputLayout: layout, rows: rows)
        case .multiply:
            unsafe file.multiply(op).run(
                a: input, layoutA: inputLayout, b: operand(1), layoutB: step.inputLayouts[1], output: output,
                outputLayout: layout, rows: rows)
        case .sliceOrder:
            unsafe file.sliceOrder(op).run(
                isa: isa, input: input, inputLayout: inputLayout, output: output, outputLayout: layout, rows: rows)
        case .depthwise:
            unsafe file.depthwise(op).run(
                isa: isa, weights: file.weights(op), channels: file.channels(op), input: input,
                inputLayout: inputLayout, output: output, outputLayout: layout, rows: rows)
        case .tokenConv:
            unsafe file.tokenConv(op).run(
                isa: isa, weights: file.weights(op), channels: file.channels(op), input: input,
                inputLayout: inputLayout, output: output, outputLayout: layout, rows: rows)
        case .kanBasis:
            unsafe file.kanBasis(op).run(
                isa: isa, table: file.table(op), input: input, inputLayout: inputLayout, output: output,
                outputLayout: layout, rows: rows)
        case .gate:
            let buffers = unsafe Gate.Buffers(
                a: input, b: operand(1), z: operand(2),
                table: tablePointer(op, as: Int16.self), channels: file.channels(op), output: output)
            unsafe file.gate(op).run(
                isa: isa, buffers, sumLayout: inputLayout, gateLayout: step.inputLayouts[2], outputLayout: layout,
                rows: rows)
        default: preconditionFailure("not an op of this list")
        }
    }

    /// The ops between grids.
    func runGridRows(
        _ step: Step, _ layout: TensorLayout, _ output: UnsafeMutableRawPointer, _ rows: Range<Int>,
        _ view: PlaneView?, _ input: UnsafeRawPointer
    ) {
        guard hasBlockOps else { return }
        let inputLayout = step.inputLayouts[0]
        switch step.op.kind {
        case .depthToSpace:
            unsafe file.depthToSpace(step.op).run(
                isa: isa, input: input, inputLayout: inputLayout, output: output, outputLayout: layout, rows: rows,
                view: view)
        case .maxPool:
            unsafe file.maxPool(step.op).run(
                input: input, inputLayout: inputLayout, output: output, outputLayout: layout, rows: rows, view: view)
        default:
            unsafe file.resize(step.op).run(
                input: input, inputLayout: inputLayout, output: output, outputLayout: layout, rows: rows, view: view)
        }
    }

    /// Channels are independent, so threads share them; each walks the whole sequence.
    func runScan(_ index: Int, _ parallel: some WorkPool) {
        guard hasBlockOps else { return }
        let scan = file.scan(steps[index].op)
        unsafe scan.reset((arena + steps[index].scratch!).assumingMemoryBound(to: Int32.self))
        share(.scan(index), rows: scan.groups, parallel)
    }

    /// - Parameter tokens: in scan order.
    func scanGroups(_ step: Step, _ groups: Range<Int>, _ thread: Int, tokens: Range<Int>) {
        guard hasBlockOps else { return }
        let scan = file.scan(step.op)
        let state = unsafe (arena + step.scratch!).assumingMemoryBound(to: Int32.self)
        let buffers = unsafe Scan.Buffers(
            x: arena + step.inputs[0], step: arena + step.inputs[1], matrices: arena + step.inputs[2],
            table: tablePointer(step.op, as: UInt8.self), state: state, output: arena + step.output)
        let layouts = Scan.Layouts(
            x: step.inputLayouts[0], step: step.inputLayouts[1], matrices: step.inputLayouts[2],
            output: step.outputLayout)
        let chunks = unsafe arena + (step.scratch! + scan.stateBytes)
        unsafe scan.run(
            isa: isa, buffers, layouts, groups: groups, tokens: tokens,
            scratch: chunks + thread * scan.chunkBytes)
    }

    /// The validator checked size and alignment.
    private func tablePointer<T>(_ op: OpRecord, as type: T.Type) -> UnsafePointer<T> {
        unsafe UnsafeRawPointer(file.table(op)).assumingMemoryBound(to: type)
    }
}

/// Whether this build runs more than chains of convolutions. Where it does not, a file that needs more is refused when it is
/// opened, and what the guards on this constant lead to is left out.
var hasBlockOps: Bool {
    @inline(__always) get {
        #if MKEDGE_CONV_ONLY
            false
        #else
            true
        #endif
    }
}
