// The generic body of the int8 convolution row kernel. A vocabulary header (vec_*.h) is included before it and
// names the types and steps for one instruction set; MK_NAME is the function to define.
//
// A tile is `tile` vectors of neighbouring voxels times `count` output channels, all of whose accumulators stay in
// registers while the loop walks input blocks, kernel rows and taps. Both are literals at every call site, so that each
// combination unrolls completely. Fewer channels take more vectors (MKV_TILE_FOR): the multipliers have a latency of
// several cycles, and only enough independent accumulators hide it.
//
// The file is included once per stride (MK_STRIDE 1 or 2; at 2 every second voxel is loaded), MK_TAG keeps the names apart.

#define MK_JOIN2(a, b) a##b
#define MK_JOIN(a, b) MK_JOIN2(a, b)
#define conv3d_acc MK_JOIN(conv3d_acc, MK_TAG)
#define conv3d_tap MK_JOIN(conv3d_tap, MK_TAG)
#define conv3d_accumulate MK_JOIN(conv3d_accumulate, MK_TAG)
#define conv3d_store MK_JOIN(conv3d_store, MK_TAG)
#define conv3d_tile MK_JOIN(conv3d_tile, MK_TAG)
#define conv3d_group MK_JOIN(conv3d_group, MK_TAG)
#undef MK_INLINE
#define MK_INLINE static inline __attribute__((always_inline))

typedef struct { mkv_acc v[MKV_CHANNELS][MKV_TILE_MAX]; } conv3d_acc;

// One tap: `tile` vectors of voxels times `count` channels.
MK_INLINE void conv3d_tap(const uint8_t *in, const int8_t *w, ptrdiff_t group_stride, int count, int tile,
                          conv3d_acc *acc) {
    mkv_in x[MKV_TILE_MAX];
#pragma unroll
    for (int v = 0; v < tile; v++)
        x[v] = MK_STRIDE == 1 ? mkv_load(in + v * MKV_LANES * 4) : mkv_load_second(in + v * MKV_LANES * 8);
#pragma unroll
    for (int o = 0; o < count; o++) {
        mkv_weight q = mkv_weights(w + (o >> 2) * group_stride + (o & 3) * 4);
#pragma unroll
        for (int v = 0; v < tile; v++) acc->v[o][v] = mkv_dot(acc->v[o][v], x[v], q);
    }
}

MK_INLINE void conv3d_accumulate(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count,
                                 const int8_t *group, ptrdiff_t x_bytes, int count, int tile, int is_three,
                                 conv3d_acc *acc) {
    const ptrdiff_t step = conv->tap_stride, group_stride = conv->weights_group;
    for (int32_t block = 0; block < conv->in_blocks; block++) {
        const int8_t *block_weights = group + block * conv->weights_block;
        for (int32_t r = 0; r < row_count; r++) {
            const uint8_t *in = rows[r].input + block * rows[r].block_stride + x_bytes * MK_STRIDE;
            const int8_t *w = block_weights + rows[r].weights;
            if (is_three) {
                conv3d_tap(in, w, group_stride, count, tile, acc);
                conv3d_tap(in + step, w + 16, group_stride, count, tile, acc);
                conv3d_tap(in + 2 * step, w + 32, group_stride, count, tile, acc);
            } else {
                for (int32_t kx = 0; kx < conv->kernel_x; kx++)
                    conv3d_tap(in + kx * step, w + kx * 16, group_stride, count, tile, acc);
            }
        }
    }
}

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
            y[o] = o < real ? mkv_requantize(acc->v[first + o][v], q[o]) : mkv_zero();
        uint8_t *to = out + v * MKV_LANES * 4;
        if (conv->wide) {
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
                       uint8_t *out, ptrdiff_t stride, ptrdiff_t x_bytes, mkv_mask last, int count, int tile) {
    const mk_channel *channels = conv->channels + first;
    conv3d_acc acc;
#pragma unroll
    for (int o = 0; o < count; o++) {
        mkv_acc bias = mkv_broadcast(channels[o].bias);
#pragma unroll
        for (int v = 0; v < tile; v++) acc.v[o][v] = bias;
    }
    const int8_t *group = conv->weights + (first >> 2) * conv->weights_group;
    // Kernels of width 3 are nearly all of the work: their taps are written out.
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
    int32_t tiles = (vectors + MKV_TILE_FOR(count) - 1) / MKV_TILE_FOR(count);
    for (int32_t done = 0; done < vectors; tiles--) {
        const int32_t tile = (vectors - done + tiles - 1) / tiles;
        const ptrdiff_t x_bytes = (ptrdiff_t)done * MKV_LANES * 4;
        done += tile;
        const int32_t rest = width - (done - 1) * MKV_LANES;
        const mkv_mask last = mkv_mask_for(rest < MKV_LANES ? rest : MKV_LANES);
#define MK_CASE(n) \
    case n: \
        if (n <= MKV_TILE_FOR(count)) conv3d_tile(conv, rows, row_count, first, out, stride, x_bytes, last, count, n); \
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
    const int32_t most = MKV_CHANNELS_FOR((width + MKV_LANES - 1) / MKV_LANES);
    for (int32_t first = 0, count; first < conv->out_channels; first += count) {
        const int32_t left = conv->out_channels - first;
        count = left < most ? left : most;
#define MK_CASE(n) \
    case n: conv3d_group(conv, rows, row_count, first, output, output_block_stride, width, n); break;
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
#undef conv3d_accumulate
#undef conv3d_store
#undef conv3d_tile
#undef conv3d_group
