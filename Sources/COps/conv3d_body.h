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
// A last block that holds one channel would multiply three empty bytes of every word. At width 3 its taps go into one word instead
// (`merged` weights, MKV_MERGE).
//
// Rows that meet the same kernel rows come together. Where that fills vectors better they are computed as one long row, the
// gaps between them included, which are not stored.
//
// The file is included once per stride (MK_STRIDE 1 or 2; at 2 every second voxel is loaded), MK_TAG keeps the names apart. With
// MK_WIDE a word of a voxel is two signed 16-bit channels, and so is a word of weights: only loads and products differ. The products
// are in conv3d_products.h.

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
#define conv3d_place MK_JOIN(conv3d_place, MK_TAG)
#define conv3d_places MK_JOIN(conv3d_places, MK_TAG)
#define conv3d_pieces MK_JOIN(conv3d_pieces, MK_TAG)
#define conv3d_put MK_JOIN(conv3d_put, MK_TAG)
#define conv3d_merged MK_JOIN(conv3d_merged, MK_TAG)
#define conv3d_widen MK_JOIN(conv3d_widen, MK_TAG)
#define conv3d_widened_dots MK_JOIN(conv3d_widened_dots, MK_TAG)
#define conv3d_accumulate_stored MK_JOIN(conv3d_accumulate_stored, MK_TAG)
#define conv3d_span MK_JOIN(conv3d_span, MK_TAG)
#define conv3d_constants MK_JOIN(conv3d_constants, MK_TAG)
#define conv3d_prepare MK_JOIN(conv3d_prepare, MK_TAG)
#define conv3d_joins MK_JOIN(conv3d_joins, MK_TAG)
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
#ifdef MKV_WIDENED
#define conv3d_widened
#endif
#if MK_STRIDE == 1
#define conv3d_merges
#endif
#endif

typedef struct { mkv_sum v[MKV_CHANNELS][MKV_TILE_MAX]; } conv3d_acc;

#undef CONV3D_PIECES
#define CONV3D_PIECES (1 + (MKV_LANES + 3) / 5)  // of rows of at least five words
#undef CONV3D_WIDENED
#define CONV3D_WIDENED 2048  // taps of kernel rows and blocks: 75 blocks of a 3³ kernel

#include "conv3d_products.h"

// Bias and requantization of a channel, as the vectors want them (mkv_requantizer), computed once for many tiles.
typedef struct { int32_t bias, multiplier, rounding, shift; } conv3d_constants;

MK_INLINE void conv3d_prepare(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, int32_t first, int count,
                              conv3d_constants *constants) {
    for (int o = 0; o < count; o++) {
        const mk_channel c = conv->channels[first + o];
        constants[o] = (conv3d_constants){ c.bias, c.multiplier,
                                           (1 << (c.shift - 33)) + (conv->zero_point << (c.shift - 32)), c.shift - 32 };
    }
#ifdef conv3d_signed
    int32_t biases[MKV_CHANNELS];
    conv3d_biases(conv, rows, row_count, first, count, biases);
    for (int o = 0; o < count; o++) constants[o].bias = biases[o];
#endif
}

// Where a vector of voxels goes, relative to the first word of the output: whole, or by its parts of several rows.
typedef struct {
    ptrdiff_t to[CONV3D_PIECES];
    mkv_mask mask[CONV3D_PIECES];
    int32_t pieces;  // 0: one whole vector
} conv3d_place;

// The places of `tile` vectors from word `x` of row `y` on; `width` is that of a row, `pitch` the way to the next.
static void conv3d_places(int32_t x, int32_t y, int32_t tile, int32_t width, int32_t height, int32_t pitch,
                          ptrdiff_t output_pitch, conv3d_place *places) {
    for (int v = 0; v < tile; v++, x += MKV_LANES) {
        for (; x >= pitch; x -= pitch) y++;
        conv3d_place *place = places + v;
        place->pieces = 0;
        place->to[0] = y * output_pitch + (ptrdiff_t)x * 4;
        if (width - x >= MKV_LANES) continue;
        int32_t from = x;
        for (int32_t row = y, lane = 0; lane < MKV_LANES && row < height; row++, lane += pitch - from, from = 0) {
            if (from >= width) continue;
            const int32_t end = lane + width - from;
            place->to[place->pieces] = row * output_pitch + (ptrdiff_t)(from - lane) * 4;
            place->mask[place->pieces++] =
                mkv_mask_without(mkv_mask_for(end < MKV_LANES ? end : MKV_LANES), mkv_mask_for(lane));
        }
    }
}

