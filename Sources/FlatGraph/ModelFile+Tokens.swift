import FixedPoint
import Ops

/// The ops of state-space and Kolmogorov-Arnold blocks, from validated records.
extension ModelFile {
    /// A change of scale is the last step of a normalization alone.
    public func narrow(_ op: OpRecord) -> Norm {
        let output = tensor(Int(op.output))
        return Norm(
            channels: Int(output.channels), groups: 1, outputElement: .u8, zeroPoint: output.zeroPoint)
    }

    public func layerNorm(_ op: OpRecord) -> LayerNorm {
        let output = tensor(Int(op.output))
        return LayerNorm(channels: Int(output.channels), epsilon: op.multiplierB, zeroPoint: output.zeroPoint)
    }

    public func depthToSpace(_ op: OpRecord) -> DepthToSpace {
        let output = tensor(Int(op.output))
        return DepthToSpace(channels: Int(output.channels), factor: op.factor, zeroPoint: output.zeroPoint)
    }

    public func sliceOrder(_ op: OpRecord) -> SliceOrder {
        SliceOrder(isInverse: op.mode == 1, zeroPoint: tensor(Int(op.output)).zeroPoint)
    }

    public func multiply(_ op: OpRecord) -> Multiply {
        Multiply(
            requantizer: Requantizer(multiplier: Int32(op.multiplierA), shift: op.shift),
            zeroPointA: tensor(operand(op, 0)).zeroPoint, zeroPointB: tensor(operand(op, 1)).zeroPoint,
            zeroPointOut: tensor(Int(op.output)).zeroPoint, spanB: spread(op, 1))
    }

    /// What a voxel of operand `index` stands for in the output: itself, or all of a slice or of the volume.
    public func spread(_ op: OpRecord, _ index: Int) -> VoxelSpan {
        let span = tensor(operand(op, index)).span
        return span == tensor(Int(op.output)).span ? .voxel : span
    }

    public func globalPool(_ op: OpRecord) -> GlobalPool {
        let (input, output) = (tensor(operand(op, 0)), tensor(Int(op.output)))
        return GlobalPool(
            channels: Int(output.channels), inputElement: input.element ?? .u8, inputZeroPoint: input.zeroPoint,
            outputElement: output.element ?? .u8, outputZeroPoint: output.zeroPoint,
            isPerSlice: output.span == .slice)
    }

    public func maxPool(_ op: OpRecord) -> MaxPool {
        MaxPool(factor: op.factor, overlaps: op.mode & 1 == 1, zeroPoint: tensor(Int(op.output)).zeroPoint)
    }

    public func resize(_ op: OpRecord) -> Resize {
        Resize(factor: op.factor, isLinear: op.mode & 1 == 1, zeroPoint: tensor(Int(op.output)).zeroPoint)
    }

    public func depthwise(_ op: OpRecord) -> Depthwise {
        let output = tensor(Int(op.output))
        return Depthwise(
            channels: Int(output.channels), kernel: Extent(op.kernel),
            inputZeroPoint: tensor(operand(op, 0)).zeroPoint, outputZeroPoint: output.zeroPoint,
            outputElement: output.element ?? .u8, isRectified: op.mode == 1)
    }

    public func tokenConv(_ op: OpRecord) -> TokenConv {
        let output = tensor(Int(op.output))
        return TokenConv(
            channels: Int(output.channels), taps: Int(op.kernel.2), isReversed: op.mode == 1,
            inputZeroPoint: tensor(operand(op, 0)).zeroPoint, outputZeroPoint: output.zeroPoint,
            outputElement: output.element ?? .u8)
    }

    public func kanBasis(_ op: OpRecord) -> KANBasis {
        KANBasis(channels: Int(tensor(operand(op, 0)).channels), outputs: Int(op.multiplierA))
    }

    public func scan(_ op: OpRecord) -> Scan {
        Scan(
            channels: Int(tensor(Int(op.output)).channels), states: Int(op.multiplierA), isReversed: op.mode == 1,
            inputZeroPoint: tensor(operand(op, 0)).zeroPoint)
    }

    public func gate(_ op: OpRecord) -> Gate {
        let output = tensor(Int(op.output))
        return Gate(channels: Int(output.channels), zeroPoint: output.zeroPoint)
    }
}
