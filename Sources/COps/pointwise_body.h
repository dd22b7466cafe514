// The generic bodies of the token ops that look at one voxel at a time. Each function does one row in `blocks` blocks.

void MK_ISA(mk_lookup)(const uint8_t *table, const uint8_t *input, ptrdiff_t input_stride, uint8_t *output,
                       ptrdiff_t output_stride, int32_t width, int32_t blocks) {
    const mkv_table t = mkv_table_from(table);
    for (int32_t block = 0; block < blocks; block++, input += input_stride, output += output_stride)
        for (int32_t x = 0; x < width; x += MKV_LANES) {
            const mkv_mask mask = mask_until(x, width);
            const ptrdiff_t at = (ptrdiff_t)x * 4;
            mkv_store_masked(output + at, mkv_lookup(&t, mkv_load_masked(input + at, mask)), mask);
        }
}

#ifdef MKV_GATHERS
// Entries of 4096 bytes by the upper twelve bits of one half of the words, 0 or 1.
MK_INLINE mkv_acc lookup_half(const uint8_t *table, mkv_acc words, const int half) {
    const mkv_acc index = mkv_and(mkv_srl32(words, half ? 22 : 6), mkv_broadcast(1023));
    const mkv_acc byte = mkv_and(mkv_srl32(words, half ? 17 : 1), mkv_broadcast(24));
    return mkv_and(mkv_shift_right_by(mkv_gather(table, index), byte), mkv_broadcast(255));
}

void MK_ISA(mk_lookup_wide)(const uint8_t *table, const uint8_t *low, const uint8_t *high, uint8_t *output, int32_t width,
                            uint32_t kept) {
    const mkv_acc sign = mkv_broadcast((int32_t)0x80008000), bytes = mkv_broadcast((int32_t)kept);
    for (int32_t x = 0; x < width; x += MKV_LANES) {
        const mkv_mask mask = mask_until(x, width);
        const ptrdiff_t at = (ptrdiff_t)x * 4;
        const mkv_acc a = mkv_xor(mkv_load_masked(low + at, mask), sign), b = mkv_xor(mkv_load_masked(high + at, mask), sign);
        const mkv_acc first = mkv_or(lookup_half(table, a, 0), mkv_sll32(lookup_half(table, a, 1), 8));
        const mkv_acc second = mkv_or(lookup_half(table, b, 0), mkv_sll32(lookup_half(table, b, 1), 8));
        mkv_store_masked(output + at, mkv_and(mkv_or(first, mkv_sll32(second, 16)), bytes), mask);
    }
}

// A word holds an entry and the next one, weighted by how far the code is between them. `code`: 16 bits, not signed.
MK_INLINE mkv_acc lookup_line(const int16_t *table, mkv_acc code) {
    const mkv_acc past = mkv_and(code, mkv_broadcast(15));
    const mkv_acc weights = mkv_or(mkv_sub32(mkv_broadcast(16), past), mkv_sll32(past, 16));
    const mkv_acc sum = mkv_madd16(mkv_gather_halves(table, mkv_srl32(code, 4)), weights);
    return mkv_sra32(mkv_add32(sum, mkv_broadcast(8)), 4);
}

void MK_ISA(mk_lookup_fine)(const int16_t *table, const uint8_t *input, uint8_t *output, int32_t width, uint32_t kept) {
    const mkv_acc sign = mkv_broadcast((int32_t)0x80008000), halves = mkv_broadcast((int32_t)kept);
    const mkv_acc lower = mkv_broadcast(0xFFFF);
    for (int32_t x = 0; x < width; x += MKV_LANES) {
        const mkv_mask mask = mask_until(x, width);
        const ptrdiff_t at = (ptrdiff_t)x * 4;
        const mkv_acc words = mkv_xor(mkv_load_masked(input + at, mask), sign);
        const mkv_acc low = mkv_and(lookup_line(table, mkv_and(words, lower)), lower);
        const mkv_acc high = mkv_sll32(lookup_line(table, mkv_srl32(words, 16)), 16);
        mkv_store_masked(output + at, mkv_and(mkv_or(low, high), halves), mask);
    }
}
#endif

