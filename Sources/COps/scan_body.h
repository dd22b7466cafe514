// The generic bodies of the selective scan's stages (Sources/Ops/Scan), but for the states. MK_SCAN(stage) names the functions.

// Planes hold one word of every token; here the words of a token come together, in rows.
#define MK_SCAN_ROWS(planes, plane, mask, tokens, rows, pitch)                                                    \
    for (int first = 0; first < (planes); first += MKV_LANES) {                                                   \
        mkv_acc words[MKV_LANES];                                                                                 \
        MK_UNROLLED for (int i = 0; i < MKV_LANES; i++)                                                           \
            words[i] = first + i < (planes) ? mkv_load_masked(plane(first + i), mask) : mkv_zero();               \
        mkv_transpose(words);                                                                                     \
        MK_UNROLLED for (int i = 0; i < MKV_LANES; i++)                                                           \
            if (i < (tokens)) mkv_store((rows) + i * (pitch) + 4 * first, words[i]);                              \
    }
#define MK_UNROLLED _Pragma("clang loop unroll(full)")

// Δ of a token's channels: 513 table values, straight lines between.
MKV mkv_acc mkv_scan_step(mkv_acc v, const uint32_t *softplus, mkv_acc half, mkv_acc shift) {
    const mkv_acc code = mkv_add32(v, mkv_broadcast(32768));
    mkv_acc low, high;
    mkv_gather_pair(softplus, mkv_shift_right_fixed(code, 7), &low, &high);
    const mkv_acc slope = mkv_mul32(mkv_sub32(high, low), mkv_and32(code, mkv_broadcast(127)));
    const mkv_acc delta = mkv_add32(low, mkv_shift_right_fixed(mkv_add32(slope, mkv_broadcast(64)), 7));
    return mkv_min_u32(mkv_shift_right_by(mkv_add32(delta, half), shift), mkv_broadcast(65535));
}

// x of a token's channels, less the zero point.
MKV mkv_acc mkv_scan_input(const uint8_t *codes, int first, mkv_acc zero_point) {
    return mkv_sub32(mkv_widen_u8(codes + 32 + first), zero_point);
}

void MK_SCAN(prepare)(const mk_scan_run *run, const mk_scan_group *group, const uint32_t *softplus, uint8_t *codes,
                      uint32_t *steps, uint32_t *injections) {
    // A channel that does not exist takes the first one's codes; nothing reads what becomes of them.
    const uint8_t *planes[12];
    for (int i = 0; i < 12; i++)
        planes[i] = i < 8 ? run->step + (2 * i < run->channels ? i : 0) * run->step_block
                          : run->x + (4 * (i - 8) < run->channels ? i - 8 : 0) * run->x_block;
    for (int32_t t = 0; t < run->count; t += MKV_LANES) {
        const int32_t rest = run->count - t, tokens = rest < MKV_LANES ? rest : MKV_LANES;
        const mkv_mask mask = mkv_mask_for(tokens);
        MK_UNROLLED for (int i = 0; i < 12; i++) __builtin_prefetch(planes[i] + 4 * t + run->ahead);
#define MK_PLANE(i) (planes[i] + 4 * t)
        MK_SCAN_ROWS(12, MK_PLANE, mask, tokens, codes + 64 * t, 64)
#undef MK_PLANE
    }
    const mkv_acc zero_point = mkv_broadcast(run->zero_point), one = mkv_broadcast(1);
    for (int32_t first = 0; first < 16; first += MKV_LANES) {
        const mkv_acc r = mkv_load_word((const uint8_t *)(group->step_shift + first));
        const mkv_acc k = mkv_load_word((const uint8_t *)(group->injection_shift + first));
        const mkv_acc half_r = mkv_shift_left_by(one, mkv_sub32(r, one)), half_k = mkv_shift_left_by(one, mkv_sub32(k, one));
        for (int32_t t = 0; t < run->count; t++) {
            const uint8_t *row = codes + 64 * t;
            const mkv_acc delta = mkv_scan_step(mkv_widen_i16(row + 2 * first), softplus, half_r, r);
            mkv_acc j = mkv_mul32(delta, mkv_scan_input(row, first, zero_point));
            j = mkv_shift_right_signed_by(mkv_add32(j, half_k), k);
            j = mkv_max32(mkv_min32(j, mkv_broadcast(65534)), mkv_broadcast(-65534));
            const mkv_acc half = mkv_shift_right_signed_fixed(j, 1);
            mkv_store((uint8_t *)(steps + 16 * t + first), mkv_or32(delta, mkv_shift_left_fixed(delta, 16)));
            mkv_store((uint8_t *)(injections + 16 * t + first),
                      mkv_or32(mkv_and32(half, mkv_broadcast(65535)), mkv_shift_left_fixed(mkv_sub32(j, half), 16)));
        }
    }
}

