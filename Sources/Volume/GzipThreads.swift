import HostRuntime

/// Inflates in a thread of its own, some slabs ahead of the reader.
@safe final class ReadAhead {
    private let ring: SlabRing
    private let thread: BackgroundThread
    private var slab: UnsafeRawBufferPointer?
    /// Bytes of the slab that are delivered.
    private var used = 0

    /// - Parameter gzip: read by this object alone from now on.
    /// - Returns: nil when the system gives no thread.
    init?(_ gzip: GzipInput) {
        let ring = SlabRing()
        let gzip = Moved(gzip)
        guard let thread = BackgroundThread({ Self.inflate(gzip.value, into: ring) }) else { return nil }
        self.ring = ring
        self.thread = thread
    }

    deinit { join() }

    private static func inflate(_ gzip: GzipInput, into ring: SlabRing) {
        // A reader that leaves has no error to tell.
        while let slab = unsafe (try? ring.slabToFill()) ?? nil {
            var got = 0
            do throws(VolumeError) {
                unsafe try gzip.read(into: slab, done: &got)
            } catch {
                // What lies before the damage may be all that is wanted.
                ring.filled(got)
                return ring.end(error)
            }
            ring.filled(got)
            if got < slab.count { break }
        }
        ring.end()
    }

    /// As `GzipInput.read`.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(VolumeError) -> Int {
        var done = 0
        while done < buffer.count {
            if unsafe slab == nil {
                unsafe slab = try ring.fullSlab()
                used = 0
            }
            guard let slab = unsafe slab else { break }
            let part = min(slab.count - used, buffer.count - done)
            let source = unsafe UnsafeRawBufferPointer(rebasing: slab[used..<(used + part)])
            unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<(done + part)]).copyMemory(from: source)
            done += part
            used += part
            if used == slab.count {
                unsafe self.slab = nil
                ring.emptied()
            }
        }
        return done
    }

    /// Reads no more; the stream is the caller's again.
    func join() {
        ring.leave()
        thread.join()
    }
}

/// Deflates in a thread of its own, some slabs behind the writer.
@safe final class WriteBehind {
    private let ring: SlabRing
    private let thread: BackgroundThread
    private var slab: UnsafeMutableRawBufferPointer?
    /// Bytes of the slab that are filled.
    private var used = 0

    /// - Parameter gzip: written by this object alone from now on.
    /// - Returns: nil when the system gives no thread.
    init?(_ gzip: GzipOutput) {
        let ring = SlabRing()
        let gzip = Moved(gzip)
        guard let thread = BackgroundThread({ Self.deflate(ring, into: gzip.value) }) else { return nil }
        self.ring = ring
        self.thread = thread
    }

    /// Without `finish` the stream gets no end.
    deinit {
        ring.end(.output("", "left unfinished"))
        thread.join()
    }

    private static func deflate(_ ring: SlabRing, into gzip: GzipOutput) {
        do throws(VolumeError) {
            while let slab = unsafe try ring.fullSlab() {
                unsafe try gzip.write(slab)
                ring.emptied()
            }
            try gzip.finish()
        } catch {
            ring.leave(error)
        }
    }

    /// - Throws: an error of this or an earlier write.
    func write(_ bytes: UnsafeRawBufferPointer) throws(VolumeError) {
        var done = 0
        while done < bytes.count {
            if unsafe slab == nil {
                unsafe slab = try ring.slabToFill()
                used = 0
            }
            let slab = unsafe slab!
            let part = min(slab.count - used, bytes.count - done)
            unsafe UnsafeMutableRawBufferPointer(rebasing: slab[used..<(used + part)]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: bytes[done..<(done + part)]))
            done += part
            used += part
            if used == slab.count { handOver() }
        }
    }

    private func handOver() {
        unsafe slab = nil
        ring.filled(used)
    }

    /// Writes the rest and the trailer.
    func finish() throws(VolumeError) {
        if unsafe slab != nil { handOver() }
        ring.end()
        thread.join()
        // The thread has left the ring only if it failed.
        if let failure = ring.error { throw failure }
    }
}

/// Something that one thread hands to another and leaves alone until that has ended.
private final class Moved<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}
