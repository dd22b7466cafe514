import Glibc

/// Bytes on their way from a thread that makes them to one that takes them: a ring of equal slabs. The maker waits while all
/// are full, the taker while none is. Either may give up, with an error for the other.
@safe final class SlabRing: @unchecked Sendable {
    static let slabs = 4
    static let slabBytes = 1 << 17
    /// What a ring and the thread at its other end take, with some of that thread's stack.
    static let bytesNeeded = slabs * slabBytes + (64 << 10)

    private let memory: UnsafeMutableRawPointer
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    /// One serves both, because never do both wait.
    private let changed: UnsafeMutablePointer<pthread_cond_t>
    private var counts = InlineArray<4, Int>(repeating: 0)
    /// Slabs filled and slabs emptied so far.
    private var (made, taken) = (0, 0)
    private var makerHasEnded = false
    private var takerHasLeft = false
    private var failure: VolumeError?

    init() {
        unsafe memory = .allocate(byteCount: Self.slabs * Self.slabBytes, alignment: 64)
        unsafe (mutex, changed) = (.allocate(capacity: 1), .allocate(capacity: 1))
        unsafe pthread_mutex_init(mutex, nil)
        unsafe pthread_cond_init(changed, nil)
    }

    deinit {
        unsafe pthread_cond_destroy(changed)
        unsafe pthread_mutex_destroy(mutex)
        unsafe changed.deallocate()
        unsafe mutex.deallocate()
        unsafe memory.deallocate()
    }

    /// With which one of the two gave up; for the other after that one's thread has ended.
    var error: VolumeError? { failure }

    private func wait(until isReady: () -> Bool) {
        unsafe pthread_mutex_lock(mutex)
        while !isReady() { unsafe pthread_cond_wait(changed, mutex) }
        unsafe pthread_mutex_unlock(mutex)
    }

    private func change(_ body: () -> Void) {
        unsafe pthread_mutex_lock(mutex)
        body()
        unsafe pthread_cond_signal(changed)
        unsafe pthread_mutex_unlock(mutex)
    }

    private func slab(_ number: Int) -> UnsafeMutableRawPointer { unsafe memory + number % Self.slabs * Self.slabBytes }

    // MARK: The maker's side

    /// The next slab to fill, once there is room; nil when the taker has left without an error.
    /// - Throws: the error with which the taker left.
    func slabToFill() throws(VolumeError) -> UnsafeMutableRawBufferPointer? {
        // Decided while nobody can change it: a moment later the taker may be writing its error.
        var hasLeft = false
        wait {
            hasLeft = takerHasLeft
            return hasLeft || made - taken < Self.slabs
        }
        guard !hasLeft else {
            if let failure { throw failure }
            return nil
        }
        return unsafe UnsafeMutableRawBufferPointer(start: slab(made), count: Self.slabBytes)
    }

    /// Hands over the slab that `slabToFill` gave.
    func filled(_ count: Int) {
        change {
            counts[made % Self.slabs] = count
            made += 1
        }
    }

    /// No slab follows. The taker gets those before, then the error.
    func end(_ error: VolumeError? = nil) {
        change { (makerHasEnded, failure) = (true, failure ?? error) }
    }

    // MARK: The taker's side

    /// The next full slab; nil after the last.
    /// - Throws: the error with which the maker ended.
    func fullSlab() throws(VolumeError) -> UnsafeRawBufferPointer? {
        var count: Int?
        wait {
            count = made > taken ? counts[taken % Self.slabs] : nil
            return count != nil || makerHasEnded
        }
        if let count { return unsafe UnsafeRawBufferPointer(start: slab(taken), count: count) }
        if let failure { throw failure }
        return nil
    }

    /// Gives back the slab that `fullSlab` gave.
    func emptied() { change { taken += 1 } }

    /// Takes no more. What the maker still fills is lost.
    func leave(_ error: VolumeError? = nil) {
        change { (takerHasLeft, failure) = (true, failure ?? error) }
    }
}
