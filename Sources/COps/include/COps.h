// The innermost loops that need instructions Swift cannot name. Each function computes exactly what the
// portable Swift kernel of the same op computes (Sources/Ops), on every shape.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Instruction sets this CPU and this operating system can run (bit mask).
enum { MK_CPU_AVX2 = 1, MK_CPU_AVX512VNNI = 2, MK_CPU_DOTPROD = 4, MK_CPU_I8MM = 8, MK_CPU_AVXVNNI = 16,
       MK_CPU_AVX512VBMI2 = 32 };
uint32_t mk_cpu_features(void);

// Per output channel: bias added to the accumulator, then the requantization of docs/arithmetic.md.
// This is also the record of the `.mkq` file, used in place.
typedef struct mk_channel {
    int32_t bias;
    int32_t multiplier;  // 0 ..< 2^31
    int32_t shift;       // 33 ... 53
    int32_t reserved;    // 0
} mk_channel;

// One kernel row (kz, ky) as seen from one output row.
typedef struct mk_conv3d_row {
    const uint8_t *input;    // the word under tap kx = 0 for output x = 0, channel block 0
    ptrdiff_t block_stride;  // bytes to the same voxel of the next block; 0 when every block is the same padding row
    ptrdiff_t weights;       // byte offset of the kernel row inside one block of weights
} mk_conv3d_row;

typedef struct mk_conv3d {
    const int8_t *weights;       // [out/4][in/4][kz·ky][kx][4 out][4 in]
    const int8_t *merged;        // [out/4][kz·ky][4 out][3 kx, 0] of the last block, where it has one channel; or null (kernel_x 3, stride 1)
    const mk_channel *channels;  // out_channels of them
    ptrdiff_t weights_group;     // bytes from one group of four output channels to the next
    ptrdiff_t weights_block;     // bytes from one input block to the next
    ptrdiff_t tap_stride;        // bytes between neighbouring taps of a kernel row (4 · dilation)
    ptrdiff_t input_pitch;       // bytes from what an output row reads to what the next one does
    ptrdiff_t output_pitch;      // bytes from one output row to the next
    int32_t kernel_x;
    int32_t in_blocks;
    int32_t out_channels;
    int32_t zero_point;  // of the output, 0 ... 255 (0 for 16-bit output)
    int32_t wide;        // 0: u8 output in blocks of four channels; 1: i16 output in blocks of two; 2: that, clamped at 0
} mk_conv3d;

// Writes `height` output rows of `width` voxels for all output channels. `output` is the first word of the first row in block 0,
// `rows` are seen from there, too. Reads up to 15 words past the last voxel that a tap touches, and all between the rows; writes
// exactly `width` words per row and block.
typedef void mk_conv3d_kernel(const mk_conv3d *conv, const mk_conv3d_row *rows, int32_t row_count, uint8_t *output,
                              ptrdiff_t output_block_stride, int32_t width, int32_t height);
mk_conv3d_kernel mk_conv3d_avx2;
mk_conv3d_kernel mk_conv3d_avxvnni;
mk_conv3d_kernel mk_conv3d_avx512vnni256;
mk_conv3d_kernel mk_conv3d_avx512vnni;
mk_conv3d_kernel mk_conv3d_neon;
mk_conv3d_kernel mk_conv3d_dotprod;
mk_conv3d_kernel mk_conv3d_i8mm;
// Stride 2 along the row: output voxel x reads from word 2 · x on; up to 31 words past the last one needed are read.
mk_conv3d_kernel mk_conv3d_s2_avx2;
mk_conv3d_kernel mk_conv3d_s2_avxvnni;
mk_conv3d_kernel mk_conv3d_s2_avx512vnni256;
mk_conv3d_kernel mk_conv3d_s2_avx512vnni;
mk_conv3d_kernel mk_conv3d_s2_neon;
mk_conv3d_kernel mk_conv3d_s2_dotprod;
mk_conv3d_kernel mk_conv3d_s2_i8mm;
// Input and weights of 16 bits: two channels to a word, weights `[out/4][in/2][kz·ky][kx][4 out][2 in]`, -32767 ... 32767.
mk_conv3d_kernel mk_conv3d_wide_avx2;
mk_conv3d_kernel mk_conv3d_wide_avxvnni;
mk_conv3d_kernel mk_conv3d_wide_avx512vnni256;
mk_conv3d_kernel mk_conv3d_wide_avx512vnni;
mk_conv3d_kernel mk_conv3d_wide_neon;
mk_conv3d_kernel mk_conv3d_wide_s2_avx2;
mk_conv3d_kernel mk_conv3d_wide_s2_avxvnni;
mk_conv3d_kernel mk_conv3d_wide_s2_avx512vnni256;
mk_conv3d_kernel mk_conv3d_wide_s2_avx512vnni;
mk_conv3d_kernel mk_conv3d_wide_s2_neon;

