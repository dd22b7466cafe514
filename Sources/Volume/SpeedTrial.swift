import FlatGraph
import HostRuntime
import MKRuntime
import Ops

/// How long a network takes here: one short run on made-up codes, for the estimates of a plan.
public struct SpeedTrial {
    /// Seconds per voxel of the network's input when its layers stay in the cache.
    public let secondsPerVoxel: Double

    /// Runs the network once to warm up and once on the clock, over one window or a small cube: up to about a second.
    /// - Returns: nil when the network cannot run on either.
    public init?(_ model: MappedModel, isa: ISA, pool: ThreadPool) {
        let file = model.file
        let record = file.record
        let usesWindow = RunPlan.isGlobal(file) && record.windowScheme != .none
        let extent =
            usesWindow
            ? Extent(depth: Int(record.patch.2), height: Int(record.patch.1), width: Int(record.patch.0))
            : Extent(depth: 64, height: 64, width: 64)
        let channels = Int(file.tensor(Int(record.inputTensor)).channels)
        guard let plan = try? RunPlan(file: file, volume: extent, mode: .whole, threads: pool.threads, fusion: .rows),
            let arena = Arena(byteCount: plan.arenaBytes),
            let session = try? unsafe Session(file: file, plan: plan, arena: arena.bytes, isa: isa)
        else { return nil }
        let codes = (0..<(extent.voxels * channels * file.codeBytes)).map {
            UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 12)
        }
        var labels = [UInt8](
            repeating: 0, count: extent.voxels * Argmax(classes: file.classCount).labelBytes)
        func run() -> Bool {
            unsafe codes.withUnsafeBufferPointer { codes in
                unsafe labels.withUnsafeMutableBytes { labels in
                    (try? unsafe session.run(codes: codes, labels: labels, parallel: pool)) != nil
                }
            }
        }
        guard run() else { return nil }
        let start = ContinuousClock.now
        guard run() else { return nil }
        let taken = ContinuousClock.now - start
        secondsPerVoxel =
            (Double(taken.components.seconds) + Double(taken.components.attoseconds) * 1e-18) / Double(extent.voxels)
    }

    /// Estimated seconds of a plan. The factors are those of `SegmentationPlan.cost`, with a run inside the cache as the unit.
    public func seconds(_ plan: SegmentationPlan) -> Double {
        Double(plan.run.volume.voxels) * secondsPerVoxel * Double(plan.cost) / Double(SegmentationPlan.cachedCost)
    }
}
