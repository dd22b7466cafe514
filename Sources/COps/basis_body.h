// The generic body of the table rows of Kolmogorov-Arnold layers (Sources/Ops/KANBasis). Four channels of a voxel make
// `outputs` whole words, one in each of as many output blocks: they are written as a record per voxel, then transposed.

// Four channels of at most 16 bytes.
enum { BASIS_RECORD = 64 };

// The entries of one voxel. A whole entry is copied, the next one overwrites what is too much.
MK_INLINE void basis_record(const mk_basis *basis, const uint8_t *codes, uint8_t *record) {
    for (int32_t c = 0; c < basis->channels; c++)
        __builtin_memcpy(record + c * basis->outputs, basis->table + codes[c] * 16, 16);
}

// Words first ... first + 3 of every record, of which `count` exist, into as many blocks.
MK_INLINE void basis_store(const uint8_t *records, int32_t first, int32_t count, uint8_t *to, ptrdiff_t stride,
                           mkv_mask mask) {
    mkv_acc r[4], y[4];
#pragma unroll
    for (int i = 0; i < 4; i++) r[i] = mkv_load_fourth(records + i * BASIS_RECORD + 4 * first, BASIS_RECORD);
    mkv_acc low01 = mkv_zip32_low(r[0], r[1]), high01 = mkv_zip32_high(r[0], r[1]);
    mkv_acc low23 = mkv_zip32_low(r[2], r[3]), high23 = mkv_zip32_high(r[2], r[3]);
    y[0] = mkv_zip64_low(low01, low23);
    y[1] = mkv_zip64_high(low01, low23);
    y[2] = mkv_zip64_low(high01, high23);
    y[3] = mkv_zip64_high(high01, high23);
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (i < count) mkv_store_masked(to + (first + i) * stride, y[i], mask);
}

void MK_ISA(mk_basis)(const mk_basis *basis, const uint8_t *input, uint8_t *output, ptrdiff_t output_stride,
                      int32_t width) {
    uint8_t records[MKV_LANES * BASIS_RECORD] = { 0 };  // absent channels stay 0
    const int32_t words = (basis->channels * basis->outputs + 3) / 4;
    for (int32_t x = 0; x < width; x += MKV_LANES) {
        const mkv_mask mask = mask_until(x, width);
        const ptrdiff_t at = (ptrdiff_t)x * 4;
        for (int32_t v = 0; v < MKV_LANES && x + v < width; v++)
            basis_record(basis, input + at + 4 * v, records + v * BASIS_RECORD);
        for (int32_t word = 0; word < words; word += 4)
            basis_store(records, word, words - word, output + at, output_stride, mask);
    }
}
