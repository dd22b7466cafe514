import FlatGraph
import HostRuntime
import MKRuntime
import Ops

/// Which of all possible plans a run takes.
public struct PlanSearch {
    /// How the mode is chosen.
    public enum ModeChoice: String, Sendable, CaseIterable {
        case auto, whole, lines, tiles, windows
    }

    private let model: MappedModel
    private let headers: [NIfTIHeader]
    private let threads: Int

    /// Where codes and labels may wait.
    private let storages: [SegmentationPlan.Storage]
    private let probabilities: Bool
    private let fusion: Fusion

    /// - Parameters:
    ///   - storage: nil for memory where it fits, else disk.
    ///   - fusion: `tablesWhereFaster` have no tables where memory is short.
    public init(
        model: MappedModel, headers: [NIfTIHeader], threads: Int, storage: SegmentationPlan.Storage? = nil,
        probabilities: Bool = false, fusion: Fusion = .tablesWhereFaster
    ) {
        self.fusion = fusion
        self.probabilities = probabilities
        storages = storage.map { [$0] } ?? [.memory, .disk]
        self.model = model
        self.headers = headers
        self.threads = threads
    }

    /// The plan with the least estimated time that fits into `limit`; without a limit the fastest.
    /// - Parameter tile: a size to use instead of those that are tried.
    /// - Throws: `BudgetError` naming the smallest plan of each mode; `RuntimeError` when the model cannot run in the mode.
    public func choose(_ choice: ModeChoice, limit: Int?, tile: Extent? = nil) throws -> SegmentationPlan {
        var needs: [(name: String, bytes: Int)] = []
        var best: SegmentationPlan?
        var refusal: (any Error)?
        for mode in modes(choice) {
            do {
                let plans = try plans(mode, tile: tile)
                let fitting = limit.map { limit in plans.filter { $0.totalBytes <= limit } } ?? plans
                for plan in fitting where best.map({ plan.cost < $0.cost }) ?? true { best = plan }
                if let smallest = plans.min(by: { $0.totalBytes < $1.totalBytes }) { needs.append(smallest.need) }
            } catch let error as RuntimeError {
                // In automatic choice a mode that a model cannot run in is no candidate.
                refusal = refusal ?? error
            }
        }
        if let best { return best }
        if needs.isEmpty, let refusal { throw refusal }
        throw BudgetError(file: headers[0].path, limit: limit ?? 0, needs: needs)
    }

    /// One row per mode for a table: the fastest plan, and the smallest.
    public func table() -> [(mode: ExecutionMode, fastest: SegmentationPlan, smallest: SegmentationPlan)] {
        modes(.auto).compactMap { mode in
            guard let plans = try? plans(mode, tile: nil),
                let fastest = plans.min(by: { $0.cost < $1.cost }),
                let smallest = plans.min(by: { $0.totalBytes < $1.totalBytes })
            else { return nil }
            return (mode, fastest, smallest)
        }
    }

    /// What may run without changing the labels; windows only for networks that look at all they are given.
    private func modes(_ choice: ModeChoice) -> [ExecutionMode] {
        switch choice {
        case .whole: [.whole]
        case .lines: [.lines]
        case .tiles: [.tiles]
        case .windows: [.windows]
        case .auto:
            RunPlan.isGlobal(model.file) && RunPlan.supportsWindows(model.file) ? [.windows] : [.whole, .lines, .tiles]
        }
    }

    private func plans(_ mode: ExecutionMode, tile: Extent?) throws -> [SegmentationPlan] {
        let extent = try ModelGrid(headers[0], model.file).extent
        let tiles: [Extent?] = tile.map { [$0] } ?? Self.tiles(mode, extent)
        var result: [SegmentationPlan] = []
        for tile in tiles {
            for streaming in streamings(mode) {
                for storage in storages {
                    for fusion in fusion == .tablesWhereFaster ? [.tablesWhereFaster, .rows] : [fusion] {
                        let plan = try SegmentationPlan(
                            model: model, headers: headers, mode: mode, threads: threads, tile: tile, storage: storage,
                            streaming: streaming, probabilities: probabilities, fusion: fusion)
                        result.append(plan)
                        // Where no layer would be faster, there is nothing to leave out.
                        if plan.run.tableLayerCount == 0 { break }
                    }
                }
            }
        }
        return result
    }

    /// Whether tensors of state-space blocks exist whole, or for a chunk of tokens at a time (with the backward output kept, or
    /// computed twice).
    private func streamings(_ mode: ExecutionMode) -> [BlockStreaming?] {
        guard mode != .lines, RunPlan.hasScan(model.file) else { return [nil] }
        return [
            nil, BlockStreaming(chunk: 1024, keepsBackwardOutput: true),
            BlockStreaming(chunk: 1024, keepsBackwardOutput: false),
        ]
    }

    /// Cuts that are tried, from none to fine.
    private static func tiles(_ mode: ExecutionMode, _ volume: Extent) -> [Extent?] {
        func part(_ size: Int, _ count: Int) -> Int { (size + count - 1) / count }
        switch mode {
        case .whole: return [nil]
        case .windows:
            return [1, 2, 3, 4, 6].map {
                Extent(depth: volume.depth, height: part(volume.height, $0), width: volume.width)
            }
        case .lines:
            // Strips keep rows whole, squares have less halo.
            let cuts = [(1, 1), (2, 1), (3, 1), (4, 1), (2, 2), (3, 2), (3, 3), (4, 4), (6, 6), (8, 8)]
            return cuts.map {
                Extent(depth: volume.depth, height: part(volume.height, $0.0), width: part(volume.width, $0.1))
            }
        case .tiles:
            return [2, 3, 4, 6].map {
                Extent(
                    depth: part(volume.depth, $0), height: part(volume.height, $0), width: part(volume.width, $0))
            }
        }
    }
}

extension SegmentationPlan {
    /// `cost` of a run whose layers stay in the cache and that computes nothing twice.
    static let cachedCost = 750
    /// Time of a network whose blocks run in chunks, with the backward direction kept or computed twice, in thousandths.
    static let chunkCost = 1100
    static let twiceCost = 1250

    /// Estimated time in thousandths of one run of the network over the whole volume at once: what is computed again, and
    /// the way over the disk. Slices and windows stay in the cache between layers, whole layers do not (measured:
    /// docs/memory.md).
    public var cost: Int {
        let factor = run.mode == .whole ? 1000 : Self.cachedCost
        let blocks = run.streaming.map { $0.keepsBackwardOutput ? Self.chunkCost : Self.twiceCost } ?? 1000
        return run.recomputePerMille * factor / 1000 * blocks / 1000 + (storage == .disk ? 30 : 0)
            - (run.tableLayerCount > 0 ? 5 : 0)
    }
}
