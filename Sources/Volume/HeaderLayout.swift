/// The fields of a NIfTI header that the reader or the writer touches, or that a byte swap must know.
enum HeaderField: CaseIterable {
    case sizeofHdr, extents, sessionError, dim, intentP, intentCode, datatype, bitpix, sliceStart, pixdim,
        voxOffset
    case sclSlope, sclInter, sliceEnd, sliceCode, xyztUnits, calMax, calMin, sliceDuration, toffset, glmax,
        glmin
    case descrip, qformCode, sformCode, quatern, srow, intentName, magic

    /// How the elements of a field are stored.
    enum Kind { case int8, int16, int32, int64, float32, float64 }

    /// Where a field lies: byte offset, element kind, number of elements.
    struct Place {
        let offset: Int
        let kind: Kind
        let count: Int
        var width: Int {
            switch kind {
            case .int8: 1
            case .int16: 2
            case .int32, .float32: 4
            case .int64, .float64: 8
            }
        }
    }

    /// The place in version 1 (348 bytes) or 2 (540 bytes); nil where the version lacks the field.
    func place(version: Int) -> Place? { version == 1 ? first : second }

    private var first: Place? {
        switch self {
        case .sizeofHdr: Place(offset: 0, kind: .int32, count: 1)
        case .extents: Place(offset: 32, kind: .int32, count: 1)
        case .sessionError: Place(offset: 36, kind: .int16, count: 1)
        case .dim: Place(offset: 40, kind: .int16, count: 8)
        case .intentP: Place(offset: 56, kind: .float32, count: 3)
        case .intentCode: Place(offset: 68, kind: .int16, count: 1)
        case .datatype: Place(offset: 70, kind: .int16, count: 1)
        case .bitpix: Place(offset: 72, kind: .int16, count: 1)
        case .sliceStart: Place(offset: 74, kind: .int16, count: 1)
        case .pixdim: Place(offset: 76, kind: .float32, count: 8)
        case .voxOffset: Place(offset: 108, kind: .float32, count: 1)
        case .sclSlope: Place(offset: 112, kind: .float32, count: 1)
        case .sclInter: Place(offset: 116, kind: .float32, count: 1)
        case .sliceEnd: Place(offset: 120, kind: .int16, count: 1)
        case .sliceCode: Place(offset: 122, kind: .int8, count: 1)
        case .xyztUnits: Place(offset: 123, kind: .int8, count: 1)
        case .calMax: Place(offset: 124, kind: .float32, count: 1)
        case .calMin: Place(offset: 128, kind: .float32, count: 1)
        case .sliceDuration: Place(offset: 132, kind: .float32, count: 1)
        case .toffset: Place(offset: 136, kind: .float32, count: 1)
        case .glmax: Place(offset: 140, kind: .int32, count: 1)
        case .glmin: Place(offset: 144, kind: .int32, count: 1)
        case .descrip: Place(offset: 148, kind: .int8, count: 80)
        case .qformCode: Place(offset: 252, kind: .int16, count: 1)
        case .sformCode: Place(offset: 254, kind: .int16, count: 1)
        case .quatern: Place(offset: 256, kind: .float32, count: 6)
        case .srow: Place(offset: 280, kind: .float32, count: 12)
        case .intentName: Place(offset: 328, kind: .int8, count: 16)
        case .magic: Place(offset: 344, kind: .int8, count: 4)
        }
    }

    private var second: Place? {
        switch self {
        case .sizeofHdr: Place(offset: 0, kind: .int32, count: 1)
        case .magic: Place(offset: 4, kind: .int8, count: 8)
        case .datatype: Place(offset: 12, kind: .int16, count: 1)
        case .bitpix: Place(offset: 14, kind: .int16, count: 1)
        case .dim: Place(offset: 16, kind: .int64, count: 8)
        case .intentP: Place(offset: 80, kind: .float64, count: 3)
        case .pixdim: Place(offset: 104, kind: .float64, count: 8)
        case .voxOffset: Place(offset: 168, kind: .int64, count: 1)
        case .sclSlope: Place(offset: 176, kind: .float64, count: 1)
        case .sclInter: Place(offset: 184, kind: .float64, count: 1)
        case .calMax: Place(offset: 192, kind: .float64, count: 1)
        case .calMin: Place(offset: 200, kind: .float64, count: 1)
        case .sliceDuration: Place(offset: 208, kind: .float64, count: 1)
        case .toffset: Place(offset: 216, kind: .float64, count: 1)
        case .sliceStart: Place(offset: 224, kind: .int64, count: 1)
        case .sliceEnd: Place(offset: 232, kind: .int64, count: 1)
        case .descrip: Place(offset: 240, kind: .int8, count: 80)
        case .qformCode: Place(offset: 344, kind: .int32, count: 1)
        case .sformCode: Place(offset: 348, kind: .int32, count: 1)
        case .quatern: Place(offset: 352, kind: .float64, count: 6)
        case .srow: Place(offset: 400, kind: .float64, count: 12)
        case .sliceCode: Place(offset: 496, kind: .int32, count: 1)
        case .xyztUnits: Place(offset: 500, kind: .int32, count: 1)
        case .intentCode: Place(offset: 504, kind: .int32, count: 1)
        case .intentName: Place(offset: 508, kind: .int8, count: 16)
        case .extents, .sessionError, .glmax, .glmin: nil
        }
    }
}
