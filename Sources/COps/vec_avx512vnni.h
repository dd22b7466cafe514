// Vocabulary of conv3d_body.h for AVX-512 with VNNI: sixteen voxels per vector, one `vpdpbusd` per four
// channels. 24 of the 32 registers are accumulators: 8 output channels x 3 vectors, or 12 x 2 for the rows that do not
// divide by three.
#include <immintrin.h>

#define MKV_LANES 16
#define MKV_CHANNELS 12
#define MKV_CHANNELS_FOR(vectors) ((vectors) == 1 || (vectors) == 2 || (vectors) == 4 ? 12 : 8)
#define MKV_CHANNELS_SECOND 12
#define MKV_TILE_FOR(count) ((count) > 8 ? 2 : (count) > 6 ? 3 : (count) > 4 ? 4 : 6)
#define MKV_TILE_MAX 6

typedef __m512i mkv_acc;
typedef mkv_acc mkv_sum;  // of a convolution, while it grows
typedef __m512i mkv_in;
typedef __m512i mkv_weight;
typedef __mmask16 mkv_mask;
typedef struct { __m512i multiplier, rounding, shift; } mkv_requant;

#define MKV_END_OF_TAP
#define MKV_KEEP(x)
#define MKV_OPAQUE(x) __asm__ volatile("" : "+v"(x))
#define MKV_OPAQUE_IN MKV_OPAQUE
#define MKV static inline __attribute__((always_inline))

MKV mkv_acc mkv_zero(void) { return _mm512_setzero_si512(); }
MKV mkv_acc mkv_broadcast(int32_t x) { return _mm512_set1_epi32(x); }
MKV mkv_in mkv_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
// The first bytes of three words `step` bytes apart, 4 or more, as one; the fourth byte is anything.
MKV mkv_in mkv_load_merged(const uint8_t *p, ptrdiff_t step) {
    // A load that starts a byte earlier moves the bytes up.
    __m512i two = _mm512_mask_loadu_epi8(_mm512_loadu_si512(p), 0x2222222222222222, p + step - 1);
    return _mm512_mask_loadu_epi8(two, 0x4444444444444444, p + 2 * step - 2);
}
MKV mkv_in mkv_load_second(const uint8_t *p) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_epi32(_mm512_loadu_si512(p), even, _mm512_loadu_si512(p + 64));
}
// The weights of four output channels lie side by side; one channel's are taken at a time.
typedef const int8_t *mkv_quad;
MKV mkv_quad mkv_weight_quad(const int8_t *p) { return p; }
MKV mkv_weight mkv_weights(mkv_quad quad, int i) {
    int32_t w;
    __builtin_memcpy(&w, quad + 4 * i, 4);
    return _mm512_set1_epi32(w);
}
MKV mkv_sum mkv_dot(mkv_sum acc, mkv_in x, mkv_weight w) { return _mm512_dpbusd_epi32(acc, x, w); }

// 16-bit channels, two to a word.
#define MKV_LIMIT_DOT16
typedef __m512i mkv_in16;
typedef __m512i mkv_weight16;
#define mkv_load16 mkv_load
#define mkv_load16_second mkv_load_second
#define mkv_weights16 mkv_weights
// Of the intrinsic the compiler makes two instructions where it thinks that shortens a chain of sums.
MKV mkv_sum mkv_dot16(mkv_sum acc, mkv_in16 x, mkv_weight16 w) {
    __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
    return acc;
}

MKV mkv_sum mkv_start(int32_t bias) { return mkv_broadcast(bias); }
MKV mkv_acc mkv_total(mkv_sum sum) { return sum; }

