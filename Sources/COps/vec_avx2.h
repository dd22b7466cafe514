// Vocabulary of conv3d_body.h for 256-bit vectors: eight voxels each. With MKV_VNNI the including file names the products
// (MKV_DPBUSD, MKV_DPWSSD) and there are twelve accumulators. Without, `vpmaddubsw` would saturate, so the bytes are widened:
// channels 0 and 2 of a voxel in one vector, 1 and 3 in another, and `vpmaddwd` adds each pair.
#include <immintrin.h>

#define MKV_LANES 8
#define MKV_CHANNELS 4
#define MKV_CHANNELS_FOR(vectors) 4
#define MKV_CHANNELS_SECOND 4
#ifdef MKV_VNNI
#define MKV_TILE_FOR(count) ((count) > 2 ? 3 : (count) > 1 ? 5 : 6)
#define MKV_TILE_MAX 6
#else
#define MKV_TILE_FOR(count) ((count) > 2 ? 2 : 3)
#define MKV_TILE_MAX 3
#endif

typedef __m256i mkv_acc;
typedef mkv_acc mkv_sum;  // of a convolution, while it grows
#ifdef MKV_VNNI
typedef __m256i mkv_in;
typedef __m256i mkv_weight;
#else
typedef struct { __m256i even, odd; } mkv_in;
typedef struct { __m256i even, odd; } mkv_weight;
#endif
typedef __m256i mkv_mask;
typedef struct { __m256i multiplier, rounding; __m128i shift; } mkv_requant;

#define MKV_END_OF_TAP
#define MKV_KEEP(x)
#define MKV_OPAQUE(x) __asm__ volatile("" : "+x"(x))
#ifdef MKV_VNNI
#define MKV_OPAQUE_IN MKV_OPAQUE
#else
#define MKV_OPAQUE_IN(x) __asm__ volatile("" : "+x"((x).even), "+x"((x).odd))
#endif
#define MKV static inline __attribute__((always_inline))

MKV mkv_acc mkv_zero(void) { return _mm256_setzero_si256(); }
MKV mkv_acc mkv_broadcast(int32_t x) { return _mm256_set1_epi32(x); }
MKV __m256i mkv_second_words(const uint8_t *p) {
    __m256 a = _mm256_loadu_ps((const float *)p), b = _mm256_loadu_ps((const float *)(p + 32));
    return _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)), 0xD8);
}
// The weights of four output channels lie side by side; one channel's are taken at a time.
typedef const int8_t *mkv_quad;
MKV mkv_quad mkv_weight_quad(const int8_t *p) { return p; }
#ifdef MKV_VNNI
MKV mkv_in mkv_load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
#define mkv_load_second mkv_second_words
// As in vec_avx512vnni.h.
MKV mkv_in mkv_load_merged(const uint8_t *p, ptrdiff_t step) {
    __m256i second = _mm256_loadu_si256((const __m256i *)(p + step - 1));
    __m256i third = _mm256_loadu_si256((const __m256i *)(p + 2 * step - 2));
    __m256i two = _mm256_blendv_epi8(_mm256_loadu_si256((const __m256i *)p), second, _mm256_set1_epi32(0xFF00));
    return _mm256_blend_epi16(two, third, 0xAA);
}
MKV mkv_weight mkv_weights(mkv_quad quad, int i) {
    int32_t w;
    __builtin_memcpy(&w, quad + 4 * i, 4);
    return _mm256_set1_epi32(w);
}
MKV mkv_sum mkv_dot(mkv_sum acc, mkv_in x, mkv_weight w) {
    MKV_DPBUSD(acc, x, w);
    return acc;
}
#else
MKV mkv_in mkv_split(__m256i x) {
    mkv_in r = { _mm256_and_si256(x, _mm256_set1_epi16(255)), _mm256_srli_epi16(x, 8) };
    return r;
}
MKV mkv_in mkv_load(const uint8_t *p) { return mkv_split(_mm256_loadu_si256((const __m256i *)p)); }
// The first bytes of three words `step` bytes apart, 4 or more, as one.
MKV mkv_in mkv_load_merged(const uint8_t *p, ptrdiff_t step) {
    __m256i first = _mm256_loadu_si256((const __m256i *)p), second = _mm256_loadu_si256((const __m256i *)(p + step));
    __m256i third = _mm256_loadu_si256((const __m256i *)(p + 2 * step - 2));  // starts earlier: moved up
    const __m256i low = _mm256_set1_epi16(255);
    mkv_in r = { _mm256_and_si256(_mm256_blend_epi16(first, third, 0xAA), low), _mm256_and_si256(second, low) };
    return r;
}
MKV mkv_in mkv_load_second(const uint8_t *p) { return mkv_split(mkv_second_words(p)); }
MKV mkv_weight mkv_weights(mkv_quad quad, int i) {
    int32_t w;
    __builtin_memcpy(&w, quad + 4 * i, 4);
    __m256i x = _mm256_set1_epi32(w);
    mkv_weight r = { _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), _mm256_srai_epi16(x, 8) };
    return r;
}
// The weights of four channels, widened: 32 bytes, the pairs of one channel behind one another.
#define MKV_WIDENED 32
MKV void mkv_widen(const int8_t *from, uint8_t *to) {
    __m128i x = _mm_loadu_si128((const __m128i *)from);
    __m128i even = _mm_srai_epi16(_mm_slli_epi16(x, 8), 8), odd = _mm_srai_epi16(x, 8);
    _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi32(even, odd));
    _mm_storeu_si128((__m128i *)(to + 16), _mm_unpackhi_epi32(even, odd));
}
MKV mkv_weight mkv_widened(const uint8_t *w, int i) {
    int32_t pairs[2];
    __builtin_memcpy(pairs, w + 8 * i, 8);
    mkv_weight r = { _mm256_set1_epi32(pairs[0]), _mm256_set1_epi32(pairs[1]) };
    return r;
}
// Two products of 255·127 per lane stay far below 2^31; the sums wrap like the portable kernel's do.
MKV mkv_sum mkv_dot(mkv_sum acc, mkv_in x, mkv_weight w) {
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(x.even, w.even));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(x.odd, w.odd));
}
#endif

