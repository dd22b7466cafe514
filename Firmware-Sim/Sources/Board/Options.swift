import Ops

/// What a simulation does, from the emulator's command line: `whole|stream W,H,D MILLISECONDS [FAULT AT]` or `flips STRIDE`.
struct Options {
    enum Fault {
        case none, stall, drop, repeated, reorder, damage, reset, smallArena
    }

    var isStream = false
    var size = Extent(cube: 0)
    var fault = Fault.none
    /// Slice at which the fault happens.
    var faultAt = 0
    var microseconds = 0
    /// Where the run is about flipped bits of the model: how many lie between two of them.
    var flipStride: Int?

    @unsafe init?(_ count: Int, _ arguments: UnsafePointer<UnsafePointer<CChar>?>) {
        func argument(_ index: Int) -> Argument? {
            guard index < count, let text = unsafe arguments[index] else { return nil }
            return unsafe Argument(text)
        }
        if let first = argument(0), first == "flips", let stride = argument(1)?.numbers(1, separator: 44) {
            flipStride = stride.0
            return
        }
        guard let mode = argument(0), let shape = argument(1), let n = shape.numbers(3, separator: 44),
            let period = argument(2), let slice = period.numbers(1, separator: 44)
        else { return nil }
        guard mode == "whole" || mode == "stream" else { return nil }
        isStream = mode == "stream"
        size = Extent(depth: n.2, height: n.1, width: n.0)
        microseconds = slice.0 * 1000
        guard let name = argument(3) else { return }
        let faults: [(StaticString, Fault)] = [
            ("stall", .stall), ("drop", .drop), ("repeat", .repeated), ("reorder", .reorder), ("damage", .damage),
            ("reset", .reset), ("arena", .smallArena),
        ]
        guard let found = faults.first(where: { name == $0.0 }), let at = argument(4)?.numbers(1, separator: 44) else {
            return nil
        }
        (fault, faultAt) = (found.1, at.0)
    }
}
