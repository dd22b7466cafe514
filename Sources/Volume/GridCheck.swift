/// Whether several volumes lie on one grid, as channels of one case must.
public enum GridCheck {
    /// Compares every header with the first.
    /// - Parameters:
    ///   - spacingMatters: whether another voxel size is an error; otherwise only the affine's warning tells.
    ///   - affineMatters: whether another place in space is an error, as among the channels of one run, rather than a
    ///     warning.
    ///   - tolerance: mm by which any corner voxel may lie elsewhere.
    /// - Returns: a warning per file whose affine differs, unless `affineMatters`.
    /// - Throws: exit 5 when shapes differ, voxel sizes by more than 0.1 %, or affines that matter.
    public static func check(
        _ headers: [NIfTIHeader], spacingMatters: Bool = true, affineMatters: Bool = false, tolerance: Double = 1e-3
    ) throws(VolumeError) -> [String] {
        guard let first = headers.first else { return [] }
        var warnings: [String] = []
        for header in headers.dropFirst() {
            guard header.dims == first.dims else {
                throw VolumeError(
                    exitCode: 5, file: header.path,
                    message: "shape=\(header.dims) (must be \(first.dims) as in \(first.path))")
            }
            for axis in 0..<3
            where spacingMatters
                && (header.spacing[axis] - first.spacing[axis]).magnitude > 1e-3 * first.spacing[axis]
            {
                throw VolumeError(
                    exitCode: 5, file: header.path,
                    message:
                        "voxel size[\(axis + 1)]=\(Float(header.spacing[axis])) mm (must be \(Float(first.spacing[axis])) as in \(first.path))"
                )
            }
            let distance = header.affine.largestDistance(to: first.affine, over: first.dims)
            guard distance > tolerance else { continue }
            let message = "affine differs from that of \(first.path) by up to \(Float(distance)) mm"
            if affineMatters {
                throw VolumeError(exitCode: 5, file: header.path, message: "\(message) (must be \(tolerance) or less)")
            }
            warnings.append("\(header.path): \(message)")
        }
        return warnings
    }
}
