import CNIfTI

/// Which of the two forms tells the orientation. The matrices come from libnifti2, the choice is ours.
extension HeaderParser {
    struct Geometry {
        let affine: Affine
        let form: NIfTIHeader.Form
        let qform: Affine
    }

    mutating func readGeometry(_ raw: RawHeader, dims: GridSize) throws(VolumeError) -> Geometry {
        let forms = try libraryForms(raw)
        let sformCode = raw.integer(.sformCode)
        let qformCode = raw.integer(.qformCode)
        let sformProblem = problemOfSform(raw, forms.sform)
        let pixdimProblem = problemOfPixdim(raw)
        let qformProblem = pixdimProblem ?? problemOfQform(raw, forms.qform)
        noteUnits(raw)

        if sformCode > 0, sformProblem == nil {
            if let pixdimProblem { warn("\(pixdimProblem); the sform gives the voxel size") }
            compare(raw, forms.sform, qformCode > 0 && qformProblem == nil ? forms.qform : nil, dims)
            return Geometry(affine: forms.sform, form: .sform, qform: forms.qform)
        }
        if qformCode > 0 {
            if let sformProblem, sformCode > 0 {
                guard qformProblem == nil else {
                    throw fail("\(sformProblem), and the qform cannot replace it: \(qformProblem!)")
                }
                warn("\(sformProblem); qform used")
            }
            if let qformProblem { throw fail(qformProblem) }
            return Geometry(affine: forms.qform, form: .qform, qform: forms.qform)
        }
        if let sformProblem, sformCode > 0 {
            throw fail("\(sformProblem), and there is no qform (qform_code=\(qformCode))")
        }
        return try assumed(raw, pixdimProblem: pixdimProblem, dims: dims, qform: forms.qform)
    }

    private func libraryForms(_ raw: RawHeader) throws(VolumeError) -> (qform: Affine, sform: Affine) {
        var qform = [Double](repeating: 0, count: 12)
        var sform = qform
        let status = unsafe raw.bytes.withUnsafeBytes { header in
            unsafe mk_nifti_forms(header.baseAddress!, Int32(raw.version), &qform, &sform)
        }
        guard status == 0 else { throw fail("header refused by libnifti2") }
        return (Affine(rows: qform), Affine(rows: sform))
    }

    private func problemOfSform(_ raw: RawHeader, _ form: Affine) -> String? {
        for element in 0..<12 where !raw.real(.srow, element).isFinite {
            return
                "srow_\(["x", "y", "z"][element / 4])[\(element % 4)]=\(raw.text(.srow, element)) (must be finite)"
        }
        return form.isUsable ? nil : "sform is singular (must be invertible)"
    }

    private func problemOfPixdim(_ raw: RawHeader) -> String? {
        for axis in 1...3 {
            let size = raw.real(.pixdim, axis)
            if !size.isFinite || size == 0 {
                return "pixdim[\(axis)]=\(raw.text(.pixdim, axis)) (must be finite and not 0)"
            }
        }
        return nil
    }

    private func problemOfQform(_ raw: RawHeader, _ form: Affine) -> String? {
        let names = ["quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]
        for element in 0..<6 where !raw.real(.quatern, element).isFinite {
            return "\(names[element])=\(raw.text(.quatern, element)) (must be finite)"
        }
        let norm = (0..<3).reduce(0.0) { $0 + raw.real(.quatern, $1) * raw.real(.quatern, $1) }
        // A half-turn stored in float32 may exceed 1 by rounding.
        if norm > 1 + 1e-5 { return "quatern_b^2+c^2+d^2=\(Float(norm)) (must be at most 1)" }
        return form.isUsable ? nil : "qform is singular (must be invertible)"
    }

    private mutating func noteUnits(_ raw: RawHeader) {
        switch raw.integer(.xyztUnits) & 7 {
        case 1: warn("xyzt_units says metre; sizes are taken as millimetres")
        case 3: warn("xyzt_units says micrometre; sizes are taken as millimetres")
        default: break
        }
        for axis in 1...3 where raw.real(.pixdim, axis) < 0 {
            warn("pixdim[\(axis)]=\(raw.text(.pixdim, axis)) is negative; its size is used")
        }
    }

    /// Says when pixdim or the qform tell something else than the sform that is used.
    private mutating func compare(_ raw: RawHeader, _ sform: Affine, _ qform: Affine?, _ dims: GridSize) {
        if let qform {
            let distance = sform.largestDistance(to: qform, over: dims)
            if distance > 0.1 { warn("sform and qform disagree by up to \(Float(distance)) mm; sform used") }
        }
        let spacing = sform.spacing
        for axis in 0..<3 {
            let size = raw.real(.pixdim, axis + 1).magnitude
            guard size.isFinite, size > 0, (spacing[axis] - size).magnitude > 0.01 * size else { continue }
            warn(
                "pixdim[\(axis + 1)]=\(Float(size)) but the sform's voxel size is \(Float(spacing[axis])); sform used"
            )
        }
        if sform.determinant.magnitude < 0.9 * spacing.x * spacing.y * spacing.z {
            warn("sform is sheared; axes are taken to their closest anatomical direction")
        }
    }

    /// No form at all: the user must say how the axes run.
    private mutating func assumed(
        _ raw: RawHeader, pixdimProblem: String?, dims: GridSize, qform: Affine
    ) throws(VolumeError) -> Geometry {
        guard let codes = options.assumeOrientation else {
            throw fail(
                "qform_code=0 and sform_code=0: orientation unknown (must be set, or use --assume-orientation CODES)"
            )
        }
        guard let axes = AxisMap.parse(codes) else {
            throw fail("assumed orientation=\(codes) (must be three letters, one of R/L, A/P, S/I each)")
        }
        if let pixdimProblem { throw fail(pixdimProblem) }
        warn("orientation unknown (qform_code=0, sform_code=0); assumed \(codes.uppercased())")
        var affine = Affine(rows: [Double](repeating: 0, count: 12))
        for axis in 0..<3 {
            let size = raw.real(.pixdim, axis + 1).magnitude * (axes[axis].isNegative ? -1 : 1)
            affine[axes[axis].world, axis] = size
            // The centre of the volume becomes the origin.
            affine[axes[axis].world, 3] = -size * Double(dims[axis] - 1) / 2
        }
        return Geometry(affine: affine, form: .assumed, qform: qform)
    }
}