// zeroPoint + ((acc·M + 2^(n-1)) >> n) for n in 33...53: the upper words of the even and odd products, merged; then the
// rounding constant, a multiple of 2^32 like the zero point that rides along in it; then the rest of the shift. Every
// instruction here competes with vpdpbusd for two ports.
MKV mkv_requant mkv_requantizer(int32_t multiplier, int32_t shift, int32_t zero_point) {
    mkv_requant q;
    q.multiplier = _mm512_set1_epi32(multiplier);
    q.rounding = _mm512_set1_epi32((1 << (shift - 33)) + (zero_point << (shift - 32)));
    q.shift = _mm512_set1_epi32(shift - 32);
    return q;
}
MKV mkv_acc mkv_requantize(mkv_acc acc, mkv_requant q) {
    __m512i even = _mm512_mul_epi32(acc, q.multiplier);
    __m512i odd = _mm512_mul_epi32(_mm512_shuffle_epi32(acc, _MM_PERM_DDBB), q.multiplier);
    __m512i high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    return _mm512_srav_epi32(_mm512_add_epi32(high, q.rounding), q.shift);
}

// Four vectors of int32 -> one word of four saturated bytes per voxel. Packing works inside 128-bit lanes, so the
// shuffle that gathers the four channels of a voxel stays inside a lane too.
MKV mkv_acc mkv_pack_u8(mkv_acc a, mkv_acc b, mkv_acc c, mkv_acc d) {
    const __m512i gather = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m512i packed = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
    return _mm512_shuffle_epi8(packed, gather);
}
MKV mkv_acc mkv_pack_i16(mkv_acc a, mkv_acc b) {
    const __m512i gather = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    return _mm512_shuffle_epi8(_mm512_packs_epi32(a, b), gather);
}

MKV mkv_mask mkv_mask_for(int32_t lanes) { return (__mmask16)((1u << lanes) - 1); }
MKV mkv_mask mkv_mask_without(mkv_mask m, mkv_mask out) { return (__mmask16)(m & ~out); }
MKV void mkv_store(uint8_t *p, mkv_acc x) { _mm512_storeu_si512(p, x); }
MKV void mkv_store_masked(uint8_t *p, mkv_acc x, mkv_mask m) { _mm512_mask_storeu_epi32(p, m, x); }

// Normalization.
MKV mkv_acc mkv_load_masked(const uint8_t *p, mkv_mask m) { return _mm512_maskz_loadu_epi32(m, p); }
MKV mkv_acc mkv_low16(mkv_acc x) { return _mm512_srai_epi32(_mm512_slli_epi32(x, 16), 16); }
MKV mkv_acc mkv_high16(mkv_acc x) { return _mm512_srai_epi32(x, 16); }
MKV mkv_acc mkv_shift15(mkv_acc x) { return _mm512_slli_epi32(x, 15); }
MKV mkv_acc mkv_mul32(mkv_acc a, mkv_acc b) { return _mm512_mullo_epi32(a, b); }
MKV mkv_acc mkv_max0(mkv_acc x) { return _mm512_max_epi32(x, _mm512_setzero_si512()); }
MKV mkv_acc mkv_add32(mkv_acc a, mkv_acc b) { return _mm512_add_epi32(a, b); }
MKV mkv_acc mkv_add64(mkv_acc a, mkv_acc b) { return _mm512_add_epi64(a, b); }
MKV mkv_acc mkv_even32(mkv_acc x) { return _mm512_maskz_mov_epi32(0x5555, x); }
MKV mkv_acc mkv_odd32(mkv_acc x) { return _mm512_srli_epi64(x, 32); }
MKV int64_t mkv_sum32(mkv_acc x) { return _mm512_reduce_add_epi32(x); }
MKV int64_t mkv_sum64(mkv_acc x) { return _mm512_reduce_add_epi64(x); }
MKV mkv_requant mkv_affine(int32_t multiplier, int32_t offset, int32_t shift) {
    mkv_requant q = { _mm512_set1_epi32(multiplier), _mm512_set1_epi32(offset), _mm512_set1_epi32(shift) };
    return q;
}

