// The rest of the vocabulary for AVX-512 with VNNI (after vec_avx512vnni.h), as in vec_avx2_tokens.h.

MKV mkv_acc mkv_or(mkv_acc a, mkv_acc b) { return _mm512_or_si512(a, b); }
MKV mkv_acc mkv_fill(mkv_mask m, mkv_acc x) { return _mm512_maskz_mov_epi32(m, x); }
MKV mkv_acc mkv_broadcast8(uint8_t x) { return _mm512_set1_epi8((char)x); }
MKV mkv_acc mkv_repeat(const void *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p)); }

MKV mkv_acc mkv_zip8_low(mkv_acc a, mkv_acc b) { return _mm512_unpacklo_epi8(a, b); }
MKV mkv_acc mkv_zip8_high(mkv_acc a, mkv_acc b) { return _mm512_unpackhi_epi8(a, b); }
MKV mkv_acc mkv_zip16_low(mkv_acc a, mkv_acc b) { return _mm512_unpacklo_epi16(a, b); }
MKV mkv_acc mkv_zip16_high(mkv_acc a, mkv_acc b) { return _mm512_unpackhi_epi16(a, b); }

typedef mkv_weight mkv_tap_weight;
MKV mkv_in mkv_taps(mkv_acc x) { return x; }
MKV mkv_tap_weight mkv_tap_weights(const void *p) {
    const __m512i gather = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return _mm512_shuffle_epi8(mkv_repeat(p), gather);
}
MKV mkv_acc mkv_dot_taps(mkv_acc acc, mkv_in x, mkv_tap_weight w) { return mkv_dot(acc, x, w); }

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

// Tables of 256 bytes. Byte permutes need VBMI, which the first CPUs with VNNI lack: the table is 128 words of two entries,
// and the lowest bit of a code picks the byte.
typedef struct { __m512i part[4]; } mkv_table;
MKV mkv_table mkv_table_from(const uint8_t *p) {
    mkv_table t;
#pragma unroll
    for (int k = 0; k < 4; k++) t.part[k] = _mm512_loadu_si512(p + 64 * k);
    return t;
}
// Of codes in the lower bytes of words; the upper bytes of the result are anything.
MKV __m512i mkv_lookup_words(const mkv_table *t, __m512i code) {
    __m512i index = _mm512_srli_epi16(code, 1);
    __m512i low = _mm512_permutex2var_epi16(t->part[0], index, t->part[1]);
    __m512i high = _mm512_permutex2var_epi16(t->part[2], index, t->part[3]);
    __m512i pair = _mm512_mask_blend_epi16(_mm512_test_epi16_mask(code, _mm512_set1_epi16(0x80)), low, high);
    __m512i odd = _mm512_and_si512(code, _mm512_set1_epi16(1));
    return _mm512_srlv_epi16(pair, _mm512_slli_epi16(odd, 3));
}
MKV mkv_acc mkv_lookup(const mkv_table *t, mkv_acc x) {
    __m512i even = mkv_lookup_words(t, _mm512_and_si512(x, _mm512_set1_epi16(255)));
    __m512i odd = mkv_lookup_words(t, _mm512_srli_epi16(x, 8));
    return _mm512_mask_blend_epi8(0xAAAAAAAAAAAAAAAA, even, _mm512_slli_epi16(odd, 8));
}

// Tables in memory.
#define MKV_GATHERS
MKV mkv_acc mkv_gather(const void *table, mkv_acc index) { return _mm512_i32gather_epi32(index, table, 4); }
// Words that begin at any half.
MKV mkv_acc mkv_gather_halves(const void *table, mkv_acc index) { return _mm512_i32gather_epi32(index, table, 2); }
MKV mkv_acc mkv_xor(mkv_acc a, mkv_acc b) { return _mm512_xor_si512(a, b); }
#define mkv_srl32(x, n) _mm512_srli_epi32(x, n)
#define mkv_sll32(x, n) _mm512_slli_epi32(x, n)

