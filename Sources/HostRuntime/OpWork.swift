import FlatGraph
import MKRuntime
import Ops

/// What an op has to do for a voxel of its output, whoever does it how: the left side of a roofline. Instructions are products
/// and requantizations (they compete for the same units, so their times add up), bytes are those of activations read and written
/// once, or twice by an op that needs two passes.
public struct OpWork: Equatable, Sendable {
    public var multiplyAdds = 0
    /// Of 16-bit codes.
    public var isWide = false
    public var requantizations = 0
    public var scanUpdates = 0
    public var bytes = 0.0

    /// - Parameter plan: how the op runs.
    public init(_ file: ModelFile, _ plan: RunPlan, op index: Int) {
        self.init(file, plan.layouts, op: index)
        guard let read = plan.tableBytesPerVoxel(conv: index) else { return }
        // No products: rows of tables instead of what a basis would hold.
        multiplyAdds = 0
        bytes = Double(read) + Self.bytes(file, Int(file.op(index).output))
    }

    private init(_ file: ModelFile, _ layouts: [TensorLayout], op index: Int) {
        let op = file.op(index)
        let output = file.tensor(Int(op.output))
        let channels = Int(output.channels)
        let inputs = (0..<Int(op.operandCount)).map { file.operand(op, $0) }
        // Inputs by voxels of an output that may be finer or coarser, or have one for all of the volume.
        let voxels = Double(layouts[Int(op.output)].extent.voxels)
        bytes = inputs.reduce(Self.bytes(file, Int(op.output))) {
            $0 + Self.bytes(file, $1) * Double(layouts[$1].extent.voxels) / voxels
        }
        switch op.kind {
        case .conv3d:
            let conv = file.conv3D(op)
            multiplyAdds = conv.multiplyAddsPerVoxel
            isWide = conv.inputElement == .i16
            requantizations = channels
        case .depthwise, .tokenConv:
            multiplyAdds =
                channels
                * (op.kind == .depthwise ? file.depthwise(op).kernel.voxels : file.tokenConv(op).taps)
            requantizations = channels
        case .groupNorm:
            requantizations = channels
            bytes += Self.bytes(file, inputs[0])  // for the statistics
        case .layerNorm: requantizations = 2 * channels  // by the voxel's deviation, by the channel's gain
        case .narrow, .gate, .add, .multiply, .globalPool: requantizations = channels
        case .scan: scanUpdates = channels * Int(op.multiplierA)
        case .argmax: bytes = Self.bytes(file, inputs[0]) + Double(Argmax(classes: file.classCount).labelBytes)
        case .lookup, .lookupWide, .concat, .addWide, .depthToSpace, .kanBasis, .sliceOrder, .maxPool, .resize: break
        }
    }

    /// Of a voxel of tensor `index`, whole blocks.
    private static func bytes(_ file: ModelFile, _ index: Int) -> Double {
        let tensor = file.tensor(index)
        let perBlock = (tensor.element ?? .u8).channelsPerBlock
        return Double((Int(tensor.channels) + perBlock - 1) / perBlock * 4)
    }

    /// Seconds that `voxels` take one core at the least, by instructions and by bytes.
    public func seconds(
        _ voxels: Double, _ limits: MachineLimits, workingSet: Int
    ) -> (instructions: Double, bandwidth: Double) {
        let products = isWide ? limits.wideMultiplyAdds : limits.multiplyAdds
        let instructions =
            Double(multiplyAdds) / products + Double(requantizations) / limits.requantizations + Double(scanUpdates)
            / limits.scanUpdates
        return (voxels * instructions, voxels * bytes / limits.bandwidth(workingSet: workingSet))
    }
}
