// Vocabulary of conv3d_body.h for AVX2 without VNNI: eight voxels per vector. `vpmaddubsw` would saturate, so the
// bytes are widened: channels 0 and 2 of a voxel in one vector, 1 and 3 in another, and `vpmaddwd` adds each pair.
#include <immintrin.h>

#define MKV_LANES 8
#define MKV_CHANNELS 4
#define MKV_CHANNELS_FOR(vectors) 4
#define MKV_TILE_FOR(count) ((count) > 2 ? 2 : 3)
#define MKV_TILE_MAX 3

typedef __m256i mkv_acc;
typedef struct { __m256i even, odd; } mkv_in;
typedef struct { __m256i even, odd; } mkv_weight;
typedef __m256i mkv_mask;
typedef struct { __m256i multiplier, rounding; __m128i shift; } mkv_requant;

#define MKV static inline __attribute__((always_inline))

MKV mkv_acc mkv_zero(void) { return _mm256_setzero_si256(); }
MKV mkv_acc mkv_broadcast(int32_t x) { return _mm256_set1_epi32(x); }
MKV mkv_in mkv_split(__m256i x) {
    mkv_in r = { _mm256_and_si256(x, _mm256_set1_epi16(255)), _mm256_srli_epi16(x, 8) };
    return r;
}
MKV mkv_in mkv_load(const uint8_t *p) { return mkv_split(_mm256_loadu_si256((const __m256i *)p)); }
MKV mkv_in mkv_load_second(const uint8_t *p) {
    __m256 a = _mm256_loadu_ps((const float *)p), b = _mm256_loadu_ps((const float *)(p + 32));
    return mkv_split(_mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)), 0xD8));
}
MKV mkv_weight mkv_weights(const int8_t *p) {
    int32_t w;
    __builtin_memcpy(&w, p, 4);
    __m256i x = _mm256_set1_epi32(w);
    mkv_weight r = { _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), _mm256_srai_epi16(x, 8) };
    return r;
}
// Two products of 255·127 per lane stay far below 2^31; the sums wrap like the portable kernel's do.
MKV mkv_acc mkv_dot(mkv_acc acc, mkv_in x, mkv_weight w) {
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(x.even, w.even));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(x.odd, w.odd));
}

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