MKV mkv_acc mkv_max16(mkv_acc a, mkv_acc b) { return _mm512_max_epi16(a, b); }
MKV mkv_acc mkv_andnot(mkv_acc out, mkv_acc x) { return _mm512_andnot_si512(out, x); }
// Signed halves of words: `yes` where a is greater than b.
MKV mkv_acc mkv_pick_greater16(mkv_acc a, mkv_acc b, mkv_acc yes, mkv_acc no) {
    return _mm512_mask_blend_epi16(_mm512_cmpgt_epi16_mask(a, b), no, yes);
}
MKV mkv_acc mkv_adds16(mkv_acc a, mkv_acc b) { return _mm512_adds_epi16(a, b); }

MKV mkv_acc mkv_and(mkv_acc a, mkv_acc b) { return _mm512_and_si512(a, b); }
MKV mkv_acc mkv_madd16(mkv_acc a, mkv_acc b) { return _mm512_madd_epi16(a, b); }
MKV mkv_acc mkv_sub64(mkv_acc a, mkv_acc b) { return _mm512_sub_epi64(a, b); }
MKV mkv_acc mkv_mul_signed(mkv_acc a, mkv_acc b) { return _mm512_mul_epi32(a, b); }
MKV mkv_acc mkv_mul_unsigned(mkv_acc a, mkv_acc b) { return _mm512_mul_epu32(a, b); }
MKV mkv_acc mkv_up32(mkv_acc x) { return _mm512_slli_epi64(x, 32); }
MKV mkv_acc mkv_broadcast64(int64_t x) { return _mm512_set1_epi64(x); }
MKV mkv_acc mkv_merge_high(mkv_acc even, mkv_acc odd) {
    return _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
}
MKV void mkv_store64(int64_t *p, mkv_acc even, mkv_acc odd) {
    const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), second = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    _mm512_storeu_si512(p, _mm512_permutex2var_epi64(even, first, odd));
    _mm512_storeu_si512(p + 8, _mm512_permutex2var_epi64(even, second, odd));
}
typedef __m512i mkv_shift64;
MKV mkv_shift64 mkv_shift64_by(mkv_acc count) { return count; }
MKV mkv_acc mkv_sra64(mkv_acc x, mkv_shift64 s) { return _mm512_srav_epi64(x, s); }

MKV mkv_acc mkv_zip32_low(mkv_acc a, mkv_acc b) { return _mm512_unpacklo_epi32(a, b); }
MKV mkv_acc mkv_zip32_high(mkv_acc a, mkv_acc b) { return _mm512_unpackhi_epi32(a, b); }
MKV mkv_acc mkv_sub16(mkv_acc a, mkv_acc b) { return _mm512_sub_epi16(a, b); }
MKV mkv_acc mkv_sra32(mkv_acc x, int32_t count) { return _mm512_sra_epi32(x, _mm_cvtsi32_si128(count)); }

MKV void mkv_interleave(mkv_acc a, mkv_acc b, mkv_acc y[2]) {
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    y[0] = _mm512_permutex2var_epi32(a, first, b);
    y[1] = _mm512_permutex2var_epi32(a, second, b);
}
MKV mkv_acc mkv_zip64_low(mkv_acc a, mkv_acc b) { return _mm512_unpacklo_epi64(a, b); }
MKV mkv_acc mkv_zip64_high(mkv_acc a, mkv_acc b) { return _mm512_unpackhi_epi64(a, b); }
MKV mkv_acc mkv_load_fourth(const uint8_t *p, ptrdiff_t size) {
    __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + 4 * size)), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + 8 * size)), 2);
    return _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + 12 * size)), 3);
}

// Adds 2 · MKV_LANES values of a and of b: the sums of the lower halves of all 128-bit lanes in acc[0], of the upper halves in acc[1].
MKV void mkv_add_rows(const int16_t *a, const int16_t *b, mkv_acc acc[2]) {
    const __m512i x = _mm512_loadu_si512(a), y = _mm512_loadu_si512(b), ones = _mm512_set1_epi16(1);
    acc[0] = mkv_dot16(acc[0], _mm512_unpacklo_epi16(x, y), ones);
    acc[1] = mkv_dot16(acc[1], _mm512_unpackhi_epi16(x, y), ones);
}