void MK_ISA(mk_add_wide)(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride, uint8_t *output,
                         ptrdiff_t output_stride, int32_t width, int32_t blocks) {
    for (int32_t block = 0; block < blocks; block++, a += a_stride, b += b_stride, output += output_stride)
        for (int32_t x = 0; x < width; x += MKV_LANES) {
            const mkv_mask mask = mask_until(x, width);
            const ptrdiff_t at = (ptrdiff_t)x * 4;
            mkv_acc sum = mkv_adds16(mkv_load_masked(a + at, mask), mkv_load_masked(b + at, mask));
            mkv_store_masked(output + at, sum, mask);
        }
}

void MK_ISA(mk_depth_to_space)(const uint8_t *even, const uint8_t *odd, ptrdiff_t input_stride, uint8_t *output,
                               ptrdiff_t output_stride, int32_t width, int32_t blocks) {
    for (int32_t block = 0; block < blocks; block++, even += input_stride, odd += input_stride, output += output_stride)
        for (int32_t x = 0; x < width; x += MKV_LANES) {
            const mkv_mask mask = mask_until(x, width);
            const ptrdiff_t at = (ptrdiff_t)x * 4;
            mkv_acc words[2];
            mkv_interleave(mkv_load_masked(even + at, mask), mkv_load_masked(odd + at, mask), words);
            for (int32_t i = 0; i < 2; i++) {
                const int32_t to = 2 * x + i * MKV_LANES;
                mkv_store_masked(output + (ptrdiff_t)to * 4, words[i], mask_until(to, 2 * width));
            }
        }
}

// MARK: Quads

// (a + b) · t of one vector of quads, halved. The product is in -2^31 + 2^16 ... 2^31: 2^31 wraps to -2^31, and one less is
// right again.
MK_INLINE mkv_acc gate_quads(mkv_acc sums, mkv_acc factors, mkv_requant4 q) {
    const mkv_acc one = mkv_broadcast(1);
    mkv_acc product = mkv_madd16(sums, factors);
    return mkv_requantize4(mkv_add32(mkv_sra32(mkv_sub32(product, one), 1), one), q);
}

// One vector of one block; the words of a and b hold channels 0, 1 in [0] and 2, 3 in [1], those of the table two bytes of
// each channel.
MK_INLINE mkv_acc gate_vector(const mkv_acc a[2], const mkv_acc b[2], const mkv_acc t[2], mkv_requant4 q) {
    mkv_acc a01 = mkv_zip32_low(a[0], a[1]), a23 = mkv_zip32_high(a[0], a[1]);
    mkv_acc b01 = mkv_zip32_low(b[0], b[1]), b23 = mkv_zip32_high(b[0], b[1]);
    mkv_acc t01 = mkv_zip8_low(t[0], t[1]), t23 = mkv_zip8_high(t[0], t[1]);
    return mkv_join_u8(gate_quads(mkv_zip16_low(a01, b01), mkv_zip16_low(t01, t01), q),
                       gate_quads(mkv_zip16_high(a01, b01), mkv_zip16_high(t01, t01), q),
                       gate_quads(mkv_zip16_low(a23, b23), mkv_zip16_low(t23, t23), q),
                       gate_quads(mkv_zip16_high(a23, b23), mkv_zip16_high(t23, t23), q));
}

