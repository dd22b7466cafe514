import CHost

/// The clock that is lent to a `Session`.
public enum HostClock {
    /// Of a clock that only runs forward.
    public static let nanoseconds: @convention(c) () -> UInt64 = mk_nanoseconds
}