// y = clamp(((a · 2^15 · multiplier >> 32) + offset) >> shift) of one channel of a normalization.
typedef struct mk_affine {
    int32_t multiplier;
    int32_t offset;
    int32_t shift;  // 1 ... 22
} mk_affine;

// Sums and sums of squares of the two channels of `height` rows of an i16 block, `pitch` bytes apart, added to what is there.
typedef void mk_norm_stats_kernel(const uint8_t *input, ptrdiff_t pitch, int32_t width, int32_t height, int64_t sums[2],
                                  int64_t squares[2]);
mk_norm_stats_kernel mk_norm_stats_avx2;
mk_norm_stats_kernel mk_norm_stats_avx512vnni;
mk_norm_stats_kernel mk_norm_stats_neon;

// Rows of normalized values: `low` and `high` are rows of the i16 blocks of channels 0, 1 and 2, 3; writes u8 words of four
// channels, or with `wide` i16 words of the channels of `low` (2: clamped at 0). `real` channels exist (1 ... 4), `high` may be null for two.
typedef void mk_norm_apply_kernel(const mk_affine *channels, int32_t real, const uint8_t *low, const uint8_t *high,
                                  ptrdiff_t pitch, uint8_t *output, ptrdiff_t output_pitch, int32_t width, int32_t height,
                                  int32_t wide);
mk_norm_apply_kernel mk_norm_apply_avx2;
mk_norm_apply_kernel mk_norm_apply_avx512vnni;
mk_norm_apply_kernel mk_norm_apply_neon;

// One tap of a row of a depthwise convolution: output x reads the word at left + 4 · x below `split`, that at right + 4 · x
// from there on (channel block 0). Null stands for words outside the tensor, which hold the input's zero point.
typedef struct mk_tap {
    const uint8_t *left;
    const uint8_t *right;
    int32_t split;
} mk_tap;

typedef struct mk_depthwise {
    const int8_t *weights;       // [channel/4][tap][4]
    const mk_channel *channels;  // channel_count of them
    ptrdiff_t input_stride;      // bytes to the same voxel of the next block
    int32_t channel_count;
    int32_t taps;  // 1 ... 343
    int32_t input_zero_point;
    int32_t output_zero_point;
    int32_t wide;  // 0: u8 output; 1: i16 output; 2: i16 output, clamped at 0
} mk_depthwise;

// Writes one output row of `width` voxels for all channels; reads only words that a tap asks for.
typedef void mk_depthwise_kernel(const mk_depthwise *conv, const mk_tap *taps, uint8_t *output, ptrdiff_t output_stride,
                                 int32_t width);
mk_depthwise_kernel mk_depthwise_avx2;
mk_depthwise_kernel mk_depthwise_avxvnni;
mk_depthwise_kernel mk_depthwise_avx512vnni256;
mk_depthwise_kernel mk_depthwise_avx512vnni;
mk_depthwise_kernel mk_depthwise_neon;
mk_depthwise_kernel mk_depthwise_dotprod;
mk_depthwise_kernel mk_depthwise_i8mm;

// The ops below do one row of `width` words in `blocks` blocks, `*_stride` bytes apart; they read and write nothing else.

// u8 codes through a table of 256. The output may be the input.
typedef void mk_lookup_kernel(const uint8_t *table, const uint8_t *input, ptrdiff_t input_stride, uint8_t *output,
                              ptrdiff_t output_stride, int32_t width, int32_t blocks);
mk_lookup_kernel mk_lookup_avx2;
mk_lookup_kernel mk_lookup_avx512vnni;
mk_lookup_kernel mk_lookup_neon;

