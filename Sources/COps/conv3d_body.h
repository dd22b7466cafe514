// The generic body of the int8 convolution row kernel. A vocabulary header (vec_*.h) is included before it and
// names the types and steps for one instruction set; MK_NAME is the function to define.
//
// A tile is `tile` vectors of neighbouring voxels times `count` output channels, all of whose accumulators stay in
// registers while the loop walks input blocks, kernel rows and taps. Both are literals at every call site, so that each
// combination unrolls completely. Fewer channels take more vectors (MKV_TILE_FOR): the multipliers have a latency of
// several cycles, and only enough independent accumulators hide it.
//
// Vocabularies whose multiplier takes signed bytes on both sides (MKV_SIGNED_INPUT) load codes less 128; then 128 times the
// weights that are met is part of the bias. Which rows are met depends on the row of the output, so that is summed up per call.
//
// The file is included once per stride (MK_STRIDE 1 or 2; at 2 every second voxel is loaded), MK_TAG keeps the names apart. With
// MK_WIDE a word of a voxel is two signed 16-bit channels, and so is a word of weights: only loads and products differ.

#define MK_JOIN2(a, b) a##b
#define MK_JOIN(a, b) MK_JOIN2(a, b)
#define conv3d_acc MK_JOIN(conv3d_acc, MK_TAG)
#define conv3d_tap MK_JOIN(conv3d_tap, MK_TAG)
#define conv3d_tap_pair MK_JOIN(conv3d_tap_pair, MK_TAG)
#define conv3d_taps MK_JOIN(conv3d_taps, MK_TAG)
#define conv3d_groups MK_JOIN(conv3d_groups, MK_TAG)
#define conv3d_load MK_JOIN(conv3d_load, MK_TAG)
#define conv3d_biases MK_JOIN(conv3d_biases, MK_TAG)
#define conv3d_accumulate MK_JOIN(conv3d_accumulate, MK_TAG)
#define conv3d_store MK_JOIN(conv3d_store, MK_TAG)
#define conv3d_tile MK_JOIN(conv3d_tile, MK_TAG)
#define conv3d_group MK_JOIN(conv3d_group, MK_TAG)
#undef MK_INLINE
#define MK_INLINE static inline __attribute__((always_inline))
#ifdef MK_WIDE
#define conv3d_in mkv_in16
#define conv3d_weight mkv_weight16
#define conv3d_weights mkv_weights16
#define conv3d_dot mkv_dot16
#define conv3d_load_first mkv_load16
#define conv3d_load_second mkv_load16_second
#else
#define conv3d_in mkv_in
#define conv3d_weight mkv_weight
#define conv3d_weights mkv_weights
#define conv3d_dot mkv_dot
#define conv3d_load_first mkv_load
#define conv3d_load_second mkv_load_second
#ifdef MKV_SIGNED_INPUT
#define conv3d_signed
#endif
#ifdef MKV_PAIRS
#define conv3d_pairs
#endif
#endif

typedef struct { mkv_sum v[MKV_CHANNELS][MKV_TILE_MAX]; } conv3d_acc;

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