// 16-bit channels, two to a word: a weight is never -32768, so that the sum of two products fits.
#define MKV_LIMIT_DOT16
typedef __m256i mkv_in16;
typedef __m256i mkv_weight16;
MKV mkv_in16 mkv_load16(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
#define mkv_load16_second mkv_second_words
MKV mkv_weight16 mkv_weights16(mkv_quad quad, int i) {
    int32_t w;
    __builtin_memcpy(&w, quad + 4 * i, 4);
    return _mm256_set1_epi32(w);
}
MKV mkv_sum mkv_dot16(mkv_sum acc, mkv_in16 x, mkv_weight16 w) {
#ifdef MKV_VNNI
    MKV_DPWSSD(acc, x, w);
    return acc;
#else
    return _mm256_add_epi32(acc, _mm256_madd_epi16(x, w));
#endif
}

MKV mkv_sum mkv_start(int32_t bias) { return mkv_broadcast(bias); }
MKV mkv_acc mkv_total(mkv_sum sum) { return sum; }

// As in vec_avx512vnni.h.
MKV mkv_requant mkv_requantizer(int32_t multiplier, int32_t shift, int32_t zero_point) {
    mkv_requant q;
    q.multiplier = _mm256_set1_epi32(multiplier);
    q.rounding = _mm256_set1_epi32((1 << (shift - 33)) + (zero_point << (shift - 32)));
    q.shift = _mm_cvtsi32_si128(shift - 32);
    return q;
}
MKV mkv_acc mkv_requantize(mkv_acc acc, mkv_requant q) {
    __m256i even = _mm256_srli_epi64(_mm256_mul_epi32(acc, q.multiplier), 32);
    __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(acc, 32), q.multiplier);
    __m256i high = _mm256_blend_epi32(even, odd, 0xAA);
    return _mm256_sra_epi32(_mm256_add_epi32(high, q.rounding), q.shift);
}

MKV mkv_acc mkv_pack_u8(mkv_acc a, mkv_acc b, mkv_acc c, mkv_acc d) {
    const __m256i gather = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m256i packed = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    return _mm256_shuffle_epi8(packed, gather);
}
MKV mkv_acc mkv_pack_i16(mkv_acc a, mkv_acc b) {
    const __m256i gather = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    return _mm256_shuffle_epi8(_mm256_packs_epi32(a, b), gather);
}

MKV mkv_mask mkv_mask_for(int32_t lanes) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
MKV mkv_mask mkv_mask_without(mkv_mask m, mkv_mask out) { return _mm256_andnot_si256(out, m); }
MKV void mkv_store(uint8_t *p, mkv_acc x) { _mm256_storeu_si256((__m256i *)p, x); }
MKV void mkv_store_masked(uint8_t *p, mkv_acc x, mkv_mask m) { _mm256_maskstore_epi32((int *)p, m, x); }

