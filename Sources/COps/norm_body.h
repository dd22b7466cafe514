// The generic bodies of normalizations (Sources/Ops/Norm), some rows of one block at a time. MK_STATS and MK_APPLY are the functions to
// define.

// A sum of 32 bits holds 2^16 - 1 codes, of all lanes together, so it is taken before a row could make it more; squares need 64 bits.
void MK_STATS(const uint8_t *input, ptrdiff_t pitch, int32_t width, int32_t height, int64_t sums[2], int64_t squares[2]) {
    mkv_acc sum[2] = { mkv_zero(), mkv_zero() };
    mkv_acc even[2] = { mkv_zero(), mkv_zero() }, odd[2] = { mkv_zero(), mkv_zero() };
    const mkv_mask last = mkv_mask_for(width % MKV_LANES), all = mkv_mask_for(MKV_LANES);
    int32_t added = 0;
    for (int32_t y = 0; y < height; y++, input += pitch) {
        for (int32_t x = 0; x < width; x += MKV_LANES) {
            mkv_acc words = mkv_load_masked(input + (ptrdiff_t)x * 4, width - x < MKV_LANES ? last : all);
            mkv_acc channel[2] = { mkv_low16(words), mkv_high16(words) };
            for (int c = 0; c < 2; c++) {
                mkv_acc square = mkv_mul32(channel[c], channel[c]);  // at most 2^30
                sum[c] = mkv_add32(sum[c], channel[c]);
                even[c] = mkv_add64(even[c], mkv_even32(square));
                odd[c] = mkv_add64(odd[c], mkv_odd32(square));
            }
        }
        added += width;
        if (added < 32768 && y < height - 1) continue;
        for (int c = 0; c < 2; c++) {
            sums[c] += mkv_sum32(sum[c]);
            sum[c] = mkv_zero();
        }
        added = 0;
    }
    for (int c = 0; c < 2; c++) squares[c] += mkv_sum64(mkv_add64(even[c], odd[c]));
}

void MK_APPLY(const mk_affine *channels, int32_t real, const uint8_t *low, const uint8_t *high, ptrdiff_t pitch, uint8_t *output,
              ptrdiff_t output_pitch, int32_t width, int32_t height, int32_t wide) {
    mkv_requant q[4];
    for (int c = 0; c < 4; c++) {
        const mk_affine a = c < real ? channels[c] : (mk_affine){ 0, 0, 1 };
        q[c] = mkv_affine(a.multiplier, a.offset, a.shift);
    }
    const mkv_mask last = mkv_mask_for(width % MKV_LANES), all = mkv_mask_for(MKV_LANES);
    // The rows that a chain of ops comes back for, after other blocks: too far away for the processor to foresee.
    const ptrdiff_t ahead = height * pitch;
    for (int32_t y = 0; y < height; y++, low += pitch, output += output_pitch) {
        for (int32_t x = 0; x < width; x += MKV_LANES) {
            const mkv_mask mask = width - x < MKV_LANES ? last : all;
            const ptrdiff_t at = (ptrdiff_t)x * 4;
            __builtin_prefetch(low + at + ahead, 0, 2);
            if (high) __builtin_prefetch(high + at + ahead, 0, 2);
            mkv_acc words = mkv_load_masked(low + at, mask);
            mkv_acc y0 = mkv_requantize(mkv_shift15(mkv_low16(words)), q[0]);
            mkv_acc y1 = mkv_requantize(mkv_shift15(mkv_high16(words)), q[1]);
            if (wide) {
                if (wide == 2) { y0 = mkv_max0(y0); y1 = mkv_max0(y1); }
                mkv_store_masked(output + at, mkv_pack_i16(y0, y1), mask);
                continue;
            }
            mkv_acc y2 = mkv_zero(), y3 = mkv_zero();
            if (high) {
                words = mkv_load_masked(high + at, mask);
                y2 = mkv_requantize(mkv_shift15(mkv_low16(words)), q[2]);
                y3 = mkv_requantize(mkv_shift15(mkv_high16(words)), q[3]);
            }
            mkv_store_masked(output + at, mkv_pack_u8(y0, y1, y2, y3), mask);
        }
        if (high) high += pitch;
    }
}
#undef MK_STATS
#undef MK_APPLY
