// Part of conv3d_body.h, which includes it: the products of one tile, from the taps of a kernel row to the sums over all kernel rows
// and blocks, and what sums start with.

MK_INLINE conv3d_in conv3d_load(const uint8_t *in, int v) {
    return MK_STRIDE == 1 ? conv3d_load_first(in + v * MKV_LANES * 4) : conv3d_load_second(in + v * MKV_LANES * 8);
}

// One tap: `tile` vectors of voxels times `count` channels. The weights of channels 4 · g ... 4 · g + 3 lie `groups[g]` bytes
// behind `w`.
MK_INLINE void conv3d_tap(const uint8_t *in, const int8_t *w, const ptrdiff_t *groups, int count, int tile, conv3d_acc *acc) {
    conv3d_in x[MKV_TILE_MAX];
    mkv_quad quad;
#pragma unroll
    for (int v = 0; v < tile; v++) x[v] = conv3d_load(in, v);
#pragma unroll
    for (int o = 0; o < count; o++) {
        if ((o & 3) == 0) quad = mkv_weight_quad(w + groups[o >> 2]);
        conv3d_weight q = conv3d_weights(quad, o & 3);
#pragma unroll
        for (int v = 0; v < tile; v++) acc->v[o][v] = conv3d_dot(acc->v[o][v], x[v], q);
    }
}

#ifdef conv3d_pairs
// Two neighbouring taps, for multipliers that add two products before the sum has to widen.
MK_INLINE void conv3d_tap_pair(const uint8_t *in, ptrdiff_t step, const int8_t *w, const ptrdiff_t *groups, int count, int tile,
                               conv3d_acc *acc) {
    conv3d_in x[2][MKV_TILE_MAX];
    mkv_quad quad[2];
#pragma unroll
    for (int v = 0; v < tile; v++) {
        x[0][v] = conv3d_load(in, v);
        x[1][v] = conv3d_load(in + step, v);
    }
#pragma unroll
    for (int o = 0; o < count; o++) {
        if ((o & 3) == 0) {
            quad[0] = mkv_weight_quad(w + groups[o >> 2]);
            quad[1] = mkv_weight_quad(w + groups[o >> 2] + 16);
        }
        conv3d_weight q0 = conv3d_weights(quad[0], o & 3), q1 = conv3d_weights(quad[1], o & 3);
#pragma unroll
        for (int v = 0; v < tile; v++) acc->v[o][v] = mkv_dot_pair(acc->v[o][v], x[0][v], q0, x[1][v], q1);
    }
}
#endif

#ifdef conv3d_merges
// The three taps of a block of one channel.
MK_INLINE void conv3d_merged(const uint8_t *in, ptrdiff_t step, const int8_t *w, ptrdiff_t group, int count, int tile,
                             conv3d_acc *acc) {
    conv3d_in x[MKV_TILE_MAX];
    mkv_quad quad;
#pragma unroll
    for (int v = 0; v < tile; v++) x[v] = mkv_load_merged(in + v * MKV_LANES * 4, step);
#pragma unroll
    for (int o = 0; o < count; o++) {
        if ((o & 3) == 0) quad = mkv_weight_quad(w + (o >> 2) * group);
        conv3d_weight q = conv3d_weights(quad, o & 3);
#pragma unroll
        for (int v = 0; v < tile; v++) acc->v[o][v] = conv3d_dot(acc->v[o][v], x[v], q);
    }
}
#endif

#ifdef conv3d_widened
// Weights that the multiplier takes wider than they are stored, made so once for many voxels, in the order of their use.
MK_INLINE void conv3d_widened_dots(const conv3d_in *x, const uint8_t *w, int count, int tile, conv3d_acc *acc) {
#pragma unroll
    for (int o = 0; o < count; o++) {
        conv3d_weight q = mkv_widened(w, o);
#pragma unroll
        for (int v = 0; v < tile; v++) acc->v[o][v] = conv3d_dot(acc->v[o][v], x[v], q);
    }
}

MK_INLINE void conv3d_accumulate(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, const uint8_t *w,
                                 ptrdiff_t x_bytes, int count, int tile, conv3d_acc *acc) {
    const ptrdiff_t step = conv->tap_stride;
    const int32_t kernel_x = conv->kernel_x, blocks = conv->in_blocks - (conv->merged ? 1 : 0);
    for (int32_t r = 0; r < row_count; r++) {
        const uint8_t *in = rows[r].input + x_bytes * MK_STRIDE;
        conv3d_in x[MKV_TILE_MAX];
        for (int32_t block = 0; block < blocks; block++, in += rows[r].block_stride)
            for (int32_t kx = 0; kx < kernel_x; kx++, w += MKV_WIDENED) {
#pragma unroll
                for (int v = 0; v < tile; v++) x[v] = conv3d_load(in + kx * step, v);
                conv3d_widened_dots(x, w, count, tile, acc);
            }
#ifdef conv3d_merges
        if (!conv->merged) continue;
#pragma unroll
        for (int v = 0; v < tile; v++) x[v] = mkv_load_merged(in + v * MKV_LANES * 4, step);
        conv3d_widened_dots(x, w, count, tile, acc);
        w += MKV_WIDENED;
#endif
    }
}

