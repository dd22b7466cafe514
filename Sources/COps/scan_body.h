// The generic bodies of the selective scan's stages (Sources/Ops/Scan). MK_SCAN(stage) names the functions.

// Tokens in the lanes, one channel at a time, until the transposition puts channels in the lanes.
MKV mkv_acc mkv_scan_code(mkv_acc words, int c, mkv_acc zero_point) {
    return mkv_sub32(mkv_byte(words, c & 3), zero_point);
}

// Δ of a channel: 513 table values, straight lines between.
MKV mkv_acc mkv_scan_step(mkv_acc v, const uint32_t *softplus, int32_t shift) {
    const mkv_acc code = mkv_add32(v, mkv_broadcast(32768));
    const mkv_acc index = mkv_shift_right_fixed(code, 7);
    const mkv_acc low = mkv_gather(softplus, index), high = mkv_gather(softplus + 1, index);
    const mkv_acc slope = mkv_mul32(mkv_sub32(high, low), mkv_and32(code, mkv_broadcast(127)));
    const mkv_acc delta = mkv_add32(low, mkv_shift_right_fixed(mkv_add32(slope, mkv_broadcast(64)), 7));
    const mkv_acc rounded = mkv_add32(delta, mkv_broadcast(1 << (shift - 1)));
    return mkv_min_u32(mkv_shift_right(rounded, shift), mkv_broadcast(65535));
}

void MK_SCAN(prepare)(const mk_scan_run *run, const mk_scan_group *group, const uint32_t *softplus, uint32_t *steps,
                      uint32_t *injections) {
    const mkv_acc zero_point = mkv_broadcast(run->zero_point);
    for (int32_t t = 0; t < run->count; t += MKV_LANES) {
        const int32_t rest = run->count - t, tokens = rest < MKV_LANES ? rest : MKV_LANES;
        const mkv_mask mask = mkv_mask_for(tokens);
        for (int32_t first = 0; first < 16; first += MKV_LANES) {
            mkv_acc step[MKV_LANES], injection[MKV_LANES];
            for (int i = 0; i < MKV_LANES; i++) {
                const int c = first + i;
                step[i] = injection[i] = mkv_zero();
                if (c >= run->channels) continue;
                const uint8_t *steps_at = run->step + (c >> 1) * run->step_block + 4 * t;
                const uint8_t *x_at = run->x + (c >> 2) * run->x_block + 4 * t;
                __builtin_prefetch(steps_at + run->ahead);
                __builtin_prefetch(x_at + run->ahead);
                const mkv_acc v = mkv_load_masked(steps_at, mask), x = mkv_load_masked(x_at, mask);
                const int32_t k = group->injection_shift[c];
                const mkv_acc delta = mkv_scan_step(c & 1 ? mkv_high16(v) : mkv_low16(v), softplus, group->step_shift[c]);
                mkv_acc j = mkv_mul32(delta, mkv_scan_code(x, c, zero_point));
                j = mkv_shift_right_signed(mkv_add32(j, mkv_broadcast(1 << (k - 1))), k);
                j = mkv_max32(mkv_min32(j, mkv_broadcast(65534)), mkv_broadcast(-65534));
                const mkv_acc half = mkv_shift_right_signed(j, 1);
                step[i] = mkv_or32(delta, mkv_shift_left_fixed(delta, 16));
                injection[i] = mkv_or32(mkv_and32(half, mkv_broadcast(65535)),
                                        mkv_shift_left_fixed(mkv_sub32(j, half), 16));
            }
            mkv_transpose(step);
            mkv_transpose(injection);
            for (int i = 0; i < tokens; i++) {
                mkv_store((uint8_t *)(steps + (t + i) * 16 + first), step[i]);
                mkv_store((uint8_t *)(injections + (t + i) * 16 + first), injection[i]);
            }
        }
    }
}

