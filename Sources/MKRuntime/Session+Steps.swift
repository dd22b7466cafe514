import FlatGraph
import Ops

/// For a converter that looks at a whole-volume run between two ops, and may change the weights of what comes later.
extension Session {
    /// Ops that can be run one by one: all but the tail, which makes labels row by row.
    public var stepCount: Int { plan.tail }

    /// Fills the input tensor: codes `[channel][depth][height][width]` of the plan's volume, as `run(codes:)` takes them.
    public func load(codes: UnsafeBufferPointer<UInt8>) throws(RuntimeError) {
        precondition(plan.mode == .whole && plan.streaming == nil, "not a plan whose tensors exist whole")
        let channels = Int(file.tensor(Int(file.record.inputTensor)).channels)
        let source = unsafe CodeVolume(
            codes, extent: plan.volume, channels: channels, codeBytes: file.codeBytes)
        try loadInput(source, origin: (0, 0, 0))
    }

    /// Runs one op. Those before it have run.
    public func step(_ op: Int, parallel: some WorkPool) throws(RuntimeError) {
        unsafe try runOp(op, parallel, nil)
    }

    /// Layout and first byte of the first operand of op `op`: there from the op that writes it until `op` has run.
    public func operand(of op: Int) -> (layout: TensorLayout, base: UnsafeRawPointer) {
        unsafe (steps[op].inputLayouts[0], UnsafeRawPointer(arena + steps[op].inputs[0]))
    }

    /// Layout and first byte of what op `op` has written, until the next op runs.
    public func output(of op: Int) -> (layout: TensorLayout, base: UnsafeRawPointer) {
        unsafe (steps[op].outputLayout, UnsafeRawPointer(arena + steps[op].output))
    }
}