// Writes the weights of `count` channels from `first` on.
// Returns 0 where they are more than fit.
static int conv3d_widen(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, int32_t first, uint8_t *w) {
    const int32_t blocks = conv->in_blocks - (conv->merged ? 1 : 0);
    if ((int64_t)row_count * conv->in_blocks * conv->kernel_x > CONV3D_WIDENED) return 0;
    for (int32_t r = 0; r < row_count; r++) {
        const int8_t *from = conv->weights + (first >> 2) * conv->weights_group + rows[r].weights;
        for (int32_t block = 0; block < blocks; block++, from += conv->weights_block)
            for (int32_t kx = 0; kx < conv->kernel_x; kx++, w += MKV_WIDENED) mkv_widen(from + kx * 16, w);
        if (!conv->merged) continue;
        mkv_widen(conv->merged + (first >> 2) * (conv->weights_block / 3) + rows[r].weights / 3, w);
        w += MKV_WIDENED;
    }
    return 1;
}
#endif

typedef ptrdiff_t conv3d_groups[3][(MKV_CHANNELS + 3) / 4];

// The taps of one kernel row in one block. Kernels of width 3 are nearly all of the work: their taps are written out.
MK_INLINE void conv3d_taps(const uint8_t *in, ptrdiff_t step, int32_t kernel_x, const int8_t *w, const conv3d_groups groups,
                           int count, int tile, int is_three, conv3d_acc *acc) {
    if (!is_three) {
        for (int32_t kx = 0; kx < kernel_x; kx++) conv3d_tap(in + kx * step, w + kx * 16, groups[0], count, tile, acc);
        return;
    }
#ifdef conv3d_pairs
    conv3d_tap_pair(in, step, w, groups[0], count, tile, acc);
#else
    conv3d_tap(in, w, groups[0], count, tile, acc);
    MKV_END_OF_TAP;
    conv3d_tap(in + step, w, groups[1], count, tile, acc);
#endif
    MKV_END_OF_TAP;
    conv3d_tap(in + 2 * step, w, groups[2], count, tile, acc);
    MKV_END_OF_TAP;
}

MK_INLINE void conv3d_accumulate_stored(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count,
                                        const int8_t *group, ptrdiff_t x_bytes, int count, int tile, int is_three,
                                        conv3d_acc *acc) {
    const ptrdiff_t step = conv->tap_stride, weights_block = conv->weights_block;
    const int32_t kernel_x = conv->kernel_x, merged = is_three && conv->merged, blocks = conv->in_blocks - merged;
    conv3d_groups groups;
#pragma unroll
    for (int t = 0; t < 3; t++)
#pragma unroll
        for (int g = 0; 4 * g < count; g++) {
            groups[t][g] = g * conv->weights_group + 16 * t;
            if (g > 0) MKV_KEEP(groups[t][g]);
        }
#ifdef MKV_BLOCKS_INSIDE
    for (int32_t r = 0; r < row_count; r++) {
        const uint8_t *in = rows[r].input + x_bytes * MK_STRIDE;
        const int8_t *w = group + rows[r].weights;
        const ptrdiff_t block_stride = rows[r].block_stride;
        for (int32_t block = blocks; block != 0; block--) {
            conv3d_taps(in, step, kernel_x, w, groups, count, tile, is_three, acc);
            in += block_stride;
            w += weights_block;
        }
    }
#else
    for (int32_t block = 0; block < blocks; block++)
        for (int32_t r = 0; r < row_count; r++)
            conv3d_taps(rows[r].input + block * rows[r].block_stride + x_bytes * MK_STRIDE, step, kernel_x,
                        group + block * weights_block + rows[r].weights, groups, count, tile, is_three, acc);
#endif
#ifdef conv3d_merges
    if (!merged) return;
    const ptrdiff_t merged_group = weights_block / 3;
    const int8_t *w = conv->merged + (group - conv->weights) / conv->weights_group * merged_group;
    for (int32_t r = 0; r < row_count; r++)
        conv3d_merged(rows[r].input + blocks * rows[r].block_stride + x_bytes, step, w + rows[r].weights / 3, merged_group,
                      count, tile, acc);
#endif
}

#ifdef conv3d_signed
// What the accumulators of `count` channels start with.
MK_INLINE void conv3d_biases(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, int32_t first, int count,
                             int32_t *biases) {
    for (int o = 0; o < count; o++) biases[o] = conv->channels[first + o].bias;
    for (int o = 0; o < count; o += 4) {
        const int8_t *group = conv->weights + ((first + o) >> 2) * conv->weights_group;
        mkv_acc sums = mkv_zero();
        for (int32_t r = 0; r < row_count; r++)
            for (int32_t block = 0; block < conv->in_blocks; block++) {
                const int8_t *w = group + block * conv->weights_block + rows[r].weights;
                for (int32_t kx = 0; kx < conv->kernel_x; kx++) sums = mkv_add_weights(sums, mkv_weight_quad(w + kx * 16));
            }
        int32_t each[4];
        mkv_store((uint8_t *)each, sums);
        for (int i = 0; i < 4 && o + i < count; i++) biases[o + i] += 128 * each[i];
    }
}
#endif
