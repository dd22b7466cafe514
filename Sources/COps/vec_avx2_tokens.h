// The rest of the vocabulary for AVX2 (after vec_avx2.h): the steps of the token ops. Most of them work on "quads": the four
// channels of a voxel lie in the four words of a 128-bit lane, so that every channel has constants of its own.

MKV mkv_acc mkv_or(mkv_acc a, mkv_acc b) { return _mm256_or_si256(a, b); }
MKV mkv_acc mkv_fill(mkv_mask m, mkv_acc x) { return _mm256_and_si256(m, x); }
MKV mkv_acc mkv_broadcast8(uint8_t x) { return _mm256_set1_epi8((char)x); }
// Repeats 16 bytes in every 128-bit lane.
MKV mkv_acc mkv_repeat(const void *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)); }

// Interleaving of the lower or upper half of every 128-bit lane.
MKV mkv_acc mkv_zip8_low(mkv_acc a, mkv_acc b) { return _mm256_unpacklo_epi8(a, b); }
MKV mkv_acc mkv_zip8_high(mkv_acc a, mkv_acc b) { return _mm256_unpackhi_epi8(a, b); }
MKV mkv_acc mkv_zip16_low(mkv_acc a, mkv_acc b) { return _mm256_unpacklo_epi16(a, b); }
MKV mkv_acc mkv_zip16_high(mkv_acc a, mkv_acc b) { return _mm256_unpackhi_epi16(a, b); }

// Dot products over four taps.
typedef mkv_weight mkv_tap_weight;
#ifdef MKV_VNNI
MKV mkv_in mkv_taps(mkv_acc x) { return x; }
#else
MKV mkv_in mkv_taps(mkv_acc x) { return mkv_split(x); }
#endif
// Weights [tap][channel] of four taps as [channel][tap], repeated.
MKV mkv_tap_weight mkv_tap_weights(const void *p) {
    const __m256i gather = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m256i x = _mm256_shuffle_epi8(mkv_repeat(p), gather);
#ifdef MKV_VNNI
    return x;
#else
    mkv_weight r = { _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), _mm256_srai_epi16(x, 8) };
    return r;
#endif
}
MKV mkv_acc mkv_dot_taps(mkv_acc acc, mkv_in x, mkv_tap_weight w) { return mkv_dot(acc, x, w); }

// Requantization with a scale per lane; shift is that of mkv_requantizer less 32.
typedef struct { __m256i multiplier, rounding, shift; } mkv_requant4;
MKV mkv_acc mkv_requantize4(mkv_acc acc, mkv_requant4 q) {
    __m256i even = _mm256_srli_epi64(_mm256_mul_epi32(acc, q.multiplier), 32);
    __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(acc, 32), _mm256_srli_epi64(q.multiplier, 32));
    __m256i high = _mm256_blend_epi32(even, odd, 0xAA);
    return _mm256_srav_epi32(_mm256_add_epi32(high, q.rounding), q.shift);
}

// Four vectors of quads, the voxels in the order in which zipping leaves them -> one vector of words.
MKV mkv_acc mkv_join_u8(mkv_acc a, mkv_acc b, mkv_acc c, mkv_acc d) {
    return _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
}
// The same as i16 words of channels 0, 1 (`part` 0) or 2, 3 (1); `part` is a literal.
#define mkv_join_i16(a, b, c, d, part) \
    _mm256_castps_si256(_mm256_shuffle_ps( \
        _mm256_castsi256_ps(_mm256_packs_epi32(a, b)), _mm256_castsi256_ps(_mm256_packs_epi32(c, d)), \
        (part) ? 0xDD : 0x88))

// Tables of 256 bytes. `vpshufb` looks up 16 bytes by the low four bits of a signed byte and gives 0 for a negative one.
// With 16 · k subtracted, saturating, the codes below 16 · k are negative; the others look up the difference (exclusive or)
// of part k to part k - 1, and the differences up to a code's own part make that part. Codes from 128 on are negative: they
// take the second half of the parts with their top bit flipped.
typedef struct { __m256i part[16]; } mkv_table;
MKV mkv_table mkv_table_from(const uint8_t *p) {
    mkv_table t;
#pragma unroll
    for (int k = 0; k < 16; k++) {
        t.part[k] = mkv_repeat(p + 16 * k);
        if (k & 7) t.part[k] = _mm256_xor_si256(t.part[k], mkv_repeat(p + 16 * (k - 1)));
    }
    return t;
}
MKV mkv_acc mkv_lookup(const mkv_table *t, mkv_acc x) {
    const __m256i step = _mm256_set1_epi8(16);
    __m256i low = x, high = _mm256_xor_si256(x, _mm256_set1_epi8((char)0x80)), y = _mm256_setzero_si256();
#pragma unroll
    for (int k = 0; k < 8; k++) {
        y = _mm256_xor_si256(y, _mm256_shuffle_epi8(t->part[k], low));
        y = _mm256_xor_si256(y, _mm256_shuffle_epi8(t->part[8 + k], high));
        low = _mm256_subs_epi8(low, step);
        high = _mm256_subs_epi8(high, step);
    }
    return y;
}

