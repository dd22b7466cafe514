import Glibc

/// One thread beside the caller's that runs a closure once.
@safe public final class BackgroundThread {
    private var handle = pthread_t()
    private var isJoined = false

    /// - Returns: nil when the system gives no thread.
    public init?(_ body: @escaping @Sendable () -> Void) {
        let argument = unsafe Unmanaged.passRetained(Body(run: body)).toOpaque()
        let status = unsafe pthread_create(
            &handle, nil,
            { argument in
                unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, argument)
        guard status == 0 else {
            unsafe Unmanaged<Body>.fromOpaque(argument).release()
            isJoined = true
            return nil
        }
    }

    /// Waits until the closure has returned.
    public func join() {
        guard !isJoined else { return }
        pthread_join(handle, nil)
        isJoined = true
    }

    deinit { join() }

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(run: @escaping @Sendable () -> Void) { self.run = run }
    }
}
