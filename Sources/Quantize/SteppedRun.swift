import FlatGraph
import GraphIR
import MKRuntime
import Ops

/// The integer network on one input, stopped between two ops.
@safe final class SteppedRun {
    private let network: IntegerNetwork
    private let session: Session
    private let arena: UnsafeMutableRawBufferPointer
    var stepCount: Int { session.stepCount }

    /// - Parameter materializeScores: the op before the argmax is a step like the others.
    init(_ network: IntegerNetwork, _ input: FloatTensor, materializeScores: Bool = false) throws(RuntimeError) {
        self.network = network
        let plan = try RunPlan(
            file: network.file, volume: Extent(input.size), mode: .whole, threads: network.pool.threads,
            materializeScores: materializeScores)
        unsafe arena = .allocate(byteCount: plan.arenaBytes, alignment: 64)
        session = try unsafe Session(file: network.file, plan: plan, arena: arena, isa: ISA.best)
        let codes = network.codes(input)
        var failure: RuntimeError?
        unsafe codes.withUnsafeBufferPointer { codes in
            do throws(RuntimeError) { unsafe try session.load(codes: codes) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    deinit { unsafe arena.deallocate() }

    func step(_ op: Int) throws(RuntimeError) { try session.step(op, parallel: network.pool) }

    /// What an op is about to read.
    func operand(of op: Int) -> TensorView {
        let file = network.file
        let (layout, base) = unsafe session.operand(of: op)
        return unsafe TensorView(
            file: file, record: file.tensor(file.operand(file.op(op), 0)), layout: layout, base: base)
    }

    /// What an op has just written.
    func output(of op: Int) -> TensorView {
        let file = network.file
        let (layout, base) = unsafe session.output(of: op)
        return unsafe TensorView(
            file: file, record: file.tensor(Int(file.op(op).output)), layout: layout, base: base)
    }
}