// i16 codes, `low` and `high` words of a voxel, through a table of 4096 bytes; `kept` are the bits of channels that exist. One block.
typedef void mk_lookup_wide_kernel(const uint8_t *table, const uint8_t *low, const uint8_t *high, uint8_t *output,
                                   int32_t width, uint32_t kept);
mk_lookup_wide_kernel mk_lookup_wide_avx2;
mk_lookup_wide_kernel mk_lookup_wide_avx512vnni;

// i16 codes by straight lines between 4097 i16 values; `kept` as above. One block.
typedef void mk_lookup_fine_kernel(const int16_t *table, const uint8_t *input, uint8_t *output, int32_t width, uint32_t kept);
mk_lookup_fine_kernel mk_lookup_fine_avx2;
mk_lookup_fine_kernel mk_lookup_fine_avx512vnni;

// Saturated sums of i16 words. The output may be an input.
typedef void mk_add_wide_kernel(const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride, uint8_t *output,
                                ptrdiff_t output_stride, int32_t width, int32_t blocks);
mk_add_wide_kernel mk_add_wide_avx2;
mk_add_wide_kernel mk_add_wide_avx512vnni;
mk_add_wide_kernel mk_add_wide_neon;

// Layer normalization, at most 64 voxels of a row at a time (Sources/Ops/LayerNorm). The arrays have room for 64 voxels.
typedef struct mk_layer_norm {
    const int32_t *constants;  // gain and bias of each channel
    int64_t epsilon;
    int32_t channels;  // 1 ... 512
    int32_t zero_point;
    int32_t *sums;         // of each voxel's codes: written by stats
    int64_t *variances;    // C · Q - S² + E: written by stats
    int32_t *reciprocals;  // -r: read by apply
    int32_t *shifts;       // 0 ... 62: read by apply
} mk_layer_norm;

typedef void mk_layer_stats_kernel(const mk_layer_norm *norm, const uint8_t *input, ptrdiff_t input_stride, int32_t width);
mk_layer_stats_kernel mk_layer_stats_avx2;
mk_layer_stats_kernel mk_layer_stats_avx512vnni;
mk_layer_stats_kernel mk_layer_stats_neon;
// variances -> negated reciprocals and shifts (LayerNorm.reciprocalRoot); width is at most 64.
typedef void mk_layer_roots_kernel(const mk_layer_norm *norm, int32_t width);
mk_layer_roots_kernel mk_layer_roots_avx2;
mk_layer_roots_kernel mk_layer_roots_avx512vnni;
mk_layer_roots_kernel mk_layer_roots_neon;
typedef void mk_layer_apply_kernel(const mk_layer_norm *norm, const uint8_t *input, ptrdiff_t input_stride, uint8_t *output,
                                   ptrdiff_t output_stride, int32_t width);
mk_layer_apply_kernel mk_layer_apply_avx2;
mk_layer_apply_kernel mk_layer_apply_avx512vnni;
mk_layer_apply_kernel mk_layer_apply_neon;

// One output row of a depth-to-space, of 2 · width words: `even` and `odd` are the input rows of its even and odd words.
typedef void mk_depth_to_space_kernel(const uint8_t *even, const uint8_t *odd, ptrdiff_t input_stride, uint8_t *output,
                                      ptrdiff_t output_stride, int32_t width, int32_t blocks);
mk_depth_to_space_kernel mk_depth_to_space_avx2;
mk_depth_to_space_kernel mk_depth_to_space_avx512vnni;
mk_depth_to_space_kernel mk_depth_to_space_neon;

// The gate of a state-space block (Sources/Ops/Gate): a and b are i16 rows, z and the output u8 rows.
typedef struct mk_gate {
    const int16_t *table;        // 256
    const mk_channel *channels;  // channel_count of them; the bias is not used
    ptrdiff_t sum_stride;
    ptrdiff_t gate_stride;
    ptrdiff_t output_stride;
    int32_t channel_count;
    int32_t zero_point;
} mk_gate;

typedef void mk_gate_kernel(const mk_gate *gate, const uint8_t *a, const uint8_t *b, const uint8_t *z, uint8_t *output,
                            int32_t width);
mk_gate_kernel mk_gate_avx2;
mk_gate_kernel mk_gate_avx512vnni;
mk_gate_kernel mk_gate_neon;

// Class indices of a row of i16 scores (Sources/Ops/Argmax), of one or two bytes each.
typedef void mk_argmax_kernel(const uint8_t *scores, ptrdiff_t stride, int32_t classes, void *labels, int32_t label_bytes,
                              int32_t width);