// Tables in memory.
#define MKV_GATHERS
MKV mkv_acc mkv_gather(const void *table, mkv_acc index) { return _mm256_i32gather_epi32(table, index, 4); }
MKV mkv_acc mkv_gather_halves(const void *table, mkv_acc index) { return _mm256_i32gather_epi32(table, index, 2); }
MKV mkv_acc mkv_xor(mkv_acc a, mkv_acc b) { return _mm256_xor_si256(a, b); }
#define mkv_srl32(x, n) _mm256_srli_epi32(x, n)
#define mkv_sll32(x, n) _mm256_slli_epi32(x, n)

MKV mkv_acc mkv_max16(mkv_acc a, mkv_acc b) { return _mm256_max_epi16(a, b); }
MKV mkv_acc mkv_andnot(mkv_acc out, mkv_acc x) { return _mm256_andnot_si256(out, x); }
// Signed halves of words: `yes` where a is greater than b.
MKV mkv_acc mkv_pick_greater16(mkv_acc a, mkv_acc b, mkv_acc yes, mkv_acc no) {
    return _mm256_blendv_epi8(no, yes, _mm256_cmpgt_epi16(a, b));
}
MKV mkv_acc mkv_adds16(mkv_acc a, mkv_acc b) { return _mm256_adds_epi16(a, b); }

// Layer normalization: products and shifts of 64 bits in the even and the odd lanes apart.
MKV mkv_acc mkv_and(mkv_acc a, mkv_acc b) { return _mm256_and_si256(a, b); }
MKV mkv_acc mkv_madd16(mkv_acc a, mkv_acc b) { return _mm256_madd_epi16(a, b); }
MKV mkv_acc mkv_sub64(mkv_acc a, mkv_acc b) { return _mm256_sub_epi64(a, b); }
MKV mkv_acc mkv_mul_signed(mkv_acc a, mkv_acc b) { return _mm256_mul_epi32(a, b); }
MKV mkv_acc mkv_mul_unsigned(mkv_acc a, mkv_acc b) { return _mm256_mul_epu32(a, b); }
MKV mkv_acc mkv_up32(mkv_acc x) { return _mm256_slli_epi64(x, 32); }
MKV mkv_acc mkv_broadcast64(int64_t x) { return _mm256_set1_epi64x(x); }
MKV mkv_acc mkv_merge_high(mkv_acc even, mkv_acc odd) {
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}
MKV void mkv_store64(int64_t *p, mkv_acc even, mkv_acc odd) {
    __m256i low = _mm256_unpacklo_epi64(even, odd), high = _mm256_unpackhi_epi64(even, odd);
    _mm256_storeu_si256((__m256i *)p, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256((__m256i *)(p + 4), _mm256_permute2x128_si256(low, high, 0x31));
}
// Arithmetic shifts of values below 2^62 in magnitude, by 0 ... 62: there is only a logical one, so they are made positive.
typedef struct { __m256i count, offset; } mkv_shift64;
MKV mkv_shift64 mkv_shift64_by(mkv_acc count) {
    mkv_shift64 s = { count, _mm256_srlv_epi64(_mm256_set1_epi64x(1ll << 62), count) };
    return s;
}
MKV mkv_acc mkv_sra64(mkv_acc x, mkv_shift64 s) {
    __m256i positive = _mm256_add_epi64(x, _mm256_set1_epi64x(1ll << 62));
    return _mm256_sub_epi64(_mm256_srlv_epi64(positive, s.count), s.offset);
}

// Gate, Add.
MKV mkv_acc mkv_zip32_low(mkv_acc a, mkv_acc b) { return _mm256_unpacklo_epi32(a, b); }
MKV mkv_acc mkv_zip32_high(mkv_acc a, mkv_acc b) { return _mm256_unpackhi_epi32(a, b); }
MKV mkv_acc mkv_sub16(mkv_acc a, mkv_acc b) { return _mm256_sub_epi16(a, b); }
MKV mkv_acc mkv_sra32(mkv_acc x, int32_t count) { return _mm256_sra_epi32(x, _mm_cvtsi32_si128(count)); }

// Words of a and b in turn: the first vector, then the second.
MKV void mkv_interleave(mkv_acc a, mkv_acc b, mkv_acc y[2]) {
    __m256i low = _mm256_unpacklo_epi32(a, b), high = _mm256_unpackhi_epi32(a, b);
    y[0] = _mm256_permute2x128_si256(low, high, 0x20);
    y[1] = _mm256_permute2x128_si256(low, high, 0x31);
}
MKV mkv_acc mkv_zip64_low(mkv_acc a, mkv_acc b) { return _mm256_unpacklo_epi64(a, b); }
MKV mkv_acc mkv_zip64_high(mkv_acc a, mkv_acc b) { return _mm256_unpackhi_epi64(a, b); }
// 16 bytes of every fourth record, one record per 128-bit lane.
MKV mkv_acc mkv_load_fourth(const uint8_t *p, ptrdiff_t size) {
    __m256i x = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p));
    return _mm256_inserti128_si256(x, _mm_loadu_si128((const __m128i *)(p + 4 * size)), 1);
}

// Adds 2 · MKV_LANES values of a and of b: the sums of the lower halves of all 128-bit lanes in acc[0], of the upper halves in acc[1].
MKV void mkv_add_rows(const int16_t *a, const int16_t *b, mkv_acc acc[2]) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)a), y = _mm256_loadu_si256((const __m256i *)b);
    const __m256i ones = _mm256_set1_epi16(1);
    acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(x, y), ones));
    acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(x, y), ones));
}