void MK_SCAN(matrices)(const uint8_t *codes, ptrdiff_t block, int32_t states, int32_t shift, int32_t ahead,
                       int32_t count, uint32_t *matrices, ptrdiff_t pitch) {
    const int32_t padded = (states + 1) & ~1;
    const mkv_acc half = mkv_broadcast(1 << (shift - 1));
    for (int32_t t = 0; t < count; t += MKV_LANES) {
        const int32_t rest = count - t, tokens = rest < MKV_LANES ? rest : MKV_LANES;
        const mkv_mask mask = mkv_mask_for(tokens);
        // A token's codes, 4 bytes for each state, and what vectors read beyond them.
        uint8_t rows[MKV_LANES * 128];
        for (int32_t n = 0; n < states; n++) __builtin_prefetch(codes + n * block + 4 * t + ahead);
#define MK_PLANE(i) (codes + (i) * block + 4 * t)
        MK_SCAN_ROWS(states, MK_PLANE, mask, tokens, rows, 128)
#undef MK_PLANE
        for (int32_t i = 0; i < tokens; i++) {
            uint32_t *row = matrices + (t + i) * pitch;
            for (int32_t n = 0; n < padded; n += MKV_LANES) {
                const mkv_mask there = mkv_mask_for(padded - n < MKV_LANES ? padded - n : MKV_LANES);
                const mkv_mask states_there = mkv_mask_for(states - n < MKV_LANES ? states - n : MKV_LANES);
                const mkv_acc b = mkv_keep(mkv_widen_i16(rows + 128 * i + 2 * n), states_there);
                // c follows b: an odd number of states starts it in the middle of a word.
                mkv_acc c = mkv_widen_i16(rows + 128 * i + 2 * (states + n));
                c = mkv_keep(mkv_shift_right_signed(mkv_add32(c, half), shift), states_there);
                mkv_store_masked((uint8_t *)(row + n),
                                 mkv_or32(mkv_and32(b, mkv_broadcast(65535)), mkv_shift_left_fixed(b, 16)), there);
                mkv_store_masked((uint8_t *)(row + padded + n), mkv_shift_left_fixed(c, 16), there);
            }
        }
    }
}

// `codes`: what `prepare` left; the outputs take the place of the steps.
void MK_SCAN(finish)(const mk_scan_run *run, const mk_scan_group *group, const int32_t *read_out, uint8_t *codes) {
    const mkv_acc zero_point = mkv_broadcast(run->zero_point);
    for (int32_t first = 0; first < run->channels; first += MKV_LANES) {
        const int32_t channels = run->channels - first;
        const mkv_mask there = mkv_mask_for(channels < MKV_LANES ? channels : MKV_LANES);
        const mkv_sum_requant q = mkv_sum_requantizer(group->multiplier + first, group->skip + first, group->shift + first);
        for (int32_t t = 0; t < run->count; t++) {
            const mkv_acc x = mkv_shift15(mkv_scan_input(codes + 64 * t, first, zero_point));
            const mkv_acc sum = mkv_load_word((const uint8_t *)(read_out + 16 * t + first));
            mkv_store_i16(codes + 64 * t + 2 * first, mkv_keep(mkv_requantize_sum(sum, x, q), there));
        }
    }
    for (int32_t t = 0; t < run->count; t += MKV_LANES) {
        const int32_t rest = run->count - t, tokens = rest < MKV_LANES ? rest : MKV_LANES;
        const mkv_mask mask = mkv_mask_for(tokens);
        for (int32_t first = 0; 2 * first < run->channels; first += MKV_LANES) {
            mkv_acc words[MKV_LANES];
            // Of tokens that do not exist, whatever lies behind the last one.
            MK_UNROLLED for (int i = 0; i < MKV_LANES; i++) words[i] = mkv_load_word(codes + 64 * (t + i) + 4 * first);
            mkv_transpose(words);
            MK_UNROLLED for (int i = 0; i < MKV_LANES && i < 8; i++)
                if (2 * (first + i) < run->channels)
                    mkv_store_masked(run->output + (first + i) * run->output_block + 4 * t, words[i], mask);
        }
    }
}
#undef MK_SCAN_ROWS
#undef MK_UNROLLED
#undef MK_SCAN
