// Vocabulary of conv3d_body.h, norm_body.h and scan_body.h for ARMv8-A: four voxels per vector. What multiplies bytes comes from
// the including file: MKV_DOTPROD (`sdot`), MKV_I8MM (`usdot`), or neither.
#include <arm_neon.h>

#define MKV_LANES 4

typedef int32x4_t mkv_acc;
typedef uint32_t mkv_mask;  // a bit per lane
typedef struct { int32x4_t multiplier, rounding, shift; } mkv_requant;

#define MKV static inline __attribute__((always_inline))

MKV mkv_acc mkv_zero(void) { return vdupq_n_s32(0); }
MKV mkv_acc mkv_broadcast(int32_t x) { return vdupq_n_s32(x); }

// The weights of four output channels are one register; products take a channel of it by its number.
typedef int8x16_t mkv_quad;
MKV mkv_quad mkv_weight_quad(const int8_t *p) { return vld1q_s8(p); }

MKV uint8x16_t mkv_load_words(const uint8_t *p) { return vld1q_u8(p); }
MKV uint8x16_t mkv_load_second_words(const uint8_t *p) {
    return vreinterpretq_u8_u32(vld2q_u32((const uint32_t *)p).val[0]);
}
// Codes less 128, for multipliers that take signed bytes. The constant is hidden from the compiler, which else makes it anew at
// every use.
MKV int8x16_t mkv_signed(uint8x16_t x) {
    uint8x16_t sign = vdupq_n_u8(0x80);
    __asm__("" : "+w"(sign));
    return vreinterpretq_s8_u8(veorq_u8(x, sign));
}
// Nothing is loaded before the tap that uses it: the accumulators leave no registers to keep it in.
#define MKV_END_OF_TAP __asm__ volatile("" ::: "memory")
// A number that stays in a register, as the offset of a load, and is not made anew by additions.
#define MKV_KEEP(x) __asm__("" : "+r"(x))
// Hides from the compiler that a vector is what it was.
#define MKV_OPAQUE(x) __asm__ volatile("" : "+w"(x))
#define MKV_OPAQUE_IN MKV_OPAQUE

// The first bytes of three words as one; the fourth byte is anything.
MKV uint8x16_t mkv_merged_words(const uint8_t *p, ptrdiff_t step) {
    uint32x4_t x = vreinterpretq_u32_u8(vld1q_u8(p));
    x = vsliq_n_u32(x, vreinterpretq_u32_u8(vld1q_u8(p + step)), 8);
    return vreinterpretq_u8_u32(vsliq_n_u32(x, vreinterpretq_u32_u8(vld1q_u8(p + 2 * step)), 16));
}

#if defined(MKV_DOTPROD) || defined(MKV_I8MM)

// 24 of the 32 registers are accumulators, as in vec_avx512vnni.h. A weight is used by two vectors at least, so that loads stay few.
#define MKV_CHANNELS 12
#define MKV_CHANNELS_FOR(vectors) 12
#define MKV_CHANNELS_SECOND 4  // at stride 2, for less code
#define MKV_TILE_FOR(count) ((count) > 8 ? 2 : (count) > 4 ? 3 : (count) > 2 ? 5 : 6)
#define MKV_TILE_MAX 6
#define MKV_BLOCKS_INSIDE

typedef int32x4_t mkv_sum;
typedef struct { int8x16_t quad; int channel; } mkv_weight;

MKV mkv_weight mkv_weights(mkv_quad quad, int i) { return (mkv_weight){ quad, i }; }
MKV mkv_sum mkv_start(int32_t bias) { return vdupq_n_s32(bias); }
MKV mkv_acc mkv_total(mkv_sum sum) { return sum; }

// `channel` is a constant once everything is inlined.
#define MKV_BY_CHANNEL(dot) \
    switch (w.channel) { \
    case 0: return dot(acc, x, w.quad, 0); \
    case 1: return dot(acc, x, w.quad, 1); \
    case 2: return dot(acc, x, w.quad, 2); \
    default: return dot(acc, x, w.quad, 3); \
    }
#ifdef MKV_I8MM
typedef uint8x16_t mkv_in;
MKV mkv_in mkv_load(const uint8_t *p) { return mkv_load_words(p); }
MKV mkv_in mkv_load_second(const uint8_t *p) { return mkv_load_second_words(p); }
MKV mkv_in mkv_load_merged(const uint8_t *p, ptrdiff_t step) { return mkv_merged_words(p, step); }
MKV mkv_sum mkv_dot(mkv_sum acc, mkv_in x, mkv_weight w) { MKV_BY_CHANNEL(vusdotq_laneq_s32) }
#else
#define MKV_SIGNED_INPUT
typedef int8x16_t mkv_in;
MKV mkv_in mkv_load(const uint8_t *p) { return mkv_signed(mkv_load_words(p)); }
MKV mkv_in mkv_load_second(const uint8_t *p) { return mkv_signed(mkv_load_second_words(p)); }
MKV mkv_in mkv_load_merged(const uint8_t *p, ptrdiff_t step) { return mkv_signed(mkv_merged_words(p, step)); }
MKV mkv_sum mkv_dot(mkv_sum acc, mkv_in x, mkv_weight w) { MKV_BY_CHANNEL(vdotq_laneq_s32) }
#endif

