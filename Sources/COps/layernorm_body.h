// The generic bodies of layer normalization (Sources/Ops/LayerNorm), up to 64 voxels of a row at a time: sums over the
// channels, then the scale of each voxel, then the map. Voxels lie in the lanes.

// Words of a vector of voxels in i16 block `block`; the upper half is dropped where the channel does not exist.
MK_INLINE mkv_acc layer_words(const uint8_t *input, ptrdiff_t stride, int32_t block, int32_t channels, mkv_mask mask) {
    mkv_acc words = mkv_load_masked(input + block * stride, mask);
    return 2 * block + 1 < channels ? words : mkv_and(words, mkv_broadcast(0xFFFF));
}

void MK_ISA(mk_layer_stats)(const mk_layer_norm *norm, const uint8_t *input, ptrdiff_t input_stride, int32_t width) {
    const int32_t channels = norm->channels;
    const mkv_acc ones = mkv_broadcast(0x00010001), count = mkv_broadcast(channels);
    for (int32_t x = 0; x < width; x += MKV_LANES) {
        const mkv_mask mask = mask_until(x, width);
        mkv_acc sum = mkv_zero(), even = mkv_broadcast64(0), odd = mkv_broadcast64(0);
        for (int32_t block = 0; 2 * block < channels; block++) {
            mkv_acc words = layer_words(input + (ptrdiff_t)x * 4, input_stride, block, channels, mask);
            mkv_acc squares = mkv_madd16(words, words);  // at most 2^31, unsigned
            sum = mkv_add32(sum, mkv_madd16(words, ones));
            even = mkv_add64(even, mkv_even32(squares));
            odd = mkv_add64(odd, mkv_odd32(squares));
        }
        mkv_store((uint8_t *)(norm->sums + x), sum);
        // C · Q - S² + E; Q has up to 39 bits.
        mkv_acc squares[2] = { even, odd }, sum_of[2] = { sum, mkv_odd32(sum) };
        for (int i = 0; i < 2; i++) {
            mkv_acc low = mkv_mul_unsigned(count, squares[i]), high = mkv_mul_unsigned(count, mkv_odd32(squares[i]));
            mkv_acc product = mkv_add64(low, mkv_up32(high));
            squares[i] = mkv_sub64(product, mkv_mul_signed(sum_of[i], sum_of[i]));
            squares[i] = mkv_add64(squares[i], mkv_broadcast64(norm->epsilon));
        }
        mkv_store64(norm->variances + x, squares[0], squares[1]);
    }
}

// floor(2^61 / floor(sqrt(v))) for v in 2^60 ..< 2^62, by products of 32-bit words alone and without branches, so that the compiler
// can turn a loop of it into vectors.
//
// y = 2^61 / sqrt(v) comes from a parabola (within 2.5 %) and three steps of Newton, exact but for what they cut off, some units of
// 2^31. Both results are exact all the same: what is missing from v and from 2^61 says how far off a candidate is, to
// one unit, and the last comparisons are those of the definition.
MK_INLINE int64_t layer_reciprocal(uint64_t v) {
#define PRODUCT(a, b) ((uint64_t)(uint32_t)(a) * (uint32_t)(b))
#define SIGNED(a, b) ((int64_t)(int32_t)(a) * (int32_t)(b))
    const uint64_t x = v >> 30;
    uint64_t y = 2867810033u - (PRODUCT(x, 3527677412u - (PRODUCT(x, 1759423925u) >> 32)) >> 32);
    for (int i = 0; i < 3; i++) y = PRODUCT(y, (3ull << 30) - (PRODUCT(PRODUCT(y, y) >> 31, x) >> 31)) >> 31;
    const int64_t square = (int64_t)v, one = 1ll << 61, half = (int64_t)(y >> 1);
    int64_t root = (int64_t)(PRODUCT(v >> 31, y) >> 30);
    root += SIGNED((square - (int64_t)PRODUCT(root, root)) >> 8, half) >> 53;
    root -= square < (int64_t)PRODUCT(root, root);
    root += square - (int64_t)PRODUCT(root, root) > 2 * root;
    int64_t result = (int64_t)y + (SIGNED((one - (int64_t)PRODUCT(y, root)) >> 8, half) >> 52);
    result -= one < (int64_t)PRODUCT(result, root);
    result += one - (int64_t)PRODUCT(result, root) >= root;
    return result;
#undef PRODUCT
#undef SIGNED
}