// One state: the words that its products need, for MKV_LANES tokens.
MKV void mkv_scan_words(mkv_acc b, mkv_acc c, int32_t shift, mkv_acc *twice, mkv_acc *high, mkv_acc *low) {
    *twice = mkv_or32(mkv_and32(b, mkv_broadcast(65535)), mkv_shift_left_fixed(b, 16));
    c = mkv_shift_right_signed(mkv_add32(c, mkv_broadcast(1 << (shift - 1))), shift);
    *high = mkv_shift_left_fixed(c, 16);
    *low = mkv_and32(c, mkv_broadcast(65535));
}

void MK_SCAN(matrices)(const uint8_t *codes, ptrdiff_t block, int32_t states, int32_t shift,
                       int32_t count, uint32_t *matrices, ptrdiff_t pitch) {
    const int32_t padded = (states + 1) & ~1;
    for (int32_t t = 0; t < count; t += MKV_LANES) {
        const int32_t rest = count - t, tokens = rest < MKV_LANES ? rest : MKV_LANES;
        const mkv_mask mask = mkv_mask_for(tokens);
        mkv_acc words[96 + MKV_LANES];
        for (int32_t n = 0; n < (int32_t)pitch; n++) words[n] = mkv_zero();
        for (int32_t n = 0; n < states; n++) {
            // c follows b in the same tensor, so an odd number of states starts it in the middle of a word.
            const int32_t m = states + n;
            const mkv_acc vb = mkv_load_masked(codes + (n >> 1) * block + 4 * t, mask);
            const mkv_acc vc = mkv_load_masked(codes + (m >> 1) * block + 4 * t, mask);
            mkv_scan_words(n & 1 ? mkv_high16(vb) : mkv_low16(vb), m & 1 ? mkv_high16(vc) : mkv_low16(vc), shift,
                           words + n, words + padded + n, words + 2 * padded + n);
        }
        for (int32_t first = 0; first < (int32_t)pitch; first += MKV_LANES) {
            mkv_transpose(words + first);
            for (int32_t i = 0; i < tokens; i++)
                mkv_store((uint8_t *)(matrices + (t + i) * pitch + first), words[first + i]);
        }
    }
}

// Two states of MKV_LANES channels and one token.
MKV void mkv_scan_pair(const uint32_t *matrices, const int states, mkv_acc step, mkv_acc rate, mkv_exponent exponent, mkv_acc injection,
                       mkv_acc *state, mkv_acc *upper, mkv_acc *lower) {
    mkv_acc weight[2];
    mkv_weights_of(step, rate, exponent, weight);
    for (int i = 0; i < 2; i++) {
        const mkv_acc before = state[i];
        mkv_acc g = mkv_add_product(mkv_add_product(before, before, weight[i]), before, weight[i]);
        g = mkv_add_product_saturated(g, injection, mkv_broadcast((int32_t)matrices[i]));
        state[i] = g;
        *upper = mkv_add_product(*upper, g, mkv_broadcast((int32_t)matrices[states + i]));
        *lower = mkv_add_product(*lower, mkv_xor32(g, mkv_broadcast(0x8000)), mkv_broadcast((int32_t)matrices[2 * states + i]));
    }
}