#else

// Products of bytes have 16 bits and are added in pairs to 32: a sum is two registers of half sums. Two products of at most
// 128 · 127 fit 16 bits, so that neighbouring taps share that addition.
#define MKV_CHANNELS 4
#define MKV_CHANNELS_FOR(vectors) 4
#define MKV_CHANNELS_SECOND 4
#define MKV_TILE_FOR(count) ((count) > 2 ? 2 : (count) > 1 ? 4 : 6)
#define MKV_TILE_MAX 6
#define MKV_BLOCKS_INSIDE
#define MKV_SIGNED_INPUT
#define MKV_PAIRS

typedef struct { int32x4_t low, high; } mkv_sum;
typedef int8x16_t mkv_in;
typedef int8x16_t mkv_weight;

MKV mkv_in mkv_load(const uint8_t *p) { return mkv_signed(mkv_load_words(p)); }
MKV mkv_in mkv_load_second(const uint8_t *p) { return mkv_signed(mkv_load_second_words(p)); }
MKV mkv_in mkv_load_merged(const uint8_t *p, ptrdiff_t step) { return mkv_signed(mkv_merged_words(p, step)); }
MKV mkv_weight mkv_weights(mkv_quad quad, int i) {
    const int32x4_t q = vreinterpretq_s32_s8(quad);
    switch (i) {
    case 0: return vreinterpretq_s8_s32(vdupq_laneq_s32(q, 0));
    case 1: return vreinterpretq_s8_s32(vdupq_laneq_s32(q, 1));
    case 2: return vreinterpretq_s8_s32(vdupq_laneq_s32(q, 2));
    default: return vreinterpretq_s8_s32(vdupq_laneq_s32(q, 3));
    }
}
MKV mkv_sum mkv_start(int32_t bias) {
    const int32x4_t even = { bias, 0, bias, 0 };
    return (mkv_sum){ even, even };
}
MKV mkv_acc mkv_total(mkv_sum sum) { return vpaddq_s32(sum.low, sum.high); }
MKV mkv_sum mkv_dot(mkv_sum acc, mkv_in x, mkv_weight w) {
    acc.low = vpadalq_s16(acc.low, vmull_s8(vget_low_s8(x), vget_low_s8(w)));
    acc.high = vpadalq_s16(acc.high, vmull_high_s8(x, w));
    return acc;
}
// 16-bit channels, two to a word.
#define MKV_LIMIT_DOT16
typedef int16x8_t mkv_in16;
typedef int16x8_t mkv_weight16;
MKV mkv_in16 mkv_load16(const uint8_t *p) { return vreinterpretq_s16_u8(mkv_load_words(p)); }
MKV mkv_in16 mkv_load16_second(const uint8_t *p) { return vreinterpretq_s16_u8(mkv_load_second_words(p)); }
MKV mkv_weight16 mkv_weights16(mkv_quad quad, int i) { return vreinterpretq_s16_s8(mkv_weights(quad, i)); }
MKV mkv_sum mkv_dot16(mkv_sum acc, mkv_in16 x, mkv_weight16 w) {
    acc.low = vmlal_s16(acc.low, vget_low_s16(x), vget_low_s16(w));
    acc.high = vmlal_high_s16(acc.high, x, w);
    return acc;
}
MKV mkv_sum mkv_dot_pair(mkv_sum acc, mkv_in x0, mkv_weight w0, mkv_in x1, mkv_weight w1) {
    int16x8_t low = vmull_s8(vget_low_s8(x0), vget_low_s8(w0)), high = vmull_high_s8(x0, w0);
    low = vmlal_s8(low, vget_low_s8(x1), vget_low_s8(w1));
    high = vmlal_high_s8(high, x1, w1);
    acc.low = vpadalq_s16(acc.low, low);
    acc.high = vpadalq_s16(acc.high, high);
    return acc;
}

#endif

#ifdef MKV_SIGNED_INPUT
// Sums of the four weights of each channel.
MKV mkv_acc mkv_add_weights(mkv_acc acc, mkv_quad quad) { return vaddq_s32(acc, vpaddlq_s16(vpaddlq_s8(quad))); }
#endif

