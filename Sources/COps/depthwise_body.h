// The generic body of the rows of convolutions that keep channels apart (Sources/Ops/Depthwise, Sources/Ops/TokenConv).
//
// A dot product needs its operands in one word, but the four bytes of a word are four channels. So the words that four taps
// read are zipped into words of one channel and four taps: eight shuffles for 16 products per voxel, and zipping leaves the
// channels of a voxel side by side, as mkv_join_* wants them.

// Taps are prepared for some vectors of the row at a time, then used by every block. The largest kernel fits.
#define DEPTHWISE_TAPS 352

typedef struct {
    const uint8_t *left, *right;
    mkv_mask left_mask, right_mask;
    mkv_acc fill;  // the input's zero point where neither is read
} depthwise_source;

// Any address that may be read. A masked load of nothing is slow where a plain one would fault.
static const uint8_t *depthwise_readable(const mk_tap *taps) {
    while (!taps->left && !taps->right) taps++;
    return taps->left ? taps->left : taps->right;
}

static void depthwise_prepare(const mk_depthwise *conv, const mk_tap *taps, int32_t x, int32_t width, int32_t padded,
                              depthwise_source *sources) {
    const mkv_acc zero_point = mkv_broadcast8((uint8_t)conv->input_zero_point);
    const mkv_mask all = mask_until(x, width), none = mkv_mask_for(0);
    const uint8_t *readable = depthwise_readable(taps);
    for (int32_t t = 0; t < padded; t++) {
        const mk_tap tap = t < conv->taps ? taps[t] : (mk_tap){ 0, 0, 0 };
        const mkv_mask before = mask_until(x, tap.split < width ? tap.split : width);
        depthwise_source s = { tap.left ? tap.left : readable, tap.right ? tap.right : readable,
                               tap.left ? before : none, tap.right ? mkv_mask_without(all, before) : none, mkv_zero() };
        s.fill = mkv_fill(mkv_mask_without(mkv_mask_without(all, s.left_mask), s.right_mask), zero_point);
        sources[t] = s;
    }
}

MK_INLINE mkv_acc depthwise_load(depthwise_source s, ptrdiff_t at) {
    mkv_acc words = mkv_or(mkv_load_masked(s.left + at, s.left_mask), mkv_load_masked(s.right + at, s.right_mask));
    return mkv_or(words, s.fill);
}

// Adds four taps: acc[i] holds the quads of voxels i, i + 4, ...
MK_INLINE void depthwise_four(const depthwise_source *sources, ptrdiff_t at, mkv_tap_weight w, mkv_acc acc[4]) {
    mkv_acc x0 = depthwise_load(sources[0], at), x1 = depthwise_load(sources[1], at);
    mkv_acc x2 = depthwise_load(sources[2], at), x3 = depthwise_load(sources[3], at);
    mkv_acc low01 = mkv_zip8_low(x0, x1), high01 = mkv_zip8_high(x0, x1);
    mkv_acc low23 = mkv_zip8_low(x2, x3), high23 = mkv_zip8_high(x2, x3);
    acc[0] = mkv_dot_taps(acc[0], mkv_taps(mkv_zip16_low(low01, low23)), w);
    acc[1] = mkv_dot_taps(acc[1], mkv_taps(mkv_zip16_high(low01, low23)), w);
    acc[2] = mkv_dot_taps(acc[2], mkv_taps(mkv_zip16_low(high01, high23)), w);
    acc[3] = mkv_dot_taps(acc[3], mkv_taps(mkv_zip16_high(high01, high23)), w);
}

// Weights of up to four taps; those that do not exist are not read.
MK_INLINE mkv_tap_weight depthwise_weights(const int8_t *w, int32_t count) {
    if (count >= 4) return mkv_tap_weights(w);
    int32_t taps[4] = { 0 };
    for (int32_t t = 0; t < count; t++) __builtin_memcpy(&taps[t], w + 4 * t, 4);
    return mkv_tap_weights(taps);
}

// One vector of one block.
MK_INLINE void depthwise_vector(const mk_depthwise *conv, const depthwise_source *sources, int32_t block, ptrdiff_t x_bytes,
                                mkv_acc bias, mkv_requant4 q, mkv_acc y[4]) {
    const int8_t *weights = conv->weights + (ptrdiff_t)block * conv->taps * 4;
    const ptrdiff_t at = block * conv->input_stride + x_bytes;
    for (int i = 0; i < 4; i++) y[i] = bias;
    for (int32_t t = 0; t < conv->taps; t += 4)
        depthwise_four(sources + t, at, depthwise_weights(weights + 4 * t, conv->taps - t), y);
    for (int i = 0; i < 4; i++) {
        y[i] = mkv_requantize4(y[i], q);
        if (conv->wide == 2) y[i] = mkv_max0(y[i]);
    }
}

void MK_ISA(mk_depthwise)(const mk_depthwise *conv, const mk_tap *taps, uint8_t *output, ptrdiff_t output_stride,
                          int32_t width) {
    depthwise_source sources[DEPTHWISE_TAPS];
    const int32_t padded = (conv->taps + 3) & ~3, span = DEPTHWISE_TAPS / padded * MKV_LANES;
    for (int32_t first = 0; first < width; first += span) {
        const int32_t end = width - first < span ? width : first + span;
        for (int32_t x = first, v = 0; x < end; x += MKV_LANES, v++)
            depthwise_prepare(conv, taps, x, width, padded, sources + v * padded);
        for (int32_t c = 0; c < conv->channel_count; c += 4) {
            const int32_t real = conv->channel_count - c < 4 ? conv->channel_count - c : 4;
            uint8_t *to = output + (conv->wide ? c / 2 : c / 4) * output_stride;
            mkv_acc bias, y[4];
            const mkv_requant4 q = quad_requantizer(conv->channels + c, real, conv->output_zero_point, &bias);
            for (int32_t x = first, v = 0; x < end; x += MKV_LANES, v++) {
                depthwise_vector(conv, sources + v * padded, c / 4, (ptrdiff_t)x * 4, bias, q, y);
                quad_store(conv->wide, y, real, to + (ptrdiff_t)x * 4, output_stride, mask_until(x, width));
            }
        }
    }
}
