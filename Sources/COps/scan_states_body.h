// The generic body of the selective scan's states (Sources/Ops/Scan). MK_ADVANCE names the function.
#define MK_UNROLLED _Pragma("clang loop unroll(full)")

// Pairs of states of MKV_LANES channels by one token, MKV_SCAN_PAIRS at most. Step by step for all of them, because the steps of one
// wait for each other longer than a processor looks ahead.
MKV mkv_acc mkv_scan_token(const uint32_t *matrices, const int32_t states, mkv_acc step, const uint32_t *rates,
                           mkv_exponent exponent, mkv_acc injection, mkv_acc *state, mkv_acc sum, const int pairs) {
    mkv_acc weight[2 * MKV_SCAN_PAIRS], before[2 * MKV_SCAN_PAIRS], half = mkv_zero();
    mkv_weights_of(step, rates, exponent, weight, pairs);
    MK_UNROLLED for (int i = 0; i < 2 * pairs; i++) before[i] = state[i];
    MK_UNROLLED for (int i = 0; i < 2 * pairs; i++) state[i] = mkv_add_product(state[i], before[i], weight[i]);
    MK_UNROLLED for (int i = 0; i < 2 * pairs; i++) state[i] = mkv_add_product(state[i], before[i], weight[i]);
    MK_UNROLLED for (int i = 0; i < 2 * pairs; i++)
        state[i] = mkv_add_product_saturated(state[i], injection, mkv_broadcast((int32_t)matrices[i]));
    MK_UNROLLED for (int i = 0; i < 2 * pairs; i += 2) {
        sum = mkv_add_product(sum, state[i], mkv_broadcast((int32_t)matrices[states + i]));
        half = mkv_add_product(half, state[i + 1], mkv_broadcast((int32_t)matrices[states + i + 1]));
    }
    return mkv_add32(sum, half);
}

// All tokens of the run for `pairs` pairs of states from `pair` on. `pairs` is a literal, 4 at most: eight states and what is
// needed beside them fit into the registers.
MKV void mkv_scan_pairs(const mk_scan_core *run, mkv_exponent exponent, int32_t first, int32_t pair, const int pairs) {
    const uint32_t *rates = run->rates + pair * 16 + first;
    int32_t *states = run->state + pair * 32 + first;
    const int32_t next = run->reversed ? -1 : 1, all = 2 * run->pairs;
    const ptrdiff_t start = run->reversed ? run->count - 1 : 0, pitch = run->matrices_pitch;
    const uint32_t *steps = run->steps + start * 16 + first, *injections = run->injections + start * 16 + first;
    const uint32_t *matrices = run->matrices + start * pitch + 2 * pair;
    uint8_t *read_out = (uint8_t *)(run->read_out + start * 16 + first);
    mkv_acc state[8];
    MK_UNROLLED for (int n = 0; n < 2 * pairs; n++) state[n] = mkv_load_word((const uint8_t *)(states + n * 16));
    for (int32_t left = run->count; left > 0; left--) {
        const mkv_acc step = mkv_load_word((const uint8_t *)steps), injection = mkv_load_word((const uint8_t *)injections);
        mkv_acc sum = pair == 0 ? mkv_zero() : mkv_load_word(read_out);
        const int together = pairs < MKV_SCAN_PAIRS ? pairs : MKV_SCAN_PAIRS;
        MK_UNROLLED for (int p = 0; p < pairs; p += together)
            sum = mkv_scan_token(matrices + 2 * p, all, step, rates + 16 * p, exponent, injection, state + 2 * p, sum, together);
        mkv_store(read_out, sum);
        steps += next * 16;
        injections += next * 16;
        matrices += next * pitch;
        read_out += next * 64;
    }
    MK_UNROLLED for (int n = 0; n < 2 * pairs; n++) mkv_store((uint8_t *)(states + n * 16), state[n]);
}

void MK_ADVANCE(const mk_scan_core *run, const mk_scan_group *group) {
    for (int32_t first = 0; first < 16; first += MKV_LANES) {
        const mkv_exponent exponent = mkv_exponents((const uint8_t *)(group->exponent_bits + first));
        int32_t pair = 0;
        for (; pair + 4 <= run->pairs; pair += 4) mkv_scan_pairs(run, exponent, first, pair, 4);
        for (; pair < run->pairs; pair++) mkv_scan_pairs(run, exponent, first, pair, 1);
    }
}
#undef MK_UNROLLED
#undef MK_ADVANCE
