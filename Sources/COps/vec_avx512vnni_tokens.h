// The rest of the vocabulary for AVX-512 with VNNI (after vec_avx512vnni.h), as in vec_avx2_tokens.h.

MKV mkv_acc mkv_or(mkv_acc a, mkv_acc b) { return _mm512_or_si512(a, b); }
MKV mkv_mask mkv_mask_without(mkv_mask m, mkv_mask out) { return (__mmask16)(m & ~out); }
MKV mkv_acc mkv_fill(mkv_mask m, mkv_acc x) { return _mm512_maskz_mov_epi32(m, x); }
MKV mkv_acc mkv_broadcast8(uint8_t x) { return _mm512_set1_epi8((char)x); }
MKV mkv_acc mkv_repeat(const void *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p)); }

MKV mkv_acc mkv_zip8_low(mkv_acc a, mkv_acc b) { return _mm512_unpacklo_epi8(a, b); }
MKV mkv_acc mkv_zip8_high(mkv_acc a, mkv_acc b) { return _mm512_unpackhi_epi8(a, b); }
MKV mkv_acc mkv_zip16_low(mkv_acc a, mkv_acc b) { return _mm512_unpacklo_epi16(a, b); }
MKV mkv_acc mkv_zip16_high(mkv_acc a, mkv_acc b) { return _mm512_unpackhi_epi16(a, b); }

MKV mkv_in mkv_taps(mkv_acc x) { return x; }
MKV mkv_weight mkv_tap_weights(const void *p) {
    const __m512i gather = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return _mm512_shuffle_epi8(mkv_repeat(p), gather);
}

typedef struct { __m512i multiplier, rounding, shift; } mkv_requant4;
MKV mkv_acc mkv_requantize4(mkv_acc acc, mkv_requant4 q) {
    __m512i even = _mm512_mul_epi32(acc, q.multiplier);
    __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(acc, 32), _mm512_srli_epi64(q.multiplier, 32));
    __m512i high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    return _mm512_srav_epi32(_mm512_add_epi32(high, q.rounding), q.shift);
}

MKV mkv_acc mkv_join_u8(mkv_acc a, mkv_acc b, mkv_acc c, mkv_acc d) {
    return _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
}
#define mkv_join_i16(a, b, c, d, part) \
    _mm512_castps_si512(_mm512_shuffle_ps( \
        _mm512_castsi512_ps(_mm512_packs_epi32(a, b)), _mm512_castsi512_ps(_mm512_packs_epi32(c, d)), \
        (part) ? 0xDD : 0x88))