// The tokens of a run. `MK_UNROLL` keeps the states in registers where `pairs` is a constant.
#define MK_SCAN_TOKENS(pairs, MK_UNROLL)                                                                          \
    const mkv_exponent exponent = mkv_exponents((const uint8_t *)(group->exponent_bits + first));                 \
    mkv_acc state[32];                                                                                            \
    MK_UNROLL for (int n = 0; n < 2 * (pairs); n++)                                                               \
        state[n] = mkv_load_word((const uint8_t *)(run->state + n * 16 + first));                                 \
    for (int32_t i = 0; i < run->count; i++) {                                                                    \
        const ptrdiff_t t = run->reversed ? run->count - 1 - i : i;                                               \
        const mkv_acc step = mkv_load_word((const uint8_t *)(run->steps + t * 16 + first));                       \
        const mkv_acc injection = mkv_load_word((const uint8_t *)(run->injections + t * 16 + first));             \
        const uint32_t *matrices = run->matrices + t * run->matrices_pitch;                                       \
        mkv_acc upper = mkv_zero(), lower = mkv_zero();                                                           \
        MK_UNROLL for (int p = 0; p < (pairs); p++) {                                                             \
            const mkv_acc rate = mkv_load_word((const uint8_t *)(run->rates + p * 16 + first));                   \
            mkv_scan_pair(matrices + 2 * p, 2 * (pairs), step, rate, exponent, injection, state + 2 * p, &upper,  \
                          &lower);                                                                                \
        }                                                                                                         \
        const mkv_acc sum = mkv_add32(mkv_shift_left_fixed(upper, 1), mkv_shift_right_signed(lower, 15));         \
        mkv_store((uint8_t *)(run->read_out + t * 16 + first), sum);                                              \
    }                                                                                                             \
    MK_UNROLL for (int n = 0; n < 2 * (pairs); n++)                                                               \
        mkv_store((uint8_t *)(run->state + n * 16 + first), state[n]);

// The usual numbers of states, 8 and 16, and any other.
static void MK_SCAN(tokens_8)(const mk_scan_core *run, const mk_scan_group *group, int32_t first) {
    MK_SCAN_TOKENS(4, _Pragma("clang loop unroll(full)"))
}
static void MK_SCAN(tokens_16)(const mk_scan_core *run, const mk_scan_group *group, int32_t first) {
    MK_SCAN_TOKENS(8, _Pragma("clang loop unroll(full)"))
}
static void MK_SCAN(tokens_any)(const mk_scan_core *run, const mk_scan_group *group, int32_t first) {
    MK_SCAN_TOKENS(run->pairs, )
}

void MK_SCAN(advance)(const mk_scan_core *run, const mk_scan_group *group) {
    for (int32_t first = 0; first < 16; first += MKV_LANES) {
        switch (run->pairs) {
        case 4: MK_SCAN(tokens_8)(run, group, first); break;
        case 8: MK_SCAN(tokens_16)(run, group, first); break;
        default: MK_SCAN(tokens_any)(run, group, first);
        }
    }
}

void MK_SCAN(finish)(const mk_scan_run *run, const mk_scan_group *group, const int32_t *read_out) {
    const mkv_acc zero_point = mkv_broadcast(run->zero_point);
    for (int32_t t = 0; t < run->count; t += MKV_LANES) {
        const int32_t rest = run->count - t, tokens = rest < MKV_LANES ? rest : MKV_LANES;
        const mkv_mask mask = mkv_mask_for(tokens);
        for (int32_t first = 0; first < run->channels; first += MKV_LANES) {
            mkv_acc y[MKV_LANES];
            for (int i = 0; i < MKV_LANES; i++)
                y[i] = i < tokens ? mkv_load_word((const uint8_t *)(read_out + (t + i) * 16 + first)) : mkv_zero();
            mkv_transpose(y);
            for (int i = 0; i < MKV_LANES && first + i < run->channels; i++) {
                const int c = first + i;
                const mkv_acc words = mkv_load_masked(run->x + (c >> 2) * run->x_block + 4 * t, mask);
                const mkv_acc x = mkv_shift15(mkv_scan_code(words, c, zero_point));
                y[i] = mkv_requantize_sum(y[i], group->multiplier[c], x, group->skip[c], group->shift[c]);
            }
            for (int i = 0; i < MKV_LANES && first + i < run->channels; i += 2) {
                const mkv_acc odd = first + i + 1 < run->channels ? y[i + 1] : mkv_zero();
                mkv_store_masked(run->output + ((first + i) >> 1) * run->output_block + 4 * t, mkv_pack_i16(y[i], odd),
                                 mask);
            }
        }
    }
}
#undef MK_SCAN_TOKENS
#undef MK_SCAN