MK_INLINE void conv3d_accumulate(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count,
                                 const int8_t *group, ptrdiff_t x_bytes, int count, int tile, int is_three,
                                 conv3d_acc *acc) {
    const ptrdiff_t step = conv->tap_stride, weights_block = conv->weights_block;
    const int32_t kernel_x = conv->kernel_x, blocks = conv->in_blocks;
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

// Requantizes the accumulators of one group of four channels (`real` of them exist) and stores `lanes` voxels of
// the last vector, all of the others.
MK_INLINE void conv3d_store(const mk_conv3d *conv, const mk_channel *channels, const conv3d_acc *acc, int first, int real,
                        int tile, uint8_t *out, ptrdiff_t stride, mkv_mask last) {
    mkv_requant q[4];
#pragma unroll
    for (int o = 0; o < real; o++)
        q[o] = mkv_requantizer(channels[first + o].multiplier, channels[first + o].shift, conv->zero_point);
#pragma unroll
    for (int v = 0; v < tile; v++) {
        mkv_acc y[4];
#pragma unroll
        for (int o = 0; o < 4; o++)
            y[o] = o < real ? mkv_requantize(mkv_total(acc->v[first + o][v]), q[o]) : mkv_zero();
        uint8_t *to = out + v * MKV_LANES * 4;
        if (conv->wide) {
            if (conv->wide == 2)
#pragma unroll
                for (int o = 0; o < 4; o++) y[o] = mkv_max0(y[o]);
            mkv_acc low = mkv_pack_i16(y[0], y[1]);
            if (v < tile - 1) mkv_store(to, low);
            else mkv_store_masked(to, low, last);
            if (real > 2) {
                mkv_acc high = mkv_pack_i16(y[2], y[3]);
                if (v < tile - 1) mkv_store(to + stride, high);
                else mkv_store_masked(to + stride, high, last);
            }
        } else {
            mkv_acc packed = mkv_pack_u8(y[0], y[1], y[2], y[3]);
            if (v < tile - 1) mkv_store(to, packed);
            else mkv_store_masked(to, packed, last);
        }
    }
}

// One tile for output channels first ..< first + count (first is a multiple of four).
MK_INLINE void conv3d_tile(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, int32_t first,
                       const int32_t *biases, uint8_t *out, ptrdiff_t stride, ptrdiff_t x_bytes, mkv_mask last, int count,
                       int tile) {
    const mk_channel *channels = conv->channels + first;
    conv3d_acc acc;
#pragma unroll
    for (int o = 0; o < count; o++) {
        mkv_sum bias = mkv_start(biases ? biases[o] : channels[o].bias);
#pragma unroll
        for (int v = 0; v < tile; v++) acc.v[o][v] = bias;
    }
    const int8_t *group = conv->weights + (first >> 2) * conv->weights_group;
    if (conv->kernel_x == 3) conv3d_accumulate(conv, rows, row_count, group, x_bytes, count, tile, 1, &acc);
    else conv3d_accumulate(conv, rows, row_count, group, x_bytes, count, tile, 0, &acc);
    const int32_t per_block = conv->wide ? 2 : 4;
#pragma unroll
    for (int o = 0; o < count; o += 4)
        conv3d_store(conv, channels, &acc, o, count - o < 4 ? count - o : 4, tile,
                 out + (first + o) / per_block * stride + x_bytes, stride, last);
}

// All tiles of a row for `count` channels. Tiles are of nearly equal size: a lone vector at the end would have too few
// accumulators.
MK_INLINE void conv3d_group(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, int32_t first,
                            uint8_t *out, ptrdiff_t stride, int32_t width, int count) {
    const int32_t vectors = (width + MKV_LANES - 1) / MKV_LANES;
#ifdef conv3d_signed
    int32_t biases[MKV_CHANNELS];
    conv3d_biases(conv, rows, row_count, first, count, biases);
#else
    const int32_t *const biases = 0;
#endif
    int32_t tiles = (vectors + MKV_TILE_FOR(count) - 1) / MKV_TILE_FOR(count);
    for (int32_t done = 0; done < vectors; tiles--) {
        const int32_t tile = (vectors - done + tiles - 1) / tiles;
        const ptrdiff_t x_bytes = (ptrdiff_t)done * MKV_LANES * 4;
        done += tile;
        const int32_t rest = width - (done - 1) * MKV_LANES;
        const mkv_mask last = mkv_mask_for(rest < MKV_LANES ? rest : MKV_LANES);
#define MK_CASE(n) \
    case n: \
        if (n <= MKV_TILE_FOR(count)) \
            conv3d_tile(conv, rows, row_count, first, biases, out, stride, x_bytes, last, count, n); \
        break;
        switch (tile) {
            MK_CASE(1)
            MK_CASE(2)
            MK_CASE(3)
#if MKV_TILE_MAX > 3
            MK_CASE(4)
            MK_CASE(5)
            MK_CASE(6)
#endif
        default: __builtin_unreachable();
        }
#undef MK_CASE
    }
}

void MK_NAME(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, uint8_t *output,
             ptrdiff_t output_block_stride, int32_t width) {
    const int32_t limit = MK_STRIDE == 1 ? MKV_CHANNELS : MKV_CHANNELS_SECOND;
    const int32_t wanted = MKV_CHANNELS_FOR((width + MKV_LANES - 1) / MKV_LANES), most = wanted < limit ? wanted : limit;
    for (int32_t first = 0, count; first < conv->out_channels; first += count) {
        const int32_t left = conv->out_channels - first;
        count = left < most ? left : most;
#define MK_CASE(n) \
    case n: \
        if (n <= (MK_STRIDE == 1 ? MKV_CHANNELS : MKV_CHANNELS_SECOND)) \
            conv3d_group(conv, rows, row_count, first, output, output_block_stride, width, n); \
        break;
        switch (count) {
            MK_CASE(1)
            MK_CASE(2)
            MK_CASE(3)
            MK_CASE(4)
#if MKV_CHANNELS > 4
            MK_CASE(5)
            MK_CASE(6)
            MK_CASE(7)
            MK_CASE(8)
#endif
#if MKV_CHANNELS > 8
            MK_CASE(9)
            MK_CASE(10)
            MK_CASE(11)
            MK_CASE(12)
#endif
        default: __builtin_unreachable();
        }
#undef MK_CASE
    }
}
#undef MK_NAME
#undef MK_TAG
#undef MK_STRIDE
#undef conv3d_acc
#undef conv3d_tap
#undef conv3d_tap_pair
#undef conv3d_taps
#undef conv3d_groups
#undef conv3d_load
#undef conv3d_biases
#undef conv3d_accumulate
#undef conv3d_store
#undef conv3d_tile
#undef conv3d_group
#undef conv3d_in
#undef conv3d_weight
#undef conv3d_weights
#undef conv3d_dot
#undef conv3d_load_first
#undef conv3d_load_second
#undef conv3d_signed
#undef conv3d_pairs
#undef MK_WIDE
