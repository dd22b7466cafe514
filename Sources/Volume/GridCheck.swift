/// Whether several volumes lie on one grid, as channels of one case must.
public enum GridCheck {
    /// Compares every header with the first.
    /// - Parameters:
    ///   - spacingMatters: whether another voxel size is an error; otherwise only the affine's warning tells.
    ///   - tolerance: mm by which any corner voxel may lie elsewhere without a warning.
    /// - Returns: a warning per file whose affine differs.
    /// - Throws: exit 5 when shapes differ, or voxel sizes by more than 0.1 %.
    public static func check(
        _ headers: [NIfTIHeader], spacingMatters: Bool = true, tolerance: Double = 1e-3
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
            if distance > tolerance {
                warnings.append(
                    "\(header.path): affine differs from that of \(first.path) by up to \(Float(distance)) mm"
                )
            }
        }
        return warnings
    }
}
