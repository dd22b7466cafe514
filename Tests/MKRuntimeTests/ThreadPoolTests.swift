import HostRuntime
import MKRuntime
import Synchronization
import Testing

@Suite struct ThreadPoolTests {
    /// Counts how often each index of a job is called.
    private final class Job: Sendable {
        let calls: [Counter]

        final class Counter: Sendable {
            let value = Atomic<Int>(0)
        }

        init(_ count: Int) { calls = (0..<count).map { _ in Counter() } }

        func run(_ pool: ThreadPool) -> [Int] {
            withUnsafePointer(to: self) { pointer in
                pool.forEach(calls.count, UnsafeRawPointer(pointer)) { context, index in
                    let job = context.assumingMemoryBound(to: Job.self).pointee
                    job.calls[index].value.add(1, ordering: .relaxed)
                }
            }
            // All are done when forEach returns.
            return calls.map { $0.value.load(ordering: .relaxed) }
        }
    }

    /// Short jobs right behind one another, of fewer and of more indices than threads, so that threads come late to jobs that are over;
    /// and with more threads than any machine that tests have cores, which sleep at once.
    @Test(arguments: [1, 2, 3, 8, 64]) func everyIndexRunsOnce(_ threads: Int) {
        let pool = ThreadPool(threads: threads)
        for round in 0..<2000 {
            let count = round % 11
            let found = Job(count).run(pool)
            #expect(found == [Int](repeating: 1, count: count), "round \(round)")
        }
    }

    /// Threads that have gone to sleep wake up for a job.
    @Test func sleepersWake() throws {
        let pool = ThreadPool(threads: 2)
        for _ in 0..<20 {
            let start = HostClock.nanoseconds()
            while HostClock.nanoseconds() - start < 3_000_000 {}
            #expect(Job(2).run(pool) == [1, 1])
        }
    }
}
