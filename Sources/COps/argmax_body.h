// The generic body of class indices from i16 scores (Sources/Ops/Argmax). A word holds an even and an odd class: the best of each and its
// block go along side by side in 16-bit halves.

void MK_ISA(mk_argmax)(const uint8_t *scores, ptrdiff_t stride, int32_t classes, void *labels, int32_t label_bytes, int32_t width) {
    const mkv_acc low_half = mkv_broadcast(0xFFFF);
    for (int32_t x = 0; x < width; x += MKV_LANES) {
        const int32_t lanes = width - x < MKV_LANES ? width - x : MKV_LANES;
        const mkv_mask mask = mkv_mask_for(lanes);
        const uint8_t *from = scores + (ptrdiff_t)x * 4;
        mkv_acc best = mkv_broadcast((int32_t)0x80008000), block = mkv_zero();
        for (int32_t c = 0; c < classes; c += 2, from += stride) {
            mkv_acc words = mkv_load_masked(from, mask);
            // A class that does not exist has the lowest score, which is never above another.
            if (c + 1 == classes) words = mkv_or(mkv_and(words, low_half), mkv_broadcast((int32_t)0x80000000));
            block = mkv_pick_greater16(words, best, mkv_broadcast(c / 2 * 0x00010001), block);
            best = mkv_max16(best, words);
        }
        // Score, then how low the class is: the larger of the two is the answer for a tie, too.
        mkv_acc even = mkv_shift_left_fixed(mkv_and(block, low_half), 1);
        mkv_acc odd = mkv_add32(mkv_shift_left_fixed(mkv_shift_right_fixed(block, 16), 1), mkv_broadcast(1));
        even = mkv_or(mkv_shift_left_fixed(best, 16), mkv_sub32(low_half, even));
        odd = mkv_or(mkv_andnot(low_half, best), mkv_sub32(low_half, odd));
        int32_t winner[MKV_LANES];
        mkv_store((uint8_t *)winner, mkv_sub32(low_half, mkv_and(mkv_max32(even, odd), low_half)));
        if (label_bytes == 1)
            for (int32_t i = 0; i < lanes; i++) ((uint8_t *)labels)[x + i] = (uint8_t)winner[i];
        else
            for (int32_t i = 0; i < lanes; i++) ((uint16_t *)labels)[x + i] = (uint16_t)winner[i];
    }
}