// Normalization.
MKV mkv_acc mkv_load_masked(const uint8_t *p, mkv_mask m) { return _mm256_maskload_epi32((const int *)p, m); }
MKV mkv_acc mkv_low16(mkv_acc x) { return _mm256_srai_epi32(_mm256_slli_epi32(x, 16), 16); }
MKV mkv_acc mkv_high16(mkv_acc x) { return _mm256_srai_epi32(x, 16); }
MKV mkv_acc mkv_shift15(mkv_acc x) { return _mm256_slli_epi32(x, 15); }
MKV mkv_acc mkv_mul32(mkv_acc a, mkv_acc b) { return _mm256_mullo_epi32(a, b); }
MKV mkv_acc mkv_max0(mkv_acc x) { return _mm256_max_epi32(x, _mm256_setzero_si256()); }
MKV mkv_acc mkv_add32(mkv_acc a, mkv_acc b) { return _mm256_add_epi32(a, b); }
MKV mkv_acc mkv_add64(mkv_acc a, mkv_acc b) { return _mm256_add_epi64(a, b); }
MKV mkv_acc mkv_even32(mkv_acc x) { return _mm256_blend_epi32(x, _mm256_setzero_si256(), 0xAA); }
MKV mkv_acc mkv_odd32(mkv_acc x) { return _mm256_srli_epi64(x, 32); }
MKV int64_t mkv_sum32(mkv_acc x) {
    int32_t v[8];
    _mm256_storeu_si256((__m256i *)v, x);
    int64_t sum = 0;
    for (int i = 0; i < 8; i++) sum += v[i];
    return sum;
}
MKV int64_t mkv_sum64(mkv_acc x) {
    int64_t v[4];
    _mm256_storeu_si256((__m256i *)v, x);
    return v[0] + v[1] + v[2] + v[3];
}
MKV mkv_requant mkv_affine(int32_t multiplier, int32_t offset, int32_t shift) {
    mkv_requant q = { _mm256_set1_epi32(multiplier), _mm256_set1_epi32(offset), _mm_cvtsi32_si128(shift) };
    return q;
}

// Selective scan.
MKV mkv_acc mkv_load_word(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
MKV mkv_acc mkv_sub32(mkv_acc a, mkv_acc b) { return _mm256_sub_epi32(a, b); }
MKV mkv_acc mkv_and32(mkv_acc a, mkv_acc b) { return _mm256_and_si256(a, b); }
MKV mkv_acc mkv_or32(mkv_acc a, mkv_acc b) { return _mm256_or_si256(a, b); }
MKV mkv_acc mkv_min32(mkv_acc a, mkv_acc b) { return _mm256_min_epi32(a, b); }
MKV mkv_acc mkv_max32(mkv_acc a, mkv_acc b) { return _mm256_max_epi32(a, b); }
MKV mkv_acc mkv_min_u32(mkv_acc a, mkv_acc b) { return _mm256_min_epu32(a, b); }
MKV mkv_acc mkv_shift_left_by(mkv_acc x, mkv_acc n) { return _mm256_sllv_epi32(x, n); }
MKV mkv_acc mkv_shift_right_by(mkv_acc x, mkv_acc n) { return _mm256_srlv_epi32(x, n); }
MKV mkv_acc mkv_shift_right_signed_by(mkv_acc x, mkv_acc n) { return _mm256_srav_epi32(x, n); }
MKV mkv_acc mkv_shift_right_signed(mkv_acc x, int32_t n) { return _mm256_sra_epi32(x, _mm_cvtsi32_si128(n)); }
#define mkv_shift_right_fixed(x, n) _mm256_srli_epi32(x, n)
#define mkv_shift_right_signed_fixed(x, n) _mm256_srai_epi32(x, n)
#define mkv_shift_left_fixed(x, n) _mm256_slli_epi32(x, n)
MKV mkv_acc mkv_keep(mkv_acc x, mkv_mask m) { return _mm256_and_si256(x, m); }
MKV mkv_acc mkv_widen_i16(const uint8_t *p) { return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)p)); }
MKV mkv_acc mkv_widen_u8(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
MKV void mkv_store_i16(uint8_t *p, mkv_acc x) {
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(x, x), 0x88);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(packed));
}
MKV void mkv_gather_pair(const uint32_t *table, mkv_acc index, mkv_acc *first, mkv_acc *second) {
    *first = _mm256_i32gather_epi32((const int *)table, index, 4);
    *second = _mm256_i32gather_epi32((const int *)table + 1, index, 4);
}
MKV mkv_acc mkv_add_product(mkv_acc acc, mkv_acc a, mkv_acc b) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}
// The product itself fits; where the sum leaves the range both terms have the sign that the sum lacks.
MKV mkv_acc mkv_add_product_saturated(mkv_acc acc, mkv_acc a, mkv_acc b) {
    const __m256i product = _mm256_madd_epi16(a, b), sum = _mm256_add_epi32(acc, product);
    const __m256i over = _mm256_and_si256(_mm256_xor_si256(acc, sum), _mm256_xor_si256(product, sum));
    const __m256i limit = _mm256_xor_si256(_mm256_srai_epi32(acc, 31), _mm256_set1_epi32(0x7FFFFFFF));
    return _mm256_blendv_epi8(sum, limit, _mm256_srai_epi32(over, 31));
}

