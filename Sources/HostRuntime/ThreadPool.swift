import CHost
import Glibc
import MKRuntime
import Synchronization

/// A fixed set of threads that live as long as the pool. The calling thread takes part, so a pool of one has no other.
///
/// Nothing is allocated by `forEach`: jobs are handed over through one shared slot. Between two jobs a thread looks for the next one
/// for a while before it sleeps, because a slice takes a millisecond and to be woken up a tenth of that; where there
/// are more threads than cores it sleeps at once.
@safe public final class ThreadPool: WorkPool, @unchecked Sendable {
    public let threads: Int
    /// Looks before a thread sleeps, each with a pause of the processor: some tenth of a millisecond.
    private static let looks = 4000
    private let shared = Shared()
    private var handles: [pthread_t] = []

    @safe private final class Shared: @unchecked Sendable {
        /// Number of the job, how many indices it has, how many were taken: in one word, so that a thread that comes late takes
        /// nothing of the job after.
        let slot = Atomic<UInt64>(0)
        /// Indices of the job that are not done.
        let pending = Atomic<Int>(0)
        let stop = Atomic<Bool>(false)
        /// Of the job: written before `slot`, and not before all of the job before is done.
        var body: (@convention(c) (UnsafeRawPointer, Int) -> Void)?
        var context: UnsafeRawPointer?
        /// For sleepers.
        let mutex: UnsafeMutablePointer<pthread_mutex_t>
        let wake: UnsafeMutablePointer<pthread_cond_t>
        let finished: UnsafeMutablePointer<pthread_cond_t>
        /// How often to look before sleeping; set before there are threads.
        var patience = 0

        init() {
            unsafe (mutex, wake, finished) = (.allocate(capacity: 1), .allocate(capacity: 1), .allocate(capacity: 1))
            unsafe pthread_mutex_init(mutex, nil)
            unsafe pthread_cond_init(wake, nil)
            unsafe pthread_cond_init(finished, nil)
        }

        deinit {
            unsafe pthread_cond_destroy(wake)
            unsafe pthread_cond_destroy(finished)
            unsafe pthread_mutex_destroy(mutex)
            unsafe wake.deallocate()
            unsafe finished.deallocate()
            unsafe mutex.deallocate()
        }

        /// Looks for a while whether `isDone`, then sleeps until it is.
        func wait(_ condition: UnsafeMutablePointer<pthread_cond_t>, until isDone: () -> Bool) {
            for _ in 0..<patience {
                if isDone() { return }
                mk_relax()
            }
            unsafe pthread_mutex_lock(mutex)
            while !isDone() { unsafe pthread_cond_wait(condition, mutex) }
            unsafe pthread_mutex_unlock(mutex)
        }

        func signal(_ condition: UnsafeMutablePointer<pthread_cond_t>) {
            unsafe pthread_mutex_lock(mutex)
            unsafe pthread_cond_broadcast(condition)
            unsafe pthread_mutex_unlock(mutex)
        }

        /// Does what is left of the job in the slot.
        func takeIndices() {
            while true {
                let taken = slot.add(1, ordering: .acquiringAndReleasing).oldValue
                let (index, count) = (Int(taken & 0xFFFF), Int(taken >> 16 & 0xFFFF))
                guard index < count else { return }
                unsafe body!(context!, index)
                if pending.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 { unsafe signal(finished) }
            }
        }

        func work() {
            var seen: UInt64 = 0
            while true {
                unsafe wait(wake) { slot.load(ordering: .acquiring) >> 32 != seen || stop.load(ordering: .acquiring) }
                if stop.load(ordering: .acquiring) { return }
                seen = slot.load(ordering: .acquiring) >> 32
                takeIndices()
            }
        }
    }

    public init(threads: Int) {
        precondition((1...1024).contains(threads), "a pool has 1 to 1024 threads")
        self.threads = threads
        shared.patience = threads <= Int(mk_cores()) ? Self.looks : 0
        for _ in 1..<threads {
            var handle = pthread_t()
            let argument = unsafe Unmanaged.passRetained(shared).toOpaque()
            let status = unsafe pthread_create(
                &handle, nil,
                { argument in
                    unsafe Unmanaged<Shared>.fromOpaque(argument!).takeRetainedValue().work()
                    return nil
                }, argument)
            // With fewer threads the same work is done by those there are.
            if status == 0 { handles.append(handle) } else { unsafe Unmanaged<Shared>.fromOpaque(argument).release() }
        }
    }

    deinit {
        shared.stop.store(true, ordering: .releasing)
        unsafe shared.signal(shared.wake)
        for handle in handles { pthread_join(handle, nil) }
    }

    public func forEach(
        _ count: Int, _ context: UnsafeRawPointer, _ body: @convention(c) (UnsafeRawPointer, Int) -> Void
    ) {
        guard handles.count > 0, count > 1 else {
            for index in 0..<count { unsafe body(context, index) }
            return
        }
        precondition(count < 1 << 15, "more shares than a job can have")
        unsafe (shared.body, shared.context) = (body, context)
        shared.pending.store(count, ordering: .relaxed)
        let job = (shared.slot.load(ordering: .relaxed) >> 32 + 1) & 0xFFFF_FFFF
        shared.slot.store(job << 32 | UInt64(count) << 16, ordering: .releasing)
        unsafe shared.signal(shared.wake)
        shared.takeIndices()
        unsafe shared.wait(shared.finished) { shared.pending.load(ordering: .acquiring) == 0 }
    }
}