// Selective scan.
MKV mkv_acc mkv_load_word(const uint8_t *p) { return _mm512_loadu_si512(p); }
MKV mkv_acc mkv_sub32(mkv_acc a, mkv_acc b) { return _mm512_sub_epi32(a, b); }
MKV mkv_acc mkv_and32(mkv_acc a, mkv_acc b) { return _mm512_and_si512(a, b); }
MKV mkv_acc mkv_or32(mkv_acc a, mkv_acc b) { return _mm512_or_si512(a, b); }
MKV mkv_acc mkv_min32(mkv_acc a, mkv_acc b) { return _mm512_min_epi32(a, b); }
MKV mkv_acc mkv_max32(mkv_acc a, mkv_acc b) { return _mm512_max_epi32(a, b); }
MKV mkv_acc mkv_min_u32(mkv_acc a, mkv_acc b) { return _mm512_min_epu32(a, b); }
MKV mkv_acc mkv_shift_left_by(mkv_acc x, mkv_acc n) { return _mm512_sllv_epi32(x, n); }
MKV mkv_acc mkv_shift_right_by(mkv_acc x, mkv_acc n) { return _mm512_srlv_epi32(x, n); }
MKV mkv_acc mkv_shift_right_signed_by(mkv_acc x, mkv_acc n) { return _mm512_srav_epi32(x, n); }
MKV mkv_acc mkv_shift_right_signed(mkv_acc x, int32_t n) { return _mm512_sra_epi32(x, _mm_cvtsi32_si128(n)); }
#define mkv_shift_right_fixed(x, n) _mm512_srli_epi32(x, n)
#define mkv_shift_right_signed_fixed(x, n) _mm512_srai_epi32(x, n)
#define mkv_shift_left_fixed(x, n) _mm512_slli_epi32(x, n)
MKV mkv_acc mkv_keep(mkv_acc x, mkv_mask m) { return _mm512_maskz_mov_epi32(m, x); }
// One word or byte to a lane, and the way back, saturated.
MKV mkv_acc mkv_widen_i16(const uint8_t *p) { return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
MKV mkv_acc mkv_widen_u8(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
MKV void mkv_store_i16(uint8_t *p, mkv_acc x) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtsepi32_epi16(x)); }
// table[index], table[index + 1]: both in one load of 64 bits.
MKV void mkv_gather_pair(const uint32_t *table, mkv_acc index, mkv_acc *first, mkv_acc *second) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i low = _mm512_i32gather_epi64(_mm512_castsi512_si256(index), table, 4);
    const __m512i high = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(index, 1), table, 4);
    *first = _mm512_permutex2var_epi32(low, even, high);
    *second = _mm512_permutex2var_epi32(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high);
}
// acc + low·low + high·high of signed 16-bit halves.
MKV mkv_acc mkv_add_product(mkv_acc acc, mkv_acc a, mkv_acc b) { return mkv_dot16(acc, a, b); }
MKV mkv_acc mkv_add_product_saturated(mkv_acc acc, mkv_acc a, mkv_acc b) { return _mm512_dpwssds_epi32(acc, a, b); }

