// The rest of the vocabulary for ARMv8-A (after vec_neon.h), as in vec_avx2_tokens.h. A vector is one 128-bit lane: the four
// channels of one voxel, or four voxels.

MKV mkv_acc mkv_or(mkv_acc a, mkv_acc b) { return vorrq_s32(a, b); }
MKV mkv_acc mkv_fill(mkv_mask m, mkv_acc x) {
    const uint32x4_t bits = { 1, 2, 4, 8 };
    return vandq_s32(x, vreinterpretq_s32_u32(vtstq_u32(vdupq_n_u32(m), bits)));
}
MKV mkv_acc mkv_broadcast8(uint8_t x) { return vreinterpretq_s32_u8(vdupq_n_u8(x)); }
MKV mkv_acc mkv_repeat(const void *p) { return mkv_load_word(p); }

#define MKV_AS(element, x) vreinterpretq_##element##_s32(x)
#define MKV_ZIP(name, instruction, element) \
    MKV mkv_acc name(mkv_acc a, mkv_acc b) { \
        return vreinterpretq_s32_##element(instruction##_##element(MKV_AS(element, a), MKV_AS(element, b))); \
    }
MKV_ZIP(mkv_zip8_low, vzip1q, u8)
MKV_ZIP(mkv_zip8_high, vzip2q, u8)
MKV_ZIP(mkv_zip16_low, vzip1q, u16)
MKV_ZIP(mkv_zip16_high, vzip2q, u16)
MKV_ZIP(mkv_zip64_low, vzip1q, s64)
MKV_ZIP(mkv_zip64_high, vzip2q, s64)
#undef MKV_ZIP
MKV mkv_acc mkv_zip32_low(mkv_acc a, mkv_acc b) { return vzip1q_s32(a, b); }
MKV mkv_acc mkv_zip32_high(mkv_acc a, mkv_acc b) { return vzip2q_s32(a, b); }

// Dot products over four taps. Weights [tap][channel] of four taps as [channel][tap], and what signed codes leave out.
typedef struct { int8x16_t weights; int32x4_t bias; } mkv_tap_weight;
MKV mkv_tap_weight mkv_tap_weights(const void *p) {
    const uint8x16_t gather = { 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15 };
    const int8x16_t w = vqtbl1q_s8(vld1q_s8(p), gather);
    return (mkv_tap_weight){ w, vshlq_n_s32(vpaddlq_s16(vpaddlq_s8(w)), 7) };
}
#ifdef MKV_I8MM
MKV mkv_in mkv_taps(mkv_acc x) { return vreinterpretq_u8_s32(x); }
MKV mkv_acc mkv_dot_taps(mkv_acc acc, mkv_in x, mkv_tap_weight w) { return vusdotq_s32(acc, x, w.weights); }
#else
MKV mkv_in mkv_taps(mkv_acc x) { return mkv_signed(vreinterpretq_u8_s32(x)); }
MKV mkv_acc mkv_dot_taps(mkv_acc acc, mkv_in x, mkv_tap_weight w) {
    acc = vaddq_s32(acc, w.bias);
#ifdef MKV_DOTPROD
    return vdotq_s32(acc, x, w.weights);
#else
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w.weights)), high = vmull_high_s8(x, w.weights);
    return vaddq_s32(acc, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
#endif
}
#endif

// Requantization with a scale per lane; shift is that of mkv_requantizer less 32.
typedef struct { int32x4_t multiplier, rounding, shift; } mkv_requant4;
MKV mkv_acc mkv_requantize4(mkv_acc acc, mkv_requant4 q) {
    int32x4_t high = vsraq_n_s32(q.rounding, vqdmulhq_s32(acc, q.multiplier), 1);
    return vshlq_s32(high, vnegq_s32(q.shift));
}

MKV mkv_acc mkv_join_u8(mkv_acc a, mkv_acc b, mkv_acc c, mkv_acc d) {
    return vreinterpretq_s32_u8(mkv_narrow8(a, b, c, d));
}
MKV mkv_acc mkv_join_i16(mkv_acc a, mkv_acc b, mkv_acc c, mkv_acc d, int part) {
    const int32x4_t x = vreinterpretq_s32_s16(mkv_narrow16(a, b)), y = vreinterpretq_s32_s16(mkv_narrow16(c, d));
    return part ? vuzp2q_s32(x, y) : vuzp1q_s32(x, y);
}

// Tables of 256 bytes: four of 64. An index outside a table leaves the byte as it is.
typedef struct { uint8x16x4_t part[4]; } mkv_table;
MKV mkv_table mkv_table_from(const uint8_t *p) {
    return (mkv_table){ { vld1q_u8_x4(p), vld1q_u8_x4(p + 64), vld1q_u8_x4(p + 128), vld1q_u8_x4(p + 192) } };
}
MKV mkv_acc mkv_lookup(const mkv_table *t, mkv_acc x) {
    uint8x16_t code = vreinterpretq_u8_s32(x), y = vqtbl4q_u8(t->part[0], code);
#pragma unroll
    for (int k = 1; k < 4; k++) {
        code = vsubq_u8(code, vdupq_n_u8(64));
        y = vqtbx4q_u8(y, t->part[k], code);
    }
    return vreinterpretq_s32_u8(y);
}