mk_argmax_kernel mk_argmax_avx2;
mk_argmax_kernel mk_argmax_avx512vnni;
mk_argmax_kernel mk_argmax_neon;

// Adds weighted i16 scores of a row to sums, a plane for each class; class indices of a row of sums (Sources/Ops/WindowSums).
typedef void mk_window_add_kernel(const uint8_t *words, ptrdiff_t stride, int32_t classes, const uint8_t *table, int32_t zy,
                                  int32_t *sums, ptrdiff_t plane, int32_t width);
mk_window_add_kernel mk_window_add_avx2;
mk_window_add_kernel mk_window_add_avx512vnni;
mk_window_add_kernel mk_window_add_neon;
typedef void mk_window_labels_kernel(const int32_t *sums, ptrdiff_t plane, int32_t classes, void *labels, int32_t label_bytes,
                                     int32_t width);
mk_window_labels_kernel mk_window_labels_avx2;
mk_window_labels_kernel mk_window_labels_avx512vnni;
mk_window_labels_kernel mk_window_labels_neon;

// Sum of two u8 tensors (Sources/Ops/Add). The output may be an input.
typedef struct mk_add {
    int64_t multiplier_a;  // 0 ..< 2^48
    int64_t multiplier_b;
    int32_t shift;  // 32 ... 53
    int32_t zero_point_a;
    int32_t zero_point_b;
    int32_t zero_point_out;
} mk_add;

typedef void mk_add_kernel(const mk_add *add, const uint8_t *a, ptrdiff_t a_stride, const uint8_t *b, ptrdiff_t b_stride,
                           uint8_t *output, ptrdiff_t output_stride, int32_t width, int32_t blocks);
mk_add_kernel mk_add_avx2;
mk_add_kernel mk_add_avx512vnni;
mk_add_kernel mk_add_neon;

// Table rows of a Kolmogorov-Arnold layer (Sources/Ops/KANBasis), of one input block.
typedef struct mk_basis {
    const uint8_t *table;  // 256 entries of `outputs` bytes, each in 16
    int32_t channels;      // of the block, 1 ... 4
    int32_t outputs;       // 1 ... 16
} mk_basis;

typedef void mk_basis_kernel(const mk_basis *basis, const uint8_t *input, uint8_t *output, ptrdiff_t output_stride,
                             int32_t width);
mk_basis_kernel mk_basis_avx2;
mk_basis_kernel mk_basis_avx512vnni;
mk_basis_kernel mk_basis_neon;

// A Kolmogorov-Arnold layer by one table per edge (Sources/Ops/KANEdges).
typedef struct mk_edges {
    const int16_t *tables;       // [input][code][row]
    const int16_t *zero;         // a row of zeros
    const int32_t *offsets;      // [row], added to the bias; 0 where an output is absent
    const mk_channel *channels;  // of the outputs
    ptrdiff_t input_stride, input_pitch;
    ptrdiff_t output_stride, output_pitch;
    int32_t inputs;  // 1 ... 512
    int32_t outputs;
    int32_t row;         // outputs, rounded up to 32
    int32_t zero_point;  // of the output
    int32_t wide;        // as in mk_conv3d
} mk_edges;

typedef void mk_edges_kernel(const mk_edges *edges, const uint8_t *input, uint8_t *output, int32_t width, int32_t height);
mk_edges_kernel mk_edges_avx2;
mk_edges_kernel mk_edges_avx512vnni;
mk_edges_kernel mk_edges_neon;

// to[c · to_pitch + r] = from[r · from_pitch + c], pitches in words.
typedef void mk_transpose_kernel(const uint32_t *from, ptrdiff_t from_pitch, uint32_t *to, ptrdiff_t to_pitch, int32_t rows,
                                 int32_t columns);
mk_transpose_kernel mk_transpose_avx2;
mk_transpose_kernel mk_transpose_avx512vnni;
mk_transpose_kernel mk_transpose_neon;

