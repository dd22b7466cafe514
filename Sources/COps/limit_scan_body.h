// As limit_body.h, for scan_states_body.h.
// States of the selective scan, by one token each.
int64_t MK_LIMIT(scan)(int64_t rounds) {
    uint32_t words[64];
    for (int i = 0; i < 64; i++) words[i] = 0x00030002 + 0x00020002 * (i & 7);
    const uint32_t bits[16] = { 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4 };
    const mkv_exponent exponent = mkv_exponents((const uint8_t *)bits);
    mkv_acc state[8], step = mkv_load_word((const uint8_t *)words), sum = mkv_zero();
    for (int i = 0; i < 8; i++) state[i] = mkv_broadcast(i << 20);
    for (int64_t r = 0; r < rounds; r++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < 8; i += 2 * MKV_SCAN_PAIRS) {
            MKV_OPAQUE(step);
            sum = mkv_scan_token(words, 8, step, words, exponent, step, state + i, sum, MKV_SCAN_PAIRS);
        }
    }
    for (int i = 0; i < 8; i++) sum = mkv_add32(sum, state[i]);
    volatile int64_t sink = mkv_sum32(sum);
    (void)sink;
    return rounds * 8 * MKV_LANES;
}
#undef MK_LIMIT
