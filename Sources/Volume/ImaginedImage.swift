/// An image that does not exist yet, for planning.
extension NIfTIHeader {
    /// - Parameters:
    ///   - dims: 1...32767 each.
    ///   - spacing: mm, positive.
    ///   - axisCodes: of the stored axes, such as "RAS".
    public static func imagined(
        dims: GridSize, spacing: SIMD3<Double> = SIMD3(1, 1, 1), axisCodes: String, datatype: VoxelType = .int16
    ) -> NIfTIHeader {
        let affine = Affine(rows: [spacing.x, 0, 0, 0, 0, spacing.y, 0, 0, 0, 0, spacing.z, 0])
        return NIfTIHeader(
            path: "planned image", dims: dims, spacing: spacing, datatype: datatype, slope: 1, inter: 0, affine: affine,
            form: .assumed, axisCodes: axisCodes, isNIfTI2: false, volumeCount: 1, volumeIndex: 0, warnings: [],
            raw: RawHeader(bytes: [UInt8](repeating: 0, count: 348), version: 1, isSwapped: false), qform: affine,
            dataPath: "", dataOffset: 352)
    }
}