// Of 64 voxels, whether they exist or not: the negated reciprocals, which the map wants, and the shifts.
void MK_ISA(mk_layer_roots)(const mk_layer_norm *norm, int32_t width) {
    uint64_t scaled[64] = { 0 };
    for (int32_t i = 0; i < width; i++) {
        const uint64_t v = (uint64_t)norm->variances[i];
        const int32_t up = (__builtin_clzll(v) - 2) & ~1;
        scaled[i] = v << up;
        norm->shifts[i] = 45 - up / 2;
    }
    for (int32_t i = 0; i < 64; i++) norm->reciprocals[i] = (int32_t)-layer_reciprocal(scaled[i]);
}

// What the map needs to know of a vector of voxels, for even and odd lanes.
typedef struct { mkv_acc sum, reciprocal[2]; mkv_shift64 shift[2]; } layer_voxels;

// One channel; `pick` extracts C · a from its words. The reciprocal is negated (2^31 does not fit, -2^31 does), so the
// deviation is negated too.
MK_INLINE mkv_acc layer_map(const layer_voxels *v, mkv_acc words, mkv_acc pick, const int32_t *constants, int64_t rounding) {
    const mkv_acc gain = mkv_broadcast(constants[0]);
    const mkv_acc offset = mkv_broadcast64((int64_t)((uint64_t)(int64_t)constants[1] << 16) + rounding);
    mkv_acc deviation = mkv_sub32(v->sum, mkv_madd16(words, pick));
    mkv_acc even = mkv_sra64(mkv_mul_signed(deviation, v->reciprocal[0]), v->shift[0]);
    mkv_acc odd = mkv_sra64(mkv_mul_signed(mkv_odd32(deviation), v->reciprocal[1]), v->shift[1]);
    // The normalized value has 21 bits: its lower word is all of it.
    return mkv_merge_high(mkv_add64(mkv_mul_signed(even, gain), offset), mkv_add64(mkv_mul_signed(odd, gain), offset));
}

void MK_ISA(mk_layer_apply)(const mk_layer_norm *norm, const uint8_t *input, ptrdiff_t input_stride, uint8_t *output,
                            ptrdiff_t output_stride, int32_t width) {
    const mkv_acc picks[2] = { mkv_broadcast(norm->channels), mkv_broadcast(norm->channels << 16) };
    const int64_t rounding = ((int64_t)norm->zero_point << 32) + (1ll << 31);
    for (int32_t x = 0; x < width; x += MKV_LANES) {
        const mkv_mask mask = mask_until(x, width);
        const ptrdiff_t at = (ptrdiff_t)x * 4;
        mkv_acc reciprocal = mkv_load_masked((const uint8_t *)(norm->reciprocals + x), mask);
        mkv_acc shift = mkv_load_masked((const uint8_t *)(norm->shifts + x), mask);
        const layer_voxels v = { mkv_load_masked((const uint8_t *)(norm->sums + x), mask),
                                 { reciprocal, mkv_odd32(reciprocal) },
                                 { mkv_shift64_by(mkv_even32(shift)), mkv_shift64_by(mkv_odd32(shift)) } };
        for (int32_t c = 0; c < norm->channels; c += 4) {
            mkv_acc y[4] = { mkv_zero(), mkv_zero(), mkv_zero(), mkv_zero() };
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (c + i >= norm->channels) break;
                mkv_acc words = mkv_load_masked(input + at + ((c + i) >> 1) * input_stride, mask);
                y[i] = layer_map(&v, words, picks[i & 1], norm->constants + 2 * (c + i), rounding);
            }
            mkv_store_masked(output + at + (c >> 2) * output_stride, mkv_pack_u8(y[0], y[1], y[2], y[3]), mask);
        }
    }
}