// The selective scan (Sources/Ops/Scan): constants of 16 channels, as they stand in the `.mkq` file; behind them the
// rates, `[pair of states][channel]`, two 16-bit words each.
typedef struct mk_scan_group {
    int32_t step_shift[16];       // 1 ... 31
    int32_t injection_shift[16];  // 1 ... 25
    int32_t exponent_bits[16];    // 1 ... 12
    int32_t multiplier[16];       // 0 ..< 2^31
    int32_t skip[16];
    int32_t shift[16];            // 33 ... 53
} mk_scan_group;

// A run of tokens inside one row, for one group of channels.
typedef struct mk_scan_run {
    const uint8_t *x;     // u8 words of four channels
    const uint8_t *step;  // i16 words of two channels
    uint8_t *output;      // likewise
    ptrdiff_t x_block, step_block, output_block;
    int32_t count;
    int32_t channels;  // that exist, 1 ... 16
    int32_t zero_point;
    int32_t ahead;  // bytes from a token to the one that a later chunk reads: every plane is a stream of its own, too many
                    // for the processor to foresee
} mk_scan_run;

// `steps` and `injections` receive 16 words per token, `codes` 64 bytes: steps (i16), then x (u8), of 16 channels.
typedef void mk_scan_prepare_kernel(const mk_scan_run *run, const mk_scan_group *group, const uint32_t *softplus,
                                    uint8_t *codes, uint32_t *steps, uint32_t *injections);
mk_scan_prepare_kernel mk_scan_prepare_avx2;
mk_scan_prepare_kernel mk_scan_prepare_avx512vnni;
mk_scan_prepare_kernel mk_scan_prepare_neon;

typedef struct mk_scan_core {
    const uint32_t *steps, *injections;  // [token][16]
    const uint32_t *matrices;            // [token][matrices_pitch]: 2 · pairs words of each kind (b, b), (0, c)
    ptrdiff_t matrices_pitch;            // a multiple of 16
    const uint32_t *rates;               // [pairs][16]
    int32_t *state;                      // [2 · pairs][16]
    int32_t *read_out;                   // [token][16]
    int32_t count;
    int32_t pairs;
    int32_t reversed;
} mk_scan_core;
typedef void mk_scan_advance_kernel(const mk_scan_core *run, const mk_scan_group *group);
mk_scan_advance_kernel mk_scan_advance_avx2;
mk_scan_advance_kernel mk_scan_advance_avx512vnni;
mk_scan_advance_kernel mk_scan_advance_avx512vbmi2;
mk_scan_advance_kernel mk_scan_advance_neon;

// `codes`: b, then c, as i16 words of two states in planes `block` bytes apart; writes `count` rows of `matrices`.
// `ahead` as in `mk_scan_run`.
typedef void mk_scan_matrices_kernel(const uint8_t *codes, ptrdiff_t block, int32_t states, int32_t shift, int32_t ahead,
                                     int32_t count, uint32_t *matrices, ptrdiff_t pitch);
mk_scan_matrices_kernel mk_scan_matrices_avx2;
mk_scan_matrices_kernel mk_scan_matrices_avx512vnni;
mk_scan_matrices_kernel mk_scan_matrices_neon;

typedef void mk_scan_finish_kernel(const mk_scan_run *run, const mk_scan_group *group, const int32_t *read_out,
                                   uint8_t *codes);
mk_scan_finish_kernel mk_scan_finish_avx2;
mk_scan_finish_kernel mk_scan_finish_avx512vnni;
mk_scan_finish_kernel mk_scan_finish_neon;

// What bounds the kernels (limit_body.h): multiply-adds of bytes, of 16 bits, requantized values, updates of scan states, done in `rounds`
// rounds of a register-only loop; bytes moved by a copy inside `buffer`.
typedef int64_t mk_limit(int64_t rounds);
typedef int64_t mk_limit_copy(uint8_t *buffer, int64_t bytes);
#define MK_LIMITS(isa) \
    mk_limit mk_limit_dot_##isa, mk_limit_dot16_##isa, mk_limit_requantize_##isa, mk_limit_scan_##isa; \
    mk_limit_copy mk_limit_copy_##isa;
MK_LIMITS(avx2)
MK_LIMITS(avx512vnni)
MK_LIMITS(neon)
mk_limit mk_limit_dot_avxvnni, mk_limit_dot16_avxvnni, mk_limit_dot_avx512vnni256, mk_limit_dot16_avx512vnni256;
mk_limit mk_limit_dot_dotprod, mk_limit_dot_i8mm, mk_limit_scan_avx512vbmi2;
