// Vocabulary of scan_body.h for ARMv8-A (after vec_neon.h).

MKV mkv_acc mkv_sub32(mkv_acc a, mkv_acc b) { return vsubq_s32(a, b); }
MKV mkv_acc mkv_and32(mkv_acc a, mkv_acc b) { return vandq_s32(a, b); }
MKV mkv_acc mkv_or32(mkv_acc a, mkv_acc b) { return vorrq_s32(a, b); }
MKV mkv_acc mkv_min32(mkv_acc a, mkv_acc b) { return vminq_s32(a, b); }
MKV mkv_acc mkv_max32(mkv_acc a, mkv_acc b) { return vmaxq_s32(a, b); }
MKV mkv_acc mkv_min_u32(mkv_acc a, mkv_acc b) {
    return vreinterpretq_s32_u32(vminq_u32(vreinterpretq_u32_s32(a), vreinterpretq_u32_s32(b)));
}
MKV mkv_acc mkv_shift_left_by(mkv_acc x, mkv_acc n) { return vshlq_s32(x, n); }
MKV mkv_acc mkv_shift_right_by(mkv_acc x, mkv_acc n) {
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(x), vnegq_s32(n)));
}
MKV mkv_acc mkv_shift_right_signed_by(mkv_acc x, mkv_acc n) { return vshlq_s32(x, vnegq_s32(n)); }
MKV mkv_acc mkv_shift_right_signed(mkv_acc x, int32_t n) { return vshlq_s32(x, vdupq_n_s32(-n)); }
#define mkv_shift_right_fixed(x, n) vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(x), n))
#define mkv_shift_right_signed_fixed(x, n) vshrq_n_s32(x, n)
#define mkv_shift_left_fixed(x, n) vshlq_n_s32(x, n)
MKV mkv_acc mkv_keep(mkv_acc x, mkv_mask m) {
    static const int32_t bit[4] = { 1, 2, 4, 8 };
    return vandq_s32(x, vreinterpretq_s32_u32(vtstq_s32(vdupq_n_s32((int32_t)m), vld1q_s32(bit))));
}
MKV mkv_acc mkv_widen_i16(const uint8_t *p) { return vmovl_s16(vreinterpret_s16_u8(vld1_u8(p))); }
MKV mkv_acc mkv_widen_u8(const uint8_t *p) {
    uint32_t word;
    __builtin_memcpy(&word, p, 4);
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(word)))));
}
MKV void mkv_store_i16(uint8_t *p, mkv_acc x) { vst1_u8(p, vreinterpret_u8_s16(vqmovn_s32(x))); }
MKV void mkv_gather_pair(const uint32_t *table, mkv_acc index, mkv_acc *first, mkv_acc *second) {
    const int32_t *words = (const int32_t *)table;
    const int32x2_t a = vld1_s32(words + vgetq_lane_s32(index, 0)), b = vld1_s32(words + vgetq_lane_s32(index, 1));
    const int32x2_t c = vld1_s32(words + vgetq_lane_s32(index, 2)), d = vld1_s32(words + vgetq_lane_s32(index, 3));
    *first = vuzp1q_s32(vcombine_s32(a, b), vcombine_s32(c, d));
    *second = vuzp2q_s32(vcombine_s32(a, b), vcombine_s32(c, d));
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
#define MKV_SCAN_PAIRS 1
MKV void mkv_weights_of(mkv_acc step, const uint32_t *rates, mkv_exponent e, mkv_acc weight[2], const int pairs) {
    (void)pairs;
    const uint16x8_t a = vreinterpretq_u16_s32(step), b = vld1q_u16((const uint16_t *)rates);
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

// (a·m + x·s + 2^(n-1)) >> n for n in 33...53, constants by lane; sums of 64 bits, upper words taken.
typedef struct { int32x4_t m, s, rounding, shift; } mkv_sum_requant;
MKV mkv_sum_requant mkv_sum_requantizer(const int32_t *m, const int32_t *s, const int32_t *n) {
    const int32x4_t shift = vld1q_s32(n);
    mkv_sum_requant q = { vld1q_s32(m), vld1q_s32(s) };
    q.rounding = vshlq_s32(vdupq_n_s32(1), vsubq_s32(shift, vdupq_n_s32(33)));
    q.shift = vsubq_s32(vdupq_n_s32(32), shift);
    return q;
}
MKV mkv_acc mkv_requantize_sum(mkv_acc a, mkv_acc x, mkv_sum_requant q) {
    const int64x2_t low = vmlal_s32(vmull_s32(vget_low_s32(a), vget_low_s32(q.m)), vget_low_s32(x), vget_low_s32(q.s));
    const int64x2_t up = vmlal_high_s32(vmull_high_s32(a, q.m), x, q.s);
    const int32x4_t high = vuzp2q_s32(vreinterpretq_s32_s64(low), vreinterpretq_s32_s64(up));
    return vshlq_s32(vaddq_s32(high, q.rounding), q.shift);
}

MKV void mkv_transpose(mkv_acc r[4]) {
    const int64x2_t a = vreinterpretq_s64_s32(vtrn1q_s32(r[0], r[1])), b = vreinterpretq_s64_s32(vtrn2q_s32(r[0], r[1]));
    const int64x2_t c = vreinterpretq_s64_s32(vtrn1q_s32(r[2], r[3])), d = vreinterpretq_s64_s32(vtrn2q_s32(r[2], r[3]));
    r[0] = vreinterpretq_s32_s64(vtrn1q_s64(a, c));
    r[1] = vreinterpretq_s32_s64(vtrn1q_s64(b, d));
    r[2] = vreinterpretq_s32_s64(vtrn2q_s64(a, c));
    r[3] = vreinterpretq_s32_s64(vtrn2q_s64(b, d));
}