static __attribute__((noinline)) void conv3d_pieces(uint8_t *out, const conv3d_place *place, mkv_acc words) {
    for (int i = 0; i < place->pieces; i++) mkv_store_masked(out + place->to[i], words, place->mask[i]);
}
MK_INLINE void conv3d_put(uint8_t *out, const conv3d_place *place, mkv_acc words) {
    if (place->pieces == 0) mkv_store(out + place->to[0], words);
    else conv3d_pieces(out, place, words);
}

// Requantizes the accumulators of one group of four channels (`real` of them exist) and stores them.
MK_INLINE void conv3d_store(const mk_conv3d *conv, const conv3d_constants *constants, const conv3d_acc *acc, int first,
                            int real, int tile, uint8_t *out, ptrdiff_t stride, const conv3d_place *places) {
    mkv_requant q[4];
#pragma unroll
    for (int o = 0; o < real; o++) {
        const conv3d_constants c = constants[first + o];
        q[o] = mkv_affine(c.multiplier, c.rounding, c.shift);
    }
#pragma unroll
    for (int v = 0; v < tile; v++) {
        mkv_acc y[4];
#pragma unroll
        for (int o = 0; o < 4; o++)
            y[o] = o < real ? mkv_requantize(mkv_total(acc->v[first + o][v]), q[o]) : mkv_zero();
        if (conv->wide) {
            if (conv->wide == 2)
#pragma unroll
                for (int o = 0; o < 4; o++) y[o] = mkv_max0(y[o]);
            conv3d_put(out, places + v, mkv_pack_i16(y[0], y[1]));
            if (real > 2) conv3d_put(out + stride, places + v, mkv_pack_i16(y[2], y[3]));
        } else {
            conv3d_put(out, places + v, mkv_pack_u8(y[0], y[1], y[2], y[3]));
        }
    }
}

// One tile for output channels first ..< first + count (first is a multiple of four).
MK_INLINE void conv3d_tile(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, int32_t first,
                       const conv3d_constants *constants, const uint8_t *widened, uint8_t *out, ptrdiff_t stride,
                       ptrdiff_t x_bytes, const conv3d_place *places, int count, int tile) {
    conv3d_acc acc;
#pragma unroll
    for (int o = 0; o < count; o++) {
        mkv_sum bias = mkv_start(constants[o].bias);
#pragma unroll
        for (int v = 0; v < tile; v++) acc.v[o][v] = bias;
    }
    const int8_t *group = conv->weights + (first >> 2) * conv->weights_group;
#ifdef conv3d_widened
    if (widened) conv3d_accumulate(conv, rows, row_count, widened, x_bytes, count, tile, &acc);
    else
#endif
    if (conv->kernel_x == 3) conv3d_accumulate_stored(conv, rows, row_count, group, x_bytes, count, tile, 1, &acc);
    else conv3d_accumulate_stored(conv, rows, row_count, group, x_bytes, count, tile, 0, &acc);
    const int32_t per_block = conv->wide ? 2 : 4;
#pragma unroll
    for (int o = 0; o < count; o += 4)
        conv3d_store(conv, constants, &acc, o, count - o < 4 ? count - o : 4, tile,
                 out + (first + o) / per_block * stride, stride, places);
}

