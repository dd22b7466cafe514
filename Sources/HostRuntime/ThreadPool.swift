import Glibc
import MKRuntime

/// A fixed set of threads that live as long as the pool. The calling thread takes part, so a pool of one has no other.
///
/// Nothing is allocated by `forEach`: jobs are handed over through one shared slot.
@safe public final class ThreadPool: WorkPool, @unchecked Sendable {
    public let threads: Int
    private let shared: UnsafeMutablePointer<Shared>
    private var handles: [pthread_t] = []

    @unsafe private struct Shared {
        var mutex = unsafe pthread_mutex_t()
        var wake = pthread_cond_t()
        var finished = pthread_cond_t()
        var body: (@convention(c) (UnsafeRawPointer, Int) -> Void)?
        var context: UnsafeRawPointer?
        var next = 0
        var count = 0
        var running = 0
        var stop = false
    }

    public init(threads: Int) {
        precondition(threads >= 1, "a pool has at least one thread")
        self.threads = threads
        unsafe shared = .allocate(capacity: 1)
        unsafe shared.initialize(to: Shared())
        unsafe pthread_mutex_init(&shared.pointee.mutex, nil)
        unsafe pthread_cond_init(&shared.pointee.wake, nil)
        unsafe pthread_cond_init(&shared.pointee.finished, nil)
        for _ in 1..<threads {
            var handle = pthread_t()
            let status = unsafe pthread_create(
                &handle, nil,
                { argument in
                    unsafe ThreadPool.work(argument!.assumingMemoryBound(to: Shared.self))
                    return nil
                }, shared)
            // With fewer threads the same work is done by those there are.
            if status == 0 { handles.append(handle) }
        }
    }

    deinit {
        unsafe pthread_mutex_lock(&shared.pointee.mutex)
        unsafe shared.pointee.stop = true
        unsafe pthread_cond_broadcast(&shared.pointee.wake)
        unsafe pthread_mutex_unlock(&shared.pointee.mutex)
        for handle in handles { pthread_join(handle, nil) }
        unsafe pthread_cond_destroy(&shared.pointee.wake)
        unsafe pthread_cond_destroy(&shared.pointee.finished)
        unsafe pthread_mutex_destroy(&shared.pointee.mutex)
        unsafe shared.deinitialize(count: 1)
        unsafe shared.deallocate()
    }

    public func forEach(
        _ count: Int, _ context: UnsafeRawPointer, _ body: @convention(c) (UnsafeRawPointer, Int) -> Void
    ) {
        guard handles.count > 0, count > 1 else {
            for index in 0..<count { unsafe body(context, index) }
            return
        }
        unsafe pthread_mutex_lock(&shared.pointee.mutex)
        unsafe shared.pointee.body = body
        unsafe shared.pointee.context = context
        unsafe shared.pointee.next = 0
        unsafe shared.pointee.count = count
        unsafe pthread_cond_broadcast(&shared.pointee.wake)
        unsafe Self.takeIndices(shared)
        while unsafe shared.pointee.running > 0 {
            unsafe pthread_cond_wait(&shared.pointee.finished, &shared.pointee.mutex)
        }
        unsafe shared.pointee.body = nil
        unsafe pthread_mutex_unlock(&shared.pointee.mutex)
    }

    private static func work(_ shared: UnsafeMutablePointer<Shared>) {
        unsafe pthread_mutex_lock(&shared.pointee.mutex)
        while unsafe !shared.pointee.stop {
            if unsafe shared.pointee.body != nil, unsafe shared.pointee.next < shared.pointee.count {
                unsafe takeIndices(shared)
            } else {
                unsafe pthread_cond_wait(&shared.pointee.wake, &shared.pointee.mutex)
            }
        }
        unsafe pthread_mutex_unlock(&shared.pointee.mutex)
    }

    /// Called and returns with the mutex held; runs indices without it.
    private static func takeIndices(_ shared: UnsafeMutablePointer<Shared>) {
        while unsafe shared.pointee.next < shared.pointee.count, let body = unsafe shared.pointee.body,
            let context = unsafe shared.pointee.context
        {
            let index = unsafe shared.pointee.next
            unsafe shared.pointee.next += 1
            unsafe shared.pointee.running += 1
            unsafe pthread_mutex_unlock(&shared.pointee.mutex)
            unsafe body(context, index)
            unsafe pthread_mutex_lock(&shared.pointee.mutex)
            unsafe shared.pointee.running -= 1
        }
        if unsafe shared.pointee.running == 0 { unsafe pthread_cond_broadcast(&shared.pointee.finished) }
    }
}
