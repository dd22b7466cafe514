// Shared by the token ops: the constants of four channels as a quad. MK_INLINE and MK_ISA come from the including file.

// Bias and requantization of `real` channels (1 ... 4). Absent channels get zeros, which make the code 0 whatever the zero
// point is.
MK_INLINE mkv_requant4 quad_requantizer(const mk_channel *channels, int32_t real, int32_t zero_point, mkv_acc *bias) {
    int32_t biases[4] = { 0 }, multipliers[4] = { 0 }, roundings[4] = { 0 }, shifts[4] = { 0 };
    for (int32_t c = 0; c < real; c++) {
        const int32_t shift = channels[c].shift;
        biases[c] = channels[c].bias;
        multipliers[c] = channels[c].multiplier;
        roundings[c] = (1 << (shift - 33)) + (zero_point << (shift - 32));
        shifts[c] = shift - 32;
    }
    *bias = mkv_repeat(biases);
    mkv_requant4 q = { mkv_repeat(multipliers), mkv_repeat(roundings), mkv_repeat(shifts) };
    return q;
}

// Requantized quads of voxels i, i + 4, ... in y[i], into one u8 block or (`wide`) two i16 blocks `stride` bytes apart, of which the
// second exists where there are more than two channels.
MK_INLINE void quad_store(int32_t wide, const mkv_acc y[4], int32_t real, uint8_t *to, ptrdiff_t stride, mkv_mask mask) {
    if (!wide) {
        mkv_store_masked(to, mkv_join_u8(y[0], y[1], y[2], y[3]), mask);
        return;
    }
    mkv_store_masked(to, mkv_join_i16(y[0], y[1], y[2], y[3], 0), mask);
    if (real > 2) mkv_store_masked(to + stride, mkv_join_i16(y[0], y[1], y[2], y[3], 1), mask);
}

// The mask of the lanes from `x` on that lie before `end`.
MK_INLINE mkv_mask mask_until(int32_t x, int32_t end) {
    const int32_t lanes = end - x;
    return mkv_mask_for(lanes < 0 ? 0 : lanes < MKV_LANES ? lanes : MKV_LANES);
}