// As in vec_avx512vnni.h. `sqdmulh` is the upper half of the doubled product; halved again it is the upper half. It saturates for
// -2^31 · -2^31 only, and a multiplier is not negative.
MKV mkv_requant mkv_requantizer(int32_t multiplier, int32_t shift, int32_t zero_point) {
    mkv_requant q;
    q.multiplier = vdupq_n_s32(multiplier);
    q.rounding = vdupq_n_s32((1 << (shift - 33)) + (zero_point << (shift - 32)));
    q.shift = vdupq_n_s32(32 - shift);
    return q;
}
MKV mkv_acc mkv_requantize(mkv_acc acc, mkv_requant q) {
    int32x4_t high = vsraq_n_s32(q.rounding, vqdmulhq_s32(acc, q.multiplier), 1);
    return vshlq_s32(high, q.shift);
}

MKV int16x8_t mkv_narrow16(mkv_acc a, mkv_acc b) { return vqmovn_high_s32(vqmovn_s32(a), b); }
MKV uint8x16_t mkv_narrow8(mkv_acc a, mkv_acc b, mkv_acc c, mkv_acc d) {
    return vqmovun_high_s16(vqmovun_s16(mkv_narrow16(a, b)), mkv_narrow16(c, d));
}
// Four vectors of int32 -> one word of four saturated bytes per voxel.
MKV mkv_acc mkv_pack_u8(mkv_acc a, mkv_acc b, mkv_acc c, mkv_acc d) {
    const uint8x16_t gather = { 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15 };
    return vreinterpretq_s32_u8(vqtbl1q_u8(mkv_narrow8(a, b, c, d), gather));
}
MKV mkv_acc mkv_pack_i16(mkv_acc a, mkv_acc b) {
    const int16x4_t x = vqmovn_s32(a), y = vqmovn_s32(b);
    return vreinterpretq_s32_s16(vcombine_s16(vzip1_s16(x, y), vzip2_s16(x, y)));
}

// There are no masked loads and stores; a vector that is not whole goes lane by lane.
MKV mkv_mask mkv_mask_for(int32_t lanes) { return (1u << lanes) - 1; }
MKV mkv_mask mkv_mask_without(mkv_mask m, mkv_mask out) { return m & ~out; }
MKV mkv_acc mkv_load_word(const uint8_t *p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
MKV void mkv_store(uint8_t *p, mkv_acc x) { vst1q_u8(p, vreinterpretq_u8_s32(x)); }
MKV mkv_acc mkv_load_masked(const uint8_t *p, mkv_mask m) {
    if (m == 15) return mkv_load_word(p);
    int32_t lanes[4] = { 0 };
    for (int i = 0; i < 4; i++)
        if (m >> i & 1) __builtin_memcpy(&lanes[i], p + 4 * i, 4);
    return vld1q_s32(lanes);
}
MKV void mkv_store_masked(uint8_t *p, mkv_acc x, mkv_mask m) {
    if (m == 15) {
        mkv_store(p, x);
        return;
    }
    int32_t lanes[4];
    vst1q_s32(lanes, x);
    for (int i = 0; i < 4; i++)
        if (m >> i & 1) __builtin_memcpy(p + 4 * i, &lanes[i], 4);
}

// Normalization.
MKV mkv_acc mkv_low16(mkv_acc x) { return vshrq_n_s32(vshlq_n_s32(x, 16), 16); }
MKV mkv_acc mkv_high16(mkv_acc x) { return vshrq_n_s32(x, 16); }
MKV mkv_acc mkv_shift15(mkv_acc x) { return vshlq_n_s32(x, 15); }
MKV mkv_acc mkv_mul32(mkv_acc a, mkv_acc b) { return vmulq_s32(a, b); }
MKV mkv_acc mkv_max0(mkv_acc x) { return vmaxq_s32(x, vdupq_n_s32(0)); }
MKV mkv_acc mkv_add32(mkv_acc a, mkv_acc b) { return vaddq_s32(a, b); }
MKV mkv_acc mkv_add64(mkv_acc a, mkv_acc b) {
    return vreinterpretq_s32_s64(vaddq_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
MKV mkv_acc mkv_even32(mkv_acc x) { return vtrn1q_s32(x, vdupq_n_s32(0)); }
MKV mkv_acc mkv_odd32(mkv_acc x) { return vreinterpretq_s32_u64(vshrq_n_u64(vreinterpretq_u64_s32(x), 32)); }
MKV int64_t mkv_sum32(mkv_acc x) { return vaddlvq_s32(x); }
MKV int64_t mkv_sum64(mkv_acc x) { return vaddvq_s64(vreinterpretq_s64_s32(x)); }
MKV mkv_requant mkv_affine(int32_t multiplier, int32_t offset, int32_t shift) {
    return (mkv_requant){ vdupq_n_s32(multiplier), vdupq_n_s32(offset), vdupq_n_s32(-shift) };
}
