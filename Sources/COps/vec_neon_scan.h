// Vocabulary of scan_body.h for ARMv8-A (after vec_neon.h).

MKV mkv_acc mkv_sub32(mkv_acc a, mkv_acc b) { return vsubq_s32(a, b); }
MKV mkv_acc mkv_and32(mkv_acc a, mkv_acc b) { return vandq_s32(a, b); }
MKV mkv_acc mkv_or32(mkv_acc a, mkv_acc b) { return vorrq_s32(a, b); }
MKV mkv_acc mkv_xor32(mkv_acc a, mkv_acc b) { return veorq_s32(a, b); }
MKV mkv_acc mkv_min32(mkv_acc a, mkv_acc b) { return vminq_s32(a, b); }
MKV mkv_acc mkv_max32(mkv_acc a, mkv_acc b) { return vmaxq_s32(a, b); }
MKV mkv_acc mkv_min_u32(mkv_acc a, mkv_acc b) {
    return vreinterpretq_s32_u32(vminq_u32(vreinterpretq_u32_s32(a), vreinterpretq_u32_s32(b)));
}
MKV mkv_acc mkv_shift_right(mkv_acc x, int32_t n) {
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(x), vdupq_n_s32(-n)));
}
MKV mkv_acc mkv_shift_right_signed(mkv_acc x, int32_t n) { return vshlq_s32(x, vdupq_n_s32(-n)); }
#define mkv_shift_right_fixed(x, n) vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(x), n))
#define mkv_shift_left_fixed(x, n) vshlq_n_s32(x, n)
MKV mkv_acc mkv_byte(mkv_acc words, int i) {
    return vandq_s32(mkv_shift_right(words, 8 * i), vdupq_n_s32(255));
}
MKV mkv_acc mkv_gather(const uint32_t *table, mkv_acc index) {
    const uint32x4_t i = vreinterpretq_u32_s32(index);
    const uint32x4_t words = { table[vgetq_lane_u32(i, 0)], table[vgetq_lane_u32(i, 1)], table[vgetq_lane_u32(i, 2)],
                               table[vgetq_lane_u32(i, 3)] };
    return vreinterpretq_s32_u32(words);
}

// low · low + high · high of signed 16-bit halves.
MKV mkv_acc mkv_products(mkv_acc a, mkv_acc b) {
    const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    return vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
}
MKV mkv_acc mkv_add_product(mkv_acc acc, mkv_acc a, mkv_acc b) { return vaddq_s32(acc, mkv_products(a, b)); }
MKV mkv_acc mkv_add_product_saturated(mkv_acc acc, mkv_acc a, mkv_acc b) { return vqaddq_s32(acc, mkv_products(a, b)); }

// Sources/Ops/Scan/Exponent.swift for 8 words at once; the weights go to the upper halves, the lower ones are 0.
typedef struct { int16x8_t bits, rest; uint16x8_t rounding; } mkv_exponent;
MKV mkv_exponent mkv_exponents(const uint8_t *bits) {
    mkv_exponent e;
    const int32x4_t b = mkv_load_word(bits);
    e.bits = vreinterpretq_s16_s32(vorrq_s32(b, vshlq_n_s32(b, 16)));
    e.rest = vsubq_s16(e.bits, vdupq_n_s16(16));  // shifts to the right are negative ones to the left
    e.rounding = vshlq_u16(vdupq_n_u16(1), vsubq_s16(vdupq_n_s16(15), e.bits));
    return e;
}
MKV void mkv_weights_of(mkv_acc step, mkv_acc rate, mkv_exponent e, mkv_acc weight[2]) {
    const uint16x8_t a = vreinterpretq_u16_s32(step), b = vreinterpretq_u16_s32(rate);
    const uint32x4_t p0 = vmull_u16(vget_low_u16(a), vget_low_u16(b)), p1 = vmull_high_u16(a, b);
    const uint16x8_t high = vuzp2q_u16(vreinterpretq_u16_u32(p0), vreinterpretq_u16_u32(p1));
    uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(p0), vreinterpretq_u16_u32(p1));
    low = vqaddq_u16(low, e.rounding);
    const uint16x8_t whole = vshlq_u16(vqaddq_u16(high, e.rounding), e.rest);
    const int16x8_t f = vreinterpretq_s16_u16(vorrq_u16(vshlq_u16(high, e.bits), vshlq_u16(low, e.rest)));
    int16x8_t x = vsubq_s16(vdupq_n_s16(229), vqrdmulhq_s16(f, vdupq_n_s16(20)));
    x = vsubq_s16(vdupq_n_s16(1968), vqrdmulhq_s16(f, x));
    x = vsubq_s16(vdupq_n_s16(11356), vqrdmulhq_s16(f, x));
    x = vsubq_s16(vdupq_n_s16(-32768), vqrdmulhq_s16(f, x));
    // A shift count is a signed byte; 16 already leaves nothing.
    const int16x8_t count = vnegq_s16(vreinterpretq_s16_u16(vminq_u16(whole, vdupq_n_u16(16))));
    const uint16x8_t kept = vshlq_u16(vreinterpretq_u16_s16(x), count);
    const int32x4_t y = vreinterpretq_s32_u16(veorq_u16(kept, vdupq_n_u16(0x8000)));
    weight[0] = vshlq_n_s32(y, 16);
    weight[1] = vandq_s32(y, vdupq_n_s32((int32_t)0xFFFF0000));
}

// (a·m + x·s + 2^(n-1)) >> n for n in 33...53; sums of 64 bits, upper words taken.
MKV mkv_acc mkv_requantize_sum(mkv_acc a, int32_t m, mkv_acc x, int32_t s, int32_t n) {
    const int32x4_t vm = vdupq_n_s32(m), vs = vdupq_n_s32(s);
    const int64x2_t low = vmlal_s32(vmull_s32(vget_low_s32(a), vget_low_s32(vm)), vget_low_s32(x), vget_low_s32(vs));
    const int64x2_t up = vmlal_high_s32(vmull_high_s32(a, vm), x, vs);
    const int32x4_t high = vuzp2q_s32(vreinterpretq_s32_s64(low), vreinterpretq_s32_s64(up));
    return vshlq_s32(vaddq_s32(high, vdupq_n_s32(1 << (n - 33))), vdupq_n_s32(32 - n));
}

MKV void mkv_transpose(mkv_acc r[4]) {
    const int64x2_t a = vreinterpretq_s64_s32(vtrn1q_s32(r[0], r[1])), b = vreinterpretq_s64_s32(vtrn2q_s32(r[0], r[1]));
    const int64x2_t c = vreinterpretq_s64_s32(vtrn1q_s32(r[2], r[3])), d = vreinterpretq_s64_s32(vtrn2q_s32(r[2], r[3]));
    r[0] = vreinterpretq_s32_s64(vtrn1q_s64(a, c));
    r[1] = vreinterpretq_s32_s64(vtrn1q_s64(b, d));
    r[2] = vreinterpretq_s32_s64(vtrn2q_s64(a, c));
    r[3] = vreinterpretq_s32_s64(vtrn2q_s64(b, d));
}