// All tiles of `width` words from word `from` of the input on, for `count` channels. Tiles are of nearly equal size: a lone vector at
// the end would have too few accumulators. `row_width` words of every `pitch` are stored, from row `y` on.
MK_INLINE void conv3d_span(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, int32_t first,
                           const conv3d_constants *constants, const uint8_t *widened, uint8_t *out, ptrdiff_t stride,
                           int32_t width, int32_t y, int32_t row_width, int32_t height, int32_t pitch, int count) {
    const int32_t vectors = (width + MKV_LANES - 1) / MKV_LANES;
    int32_t tiles = (vectors + MKV_TILE_FOR(count) - 1) / MKV_TILE_FOR(count);
    int32_t x = 0, row = y;
    for (int32_t done = 0; done < vectors; tiles--) {
        const int32_t tile = (vectors - done + tiles - 1) / tiles;
        const ptrdiff_t x_bytes = y * conv->input_pitch + (ptrdiff_t)done * MKV_LANES * 4;
        conv3d_place places[MKV_TILE_MAX];
        conv3d_places(x, row, tile, row_width, height, pitch, conv->output_pitch, places);
        done += tile;
        for (x += tile * MKV_LANES; x >= pitch; x -= pitch) row++;
#define MK_CASE(n) \
    case n: \
        if (n <= MKV_TILE_FOR(count)) \
            conv3d_tile(conv, rows, row_count, first, constants, widened, out, stride, x_bytes, places, count, n); \
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

// `count` channels of all rows, one by one or as one long row.
MK_INLINE void conv3d_group(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, int32_t first,
                            uint8_t *out, ptrdiff_t stride, int32_t width, int32_t height, int32_t joined, int count) {
    conv3d_constants constants[MKV_CHANNELS];
    conv3d_prepare(conv, rows, row_count, first, count, constants);
    const uint8_t *widened = 0;
#ifdef conv3d_widened
    uint8_t buffer[CONV3D_WIDENED * MKV_WIDENED];
    if (conv3d_widen(conv, rows, row_count, first, buffer)) widened = buffer;
#endif
    const int32_t pitch = joined ? (int32_t)(conv->input_pitch / 4) : INT32_MAX, step = joined ? height : 1;
    const int32_t span = joined ? (height - 1) * pitch + width : width;
    for (int32_t y = 0; y < height; y += step)
        conv3d_span(conv, rows, row_count, first, constants, widened, out, stride, span, y, width, height, pitch, count);
}

// Whether the vectors of one long row are fewer.
MK_INLINE int32_t conv3d_joins(const mk_conv3d *conv, int32_t width, int32_t height) {
    const int64_t pitch = conv->input_pitch / 4, joined = ((height - 1) * pitch + width + MKV_LANES - 1) / MKV_LANES;
    if (MK_STRIDE != 1 || height < 2 || pitch < 5) return 0;
    return joined * 32 <= (int64_t)height * ((width + MKV_LANES - 1) / MKV_LANES) * 33;
}

void MK_NAME(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, uint8_t *output,
             ptrdiff_t output_block_stride, int32_t width, int32_t height) {
    const int32_t limit = MK_STRIDE == 1 ? MKV_CHANNELS : MKV_CHANNELS_SECOND;
    if (MK_STRIDE == 1 && conv->input_pitch == 4 * (ptrdiff_t)width && conv->output_pitch == conv->input_pitch) {
        width *= height;
        height = 1;
    }
    const int32_t joined = conv3d_joins(conv, width, height);
    const int32_t wanted = MKV_CHANNELS_FOR(joined ? INT32_MAX : (width + MKV_LANES - 1) / MKV_LANES);
    const int32_t most = wanted < limit ? wanted : limit;
    for (int32_t first = 0, count; first < conv->out_channels; first += count) {
        const int32_t left = conv->out_channels - first;
        count = left < most ? left : most;
#define MK_CASE(n) \
    case n: \
        if (n <= (MK_STRIDE == 1 ? MKV_CHANNELS : MKV_CHANNELS_SECOND)) \
            conv3d_group(conv, rows, row_count, first, output, output_block_stride, width, height, joined, n); \
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
#undef conv3d_place
#undef conv3d_places
#undef conv3d_pieces
#undef conv3d_put
#undef conv3d_merged
#undef conv3d_widen
#undef conv3d_span
#undef conv3d_constants
#undef conv3d_prepare
#undef conv3d_joins
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
#undef conv3d_widened
#undef conv3d_merges
#undef conv3d_widened_dots
#undef conv3d_accumulate_stored
#undef MK_WIDE