// Sources/Ops/Scan/Exponent.swift for 32 words at once; the weights go to the upper halves, the lower ones are 0.
typedef struct { __m512i bits, rest, rounding; } mkv_exponent;
MKV mkv_exponent mkv_exponents(const uint8_t *bits) {
    mkv_exponent e;
    __m512i b = _mm512_loadu_si512(bits);
    e.bits = _mm512_or_si512(b, _mm512_slli_epi32(b, 16));
    e.rest = _mm512_sub_epi16(_mm512_set1_epi16(16), e.bits);
    e.rounding = _mm512_sllv_epi16(_mm512_set1_epi16(1), _mm512_sub_epi16(e.rest, _mm512_set1_epi16(1)));
    return e;
}
// Of `pairs` pairs of states, MKV_SCAN_PAIRS at most, the rates 16 words apart.
#define MKV_SCAN_PAIRS 4
MKV void mkv_weights_of(mkv_acc step, const uint32_t *rates, mkv_exponent e, mkv_acc *weight, const int pairs) {
    __m512i f[4], whole[4], x[4];
#define MKV_EACH _Pragma("clang loop unroll(full)") for (int i = 0; i < pairs; i++)
    MKV_EACH {
        const __m512i rate = _mm512_loadu_si512(rates + 16 * i);
        f[i] = _mm512_mulhi_epu16(step, rate);
        x[i] = _mm512_mullo_epi16(step, rate);
    }
    MKV_EACH x[i] = _mm512_adds_epu16(x[i], e.rounding);
    MKV_EACH whole[i] = _mm512_srlv_epi16(_mm512_adds_epu16(f[i], e.rounding), e.rest);
#ifdef MKV_DOUBLE_SHIFTS
    MKV_EACH f[i] = _mm512_shldv_epi16(f[i], x[i], e.bits);
#else
    MKV_EACH f[i] = _mm512_or_si512(_mm512_sllv_epi16(f[i], e.bits), _mm512_srlv_epi16(x[i], e.rest));
#endif
    MKV_EACH x[i] = _mm512_sub_epi16(_mm512_set1_epi16(229), _mm512_mulhrs_epi16(f[i], _mm512_set1_epi16(20)));
    MKV_EACH x[i] = _mm512_sub_epi16(_mm512_set1_epi16(1968), _mm512_mulhrs_epi16(f[i], x[i]));
    MKV_EACH x[i] = _mm512_sub_epi16(_mm512_set1_epi16(11356), _mm512_mulhrs_epi16(f[i], x[i]));
    MKV_EACH x[i] = _mm512_sub_epi16(_mm512_set1_epi16(-32768), _mm512_mulhrs_epi16(f[i], x[i]));
    MKV_EACH x[i] = _mm512_xor_si512(_mm512_srlv_epi16(x[i], whole[i]), _mm512_set1_epi16(-32768));
    MKV_EACH {
        weight[2 * i] = _mm512_slli_epi32(x[i], 16);
        weight[2 * i + 1] = _mm512_mask_mov_epi16(_mm512_setzero_si512(), 0xAAAAAAAA, x[i]);
    }
#undef MKV_EACH
}

// (a·m + x·s + 2^(n-1)) >> n for n in 33...53, constants by lane; sums of 64 bits, upper words merged.
typedef struct { __m512i m, s, m_odd, s_odd, rounding, shift; } mkv_sum_requant;
MKV mkv_sum_requant mkv_sum_requantizer(const int32_t *m, const int32_t *s, const int32_t *n) {
    mkv_sum_requant q = { _mm512_loadu_si512(m), _mm512_loadu_si512(s) };
    q.m_odd = _mm512_srli_epi64(q.m, 32);
    q.s_odd = _mm512_srli_epi64(q.s, 32);
    q.shift = _mm512_sub_epi32(_mm512_loadu_si512(n), _mm512_set1_epi32(32));
    q.rounding = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_sub_epi32(q.shift, _mm512_set1_epi32(1)));
    return q;
}
MKV mkv_acc mkv_requantize_sum(mkv_acc a, mkv_acc x, mkv_sum_requant q) {
    __m512i even = _mm512_add_epi64(_mm512_mul_epi32(a, q.m), _mm512_mul_epi32(x, q.s));
    __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(a, 32), q.m_odd),
                                   _mm512_mul_epi32(_mm512_srli_epi64(x, 32), q.s_odd));
    __m512i high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    return _mm512_srav_epi32(_mm512_add_epi32(high, q.rounding), q.shift);
}

// 16 x 16 words: pairs of words, pairs of double words, then 128-bit lanes.
MKV void mkv_transpose(mkv_acc r[16]) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {  // b[i + j]: words j, 4 + j, 8 + j, 12 + j of rows i ... i + 3
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        __m512i low = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x88), high = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xDD);
        __m512i low2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x88);
        __m512i high2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xDD);
        r[j] = _mm512_shuffle_i32x4(low, low2, 0x88);
        r[8 + j] = _mm512_shuffle_i32x4(low, low2, 0xDD);
        r[4 + j] = _mm512_shuffle_i32x4(high, high2, 0x88);
        r[12 + j] = _mm512_shuffle_i32x4(high, high2, 0xDD);
    }
}
