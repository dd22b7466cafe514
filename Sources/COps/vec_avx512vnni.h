// Vocabulary of conv3d_body.h for AVX-512 with VNNI: sixteen voxels per vector, one `vpdpbusd` per four
// channels. 24 of the 32 registers are accumulators: 8 output channels x 3 vectors, or 12 x 2 for the rows that do not
// divide by three.
#include <immintrin.h>

#define MKV_LANES 16
#define MKV_CHANNELS 12
#define MKV_CHANNELS_FOR(vectors) ((vectors) == 1 || (vectors) == 2 || (vectors) == 4 ? 12 : 8)
#define MKV_TILE_FOR(count) ((count) > 8 ? 2 : (count) > 4 ? 3 : (count) > 2 ? 4 : 6)
#define MKV_TILE_MAX 6

typedef __m512i mkv_acc;
typedef __m512i mkv_in;
typedef __m512i mkv_weight;
typedef __mmask16 mkv_mask;
typedef struct { __m512i multiplier, rounding; __m128i shift; } mkv_requant;

#define MKV static inline __attribute__((always_inline))

MKV mkv_acc mkv_zero(void) { return _mm512_setzero_si512(); }
MKV mkv_acc mkv_broadcast(int32_t x) { return _mm512_set1_epi32(x); }
MKV mkv_in mkv_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
MKV mkv_in mkv_load_second(const uint8_t *p) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_epi32(_mm512_loadu_si512(p), even, _mm512_loadu_si512(p + 64));
}
MKV mkv_weight mkv_weights(const int8_t *p) {
    int32_t w;
    __builtin_memcpy(&w, p, 4);
    return _mm512_set1_epi32(w);
}
MKV mkv_acc mkv_dot(mkv_acc acc, mkv_in x, mkv_weight w) { return _mm512_dpbusd_epi32(acc, x, w); }

// zeroPoint + ((acc·M + 2^(n-1)) >> n) for n in 33...53: the upper words of the even and odd products, merged; then the
// rounding constant, a multiple of 2^32 like the zero point that rides along in it; then the rest of the shift. Every
// instruction here competes with vpdpbusd for two ports.
MKV mkv_requant mkv_requantizer(int32_t multiplier, int32_t shift, int32_t zero_point) {
    mkv_requant q;
    q.multiplier = _mm512_set1_epi32(multiplier);
    q.rounding = _mm512_set1_epi32((1 << (shift - 33)) + (zero_point << (shift - 32)));
    q.shift = _mm_cvtsi32_si128(shift - 32);
    return q;
}
MKV mkv_acc mkv_requantize(mkv_acc acc, mkv_requant q) {
    __m512i even = _mm512_mul_epi32(acc, q.multiplier);
    __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(acc, 32), q.multiplier);
    __m512i high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    return _mm512_sra_epi32(_mm512_add_epi32(high, q.rounding), q.shift);
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
    mkv_requant q = { _mm512_set1_epi32(multiplier), _mm512_set1_epi32(offset), _mm_cvtsi32_si128(shift) };
    return q;
}