void MK_ISA(mk_gate)(const mk_gate *gate, const uint8_t *a, const uint8_t *b, const uint8_t *z, uint8_t *output,
                     int32_t width) {
    uint8_t bytes[2][256];
    for (int i = 0; i < 256; i++) {
        bytes[0][i] = (uint8_t)gate->table[i];
        bytes[1][i] = (uint8_t)(gate->table[i] >> 8);
    }
    const mkv_table tables[2] = { mkv_table_from(bytes[0]), mkv_table_from(bytes[1]) };
    for (int32_t c = 0; c < gate->channel_count; c += 4) {
        const int32_t real = gate->channel_count - c < 4 ? gate->channel_count - c : 4;
        const ptrdiff_t sum_block = c / 2 * gate->sum_stride;
        mkv_acc no_bias;
        const mkv_requant4 q = quad_requantizer(gate->channels + c, real, gate->zero_point, &no_bias);
        for (int32_t x = 0; x < width; x += MKV_LANES) {
            const mkv_mask mask = mask_until(x, width);
            const ptrdiff_t at = (ptrdiff_t)x * 4;
            mkv_acc sums[2][2] = { { mkv_load_masked(a + sum_block + at, mask), mkv_zero() },
                                   { mkv_load_masked(b + sum_block + at, mask), mkv_zero() } };
            if (real > 2) {
                sums[0][1] = mkv_load_masked(a + sum_block + gate->sum_stride + at, mask);
                sums[1][1] = mkv_load_masked(b + sum_block + gate->sum_stride + at, mask);
            }
            mkv_acc code = mkv_load_masked(z + c / 4 * gate->gate_stride + at, mask);
            mkv_acc factors[2] = { mkv_lookup(&tables[0], code), mkv_lookup(&tables[1], code) };
            mkv_store_masked(output + c / 4 * gate->output_stride + at, gate_vector(sums[0], sums[1], factors, q), mask);
        }
    }
}

// Factors of 48 bits in digits of 15, those of a and b in the halves of a word.
typedef struct { mkv_acc digit[4], zero_a, zero_b, rounding, zero_out; int32_t shift; } add_constants;

// One vector of quads: words of (a - za, b - zb). The two lower digits only carry, because the shift is at least 32; the
// upper ones and the carry have 28 bits.
MK_INLINE mkv_acc add_quads(mkv_acc pairs, const add_constants *k) {
    mkv_acc carry = mkv_sra32(mkv_madd16(pairs, k->digit[0]), 15);
    carry = mkv_sra32(mkv_add32(mkv_madd16(pairs, k->digit[1]), carry), 15);
    mkv_acc upper = mkv_add32(mkv_shift15(mkv_madd16(pairs, k->digit[3])), mkv_madd16(pairs, k->digit[2]));
    return mkv_add32(mkv_sra32(mkv_add32(mkv_add32(upper, carry), k->rounding), k->shift), k->zero_out);
}

MK_INLINE mkv_acc add_vector(mkv_acc a, mkv_acc b, const add_constants *k) {
    const mkv_acc zero = mkv_zero();
    mkv_acc a01 = mkv_sub16(mkv_zip8_low(a, zero), k->zero_a), a23 = mkv_sub16(mkv_zip8_high(a, zero), k->zero_a);
    mkv_acc b01 = mkv_sub16(mkv_zip8_low(b, zero), k->zero_b), b23 = mkv_sub16(mkv_zip8_high(b, zero), k->zero_b);
    return mkv_join_u8(add_quads(mkv_zip16_low(a01, b01), k), add_quads(mkv_zip16_high(a01, b01), k),
                       add_quads(mkv_zip16_low(a23, b23), k), add_quads(mkv_zip16_high(a23, b23), k));
}

void MK_ISA(mk_add)(const mk_add *add, const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
                    uint8_t *output, ptrdiff_t output_stride, int32_t width, int32_t blocks) {
    add_constants k = { { mkv_zero() }, mkv_broadcast(add->zero_point_a * 0x00010001),
                        mkv_broadcast(add->zero_point_b * 0x00010001), mkv_broadcast(1 << (add->shift - 31)),
                        mkv_broadcast(add->zero_point_out), add->shift - 30 };
    for (int i = 0; i < 4; i++) {
        const int32_t of_a = (int32_t)(add->multiplier_a >> 15 * i & 0x7FFF);
        k.digit[i] = mkv_broadcast((int32_t)(add->multiplier_b >> 15 * i & 0x7FFF) << 16 | of_a);
    }
    for (int32_t block = 0; block < blocks; block++, a += a_stride, b += b_stride, output += output_stride)
        for (int32_t x = 0; x < width; x += MKV_LANES) {
            const mkv_mask mask = mask_until(x, width);
            const ptrdiff_t at = (ptrdiff_t)x * 4;
            mkv_acc sum = add_vector(mkv_load_masked(a + at, mask), mkv_load_masked(b + at, mask), &k);
            mkv_store_masked(output + at, sum, mask);
        }
}