MKV mkv_acc mkv_max16(mkv_acc a, mkv_acc b) { return vreinterpretq_s32_s16(vmaxq_s16(MKV_AS(s16, a), MKV_AS(s16, b))); }
MKV mkv_acc mkv_max32(mkv_acc a, mkv_acc b) { return vmaxq_s32(a, b); }
MKV mkv_acc mkv_andnot(mkv_acc out, mkv_acc x) { return vbicq_s32(x, out); }
#define mkv_shift_right_fixed(x, n) vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(x), n))
#define mkv_shift_left_fixed(x, n) vshlq_n_s32(x, n)
// Signed halves of words: `yes` where a is greater than b.
MKV mkv_acc mkv_pick_greater16(mkv_acc a, mkv_acc b, mkv_acc yes, mkv_acc no) {
    return vbslq_s32(vreinterpretq_u32_u16(vcgtq_s16(MKV_AS(s16, a), MKV_AS(s16, b))), yes, no);
}
MKV mkv_acc mkv_adds16(mkv_acc a, mkv_acc b) {
    return vreinterpretq_s32_s16(vqaddq_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
}

// Layer normalization: products and shifts of 64 bits in the even and the odd lanes apart.
MKV mkv_acc mkv_and(mkv_acc a, mkv_acc b) { return vandq_s32(a, b); }
MKV mkv_acc mkv_sub32(mkv_acc a, mkv_acc b) { return vsubq_s32(a, b); }
MKV mkv_acc mkv_madd16(mkv_acc a, mkv_acc b) {
    const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    return vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
}
MKV mkv_acc mkv_sub64(mkv_acc a, mkv_acc b) {
    return vreinterpretq_s32_s64(vsubq_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
MKV int32x2_t mkv_evens(mkv_acc x) { return vmovn_s64(vreinterpretq_s64_s32(x)); }
MKV mkv_acc mkv_mul_signed(mkv_acc a, mkv_acc b) { return vreinterpretq_s32_s64(vmull_s32(mkv_evens(a), mkv_evens(b))); }
MKV mkv_acc mkv_mul_unsigned(mkv_acc a, mkv_acc b) {
    return vreinterpretq_s32_u64(vmull_u32(vreinterpret_u32_s32(mkv_evens(a)), vreinterpret_u32_s32(mkv_evens(b))));
}
MKV mkv_acc mkv_up32(mkv_acc x) { return vreinterpretq_s32_s64(vshlq_n_s64(vreinterpretq_s64_s32(x), 32)); }
MKV mkv_acc mkv_broadcast64(int64_t x) { return vreinterpretq_s32_s64(vdupq_n_s64(x)); }
MKV mkv_acc mkv_merge_high(mkv_acc even, mkv_acc odd) { return vtrn2q_s32(even, odd); }
MKV void mkv_store64(int64_t *p, mkv_acc even, mkv_acc odd) {
    const int64x2_t x = vreinterpretq_s64_s32(even), y = vreinterpretq_s64_s32(odd);
    vst1q_s64(p, vzip1q_s64(x, y));
    vst1q_s64(p + 2, vzip2q_s64(x, y));
}
typedef int64x2_t mkv_shift64;
MKV mkv_shift64 mkv_shift64_by(mkv_acc count) { return vnegq_s64(vreinterpretq_s64_s32(count)); }
MKV mkv_acc mkv_sra64(mkv_acc x, mkv_shift64 s) { return vreinterpretq_s32_s64(vshlq_s64(vreinterpretq_s64_s32(x), s)); }

// Gate, Add.
MKV mkv_acc mkv_sub16(mkv_acc a, mkv_acc b) {
    return vreinterpretq_s32_s16(vsubq_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
}
MKV mkv_acc mkv_sra32(mkv_acc x, int32_t count) { return vshlq_s32(x, vdupq_n_s32(-count)); }

// Words of a and b in turn: the first vector, then the second.
MKV void mkv_interleave(mkv_acc a, mkv_acc b, mkv_acc y[2]) {
    y[0] = vzip1q_s32(a, b);
    y[1] = vzip2q_s32(a, b);
}
MKV mkv_acc mkv_load_fourth(const uint8_t *p, ptrdiff_t size) {
    (void)size;  // one record fills the vector
    return mkv_load_word(p);
}

// Adds 2 · MKV_LANES values of a and of b: the lower half in acc[0], the upper half in acc[1].
MKV void mkv_add_rows(const int16_t *a, const int16_t *b, mkv_acc acc[2]) {
    const int16x8_t x = vld1q_s16(a), y = vld1q_s16(b);
    acc[0] = vaddw_s16(vaddw_s16(acc[0], vget_low_s16(x)), vget_low_s16(y));
    acc[1] = vaddw_high_s16(vaddw_high_s16(acc[1], x), y);
}