// As in vec_avx512vnni.h. There are no shifts by words of their own: powers of two multiply, or double words shift.
typedef struct { __m256i power, rounding; } mkv_exponent;
MKV mkv_exponent mkv_exponents(const uint8_t *bits) {
    mkv_exponent e;
    const __m256i b = _mm256_loadu_si256((const __m256i *)bits), one = _mm256_set1_epi32(1);
    e.power = _mm256_sllv_epi32(one, b);
    e.power = _mm256_or_si256(e.power, _mm256_slli_epi32(e.power, 16));
    e.rounding = _mm256_sllv_epi32(one, _mm256_sub_epi32(_mm256_set1_epi32(15), b));
    e.rounding = _mm256_or_si256(e.rounding, _mm256_slli_epi32(e.rounding, 16));
    return e;
}
#define MKV_SCAN_PAIRS 1
MKV void mkv_weights_of(mkv_acc step, const uint32_t *rates, mkv_exponent e, mkv_acc weight[2], const int pairs) {
    (void)pairs;
    const __m256i rate = _mm256_loadu_si256((const __m256i *)rates);
    __m256i high = _mm256_mulhi_epu16(step, rate), low = _mm256_mullo_epi16(step, rate);
    low = _mm256_adds_epu16(low, e.rounding);
    __m256i whole = _mm256_mulhi_epu16(_mm256_adds_epu16(high, e.rounding), e.power);
    __m256i f = _mm256_or_si256(_mm256_mullo_epi16(high, e.power), _mm256_mulhi_epu16(low, e.power));
    __m256i x = _mm256_sub_epi16(_mm256_set1_epi16(229), _mm256_mulhrs_epi16(f, _mm256_set1_epi16(20)));
    x = _mm256_sub_epi16(_mm256_set1_epi16(1968), _mm256_mulhrs_epi16(f, x));
    x = _mm256_sub_epi16(_mm256_set1_epi16(11356), _mm256_mulhrs_epi16(f, x));
    x = _mm256_sub_epi16(_mm256_set1_epi16(-32768), _mm256_mulhrs_epi16(f, x));
    const __m256i low_half = _mm256_set1_epi32(65535), sign = _mm256_set1_epi32((int)0x80000000);
    __m256i first = _mm256_srlv_epi32(_mm256_and_si256(x, low_half), _mm256_and_si256(whole, low_half));
    __m256i second = _mm256_srlv_epi32(_mm256_srli_epi32(x, 16), _mm256_srli_epi32(whole, 16));
    weight[0] = _mm256_xor_si256(_mm256_slli_epi32(first, 16), sign);
    weight[1] = _mm256_xor_si256(_mm256_slli_epi32(second, 16), sign);
}

typedef struct { __m256i m, s, m_odd, s_odd, rounding, shift; } mkv_sum_requant;
MKV mkv_sum_requant mkv_sum_requantizer(const int32_t *m, const int32_t *s, const int32_t *n) {
    mkv_sum_requant q = { _mm256_loadu_si256((const __m256i *)m), _mm256_loadu_si256((const __m256i *)s) };
    q.m_odd = _mm256_srli_epi64(q.m, 32);
    q.s_odd = _mm256_srli_epi64(q.s, 32);
    q.shift = _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)n), _mm256_set1_epi32(32));
    q.rounding = _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_sub_epi32(q.shift, _mm256_set1_epi32(1)));
    return q;
}
MKV mkv_acc mkv_requantize_sum(mkv_acc a, mkv_acc x, mkv_sum_requant q) {
    __m256i even = _mm256_add_epi64(_mm256_mul_epi32(a, q.m), _mm256_mul_epi32(x, q.s));
    __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(a, 32), q.m_odd),
                                   _mm256_mul_epi32(_mm256_srli_epi64(x, 32), q.s_odd));
    __m256i high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
    return _mm256_srav_epi32(_mm256_add_epi32(high, q.rounding), q.shift);
}

MKV void mkv_transpose(mkv_acc r[8]) {
    __m256i a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        r[j] = _mm256_permute2x128_si256(b[j], b[4 + j], 0x20);
        r[4 + j] = _mm256_permute2x128_si256(b[j], b[4 + j], 0x31);
    }
}
