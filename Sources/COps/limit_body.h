// Register-only loops of the steps that bound the kernels, and a copy: what this processor does at most. MK_LIMIT(name) is the
// function to define, MK_LIMIT_CHAINS how many independent accumulators leave room for the operands. Every function returns
// how often it did what it is named after. MKV_OPAQUE hides that operands never change. With MK_LIMIT_DOT_ONLY the rest is another
// vocabulary's.

int64_t MK_LIMIT(dot)(int64_t rounds) {
    mkv_sum acc[MK_LIMIT_CHAINS];
    uint8_t codes[64];
    int8_t weights[16];
    for (int i = 0; i < 64; i++) codes[i] = 3;
    for (int i = 0; i < 16; i++) weights[i] = 5;
    for (int i = 0; i < MK_LIMIT_CHAINS; i++) acc[i] = mkv_start(i);
    mkv_in x = mkv_load(codes);
    mkv_weight w = mkv_weights(mkv_weight_quad(weights), 0);
    for (int64_t r = 0; r < rounds; r++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < MK_LIMIT_CHAINS; i++) {
            MKV_OPAQUE_IN(x);
            acc[i] = mkv_dot(acc[i], x, w);
        }
    }
    mkv_acc sum = mkv_zero();
    for (int i = 0; i < MK_LIMIT_CHAINS; i++) sum = mkv_add32(sum, mkv_total(acc[i]));
    volatile int64_t sink = mkv_sum32(sum);
    (void)sink;
    return rounds * MK_LIMIT_CHAINS * MKV_LANES * 4;
}

#ifdef MKV_LIMIT_DOT16
int64_t MK_LIMIT(dot16)(int64_t rounds) {
    mkv_sum acc[MK_LIMIT_CHAINS];
    int16_t codes[32], weights[8];
    for (int i = 0; i < 32; i++) codes[i] = 3;
    for (int i = 0; i < 8; i++) weights[i] = 5;
    for (int i = 0; i < MK_LIMIT_CHAINS; i++) acc[i] = mkv_start(i);
    mkv_in16 x = mkv_load16((const uint8_t *)codes);
    mkv_weight16 w = mkv_weights16(mkv_weight_quad((const int8_t *)weights), 0);
    for (int64_t r = 0; r < rounds; r++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < MK_LIMIT_CHAINS; i++) {
            MKV_OPAQUE(x);
            acc[i] = mkv_dot16(acc[i], x, w);
        }
    }
    mkv_acc sum = mkv_zero();
    for (int i = 0; i < MK_LIMIT_CHAINS; i++) sum = mkv_add32(sum, mkv_total(acc[i]));
    volatile int64_t sink = mkv_sum32(sum);
    (void)sink;
    return rounds * MK_LIMIT_CHAINS * MKV_LANES * 2;
}

#endif

#ifndef MK_LIMIT_DOT_ONLY
// Accumulators to bytes: four vectors become one.
int64_t MK_LIMIT(requantize)(int64_t rounds) {
    mkv_acc acc[8];
    for (int i = 0; i < 8; i++) acc[i] = mkv_broadcast(1000 * i);
    const mkv_requant q = mkv_requantizer(1 << 30, 40, 3);
    for (int64_t r = 0; r < rounds; r++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < 8; i++) acc[i] = mkv_requantize(acc[i], q);
        acc[0] = mkv_pack_u8(acc[0], acc[1], acc[2], acc[3]);
        acc[4] = mkv_pack_u8(acc[4], acc[5], acc[6], acc[7]);
    }
    for (int i = 1; i < 8; i++) acc[0] = mkv_add32(acc[0], acc[i]);
    volatile int64_t sink = mkv_sum32(acc[0]);
    (void)sink;
    return rounds * 8 * MKV_LANES;
}

// Bytes read and written: half of `bytes` each, from one half of the buffer to the other.
int64_t MK_LIMIT(copy)(uint8_t *buffer, int64_t bytes) {
    const int64_t half = bytes / 2 & -256;
    for (int64_t i = 0; i < half; i += MKV_LANES * 4) {
        mkv_acc x = mkv_load_word(buffer + i);
        mkv_store(buffer + half + i, x);
    }
    return 2 * half;
}
#endif
#undef MK_LIMIT
#undef MK_LIMIT_CHAINS
