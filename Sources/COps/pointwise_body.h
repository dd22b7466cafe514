// The generic bodies of the token ops that look at one voxel at a time. Each function does one row in `blocks` blocks.

void MK_ISA(mk_lookup)(const uint8_t *table, const uint8_t *input, ptrdiff_t input_stride, uint8_t *output,
                       ptrdiff_t output_stride, int32_t width, int32_t blocks) {
    const mkv_table t = mkv_table_from(table);
    for (int32_t block = 0; block < blocks; block++, input += input_stride, output += output_stride)
        for (int32_t x = 0; x < width; x += MKV_LANES) {
            const mkv_mask mask = mask_until(x, width);
            const ptrdiff_t at = (ptrdiff_t)x * 4;
            mkv_store_masked(output + at, mkv_lookup(&t, mkv_load_masked(input + at, mask)), mask);
        }
}

void MK_ISA(mk_add_wide)(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride, uint8_t *output,
                         ptrdiff_t output_stride, int32_t width, int32_t blocks) {
    for (int32_t block = 0; block < blocks; block++, a += a_stride, b += b_stride, output += output_stride)
        for (int32_t x = 0; x < width; x += MKV_LANES) {
            const mkv_mask mask = mask_until(x, width);
            const ptrdiff_t at = (ptrdiff_t)x * 4;
            mkv_acc sum = mkv_adds16(mkv_load_masked(a + at, mask), mkv_load_masked(b + at, mask));
            mkv_store_masked(output + at, sum, mask);
        }
}
