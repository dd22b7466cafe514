// Sums of weighted scores of overlapping windows, and their labels (Sources/Ops/WindowSums): plain loops that the compiler turns
// into the vectors of the instruction set.

void MK_ISA(mk_window_add)(const uint8_t *words, ptrdiff_t stride, int32_t classes, const uint8_t *table, int32_t zy,
                           int32_t *sums, ptrdiff_t plane, int32_t width) {
    for (int32_t first = 0; first < width; first += 64) {
        const int32_t count = width - first < 64 ? width - first : 64;
        int32_t weights[64];
        for (int32_t x = 0; x < count; x++) {
            const int32_t weight = (zy * table[first + x]) >> 12;
            weights[x] = weight < 4 ? 4 : weight;
        }
        for (int32_t c = 0; c < classes; c += 2) {
            const int32_t *restrict from = (const int32_t *)(words + c / 2 * stride) + first;
            int32_t *restrict even = sums + c * plane + first, *restrict odd = even + plane;
            for (int32_t x = 0; x < count; x++) even[x] += weights[x] * (int16_t)from[x];
            if (c + 1 == classes) break;
            for (int32_t x = 0; x < count; x++) odd[x] += weights[x] * (from[x] >> 16);
        }
    }
}

void MK_ISA(mk_window_labels)(const int32_t *sums, ptrdiff_t plane, int32_t classes, void *labels, int32_t label_bytes, int32_t width) {
    for (int32_t first = 0; first < width; first += 64) {
        const int32_t count = width - first < 64 ? width - first : 64;
        int32_t best[64], winner[64] = { 0 };
        for (int32_t x = 0; x < count; x++) best[x] = sums[first + x];
        for (int32_t c = 1; c < classes; c++) {
            const int32_t *restrict of_class = sums + c * plane + first;
            for (int32_t x = 0; x < count; x++) {
                const int32_t sum = of_class[x];
                winner[x] = sum > best[x] ? c : winner[x];
                best[x] = sum > best[x] ? sum : best[x];
            }
        }
        if (label_bytes == 1)
            for (int32_t x = 0; x < count; x++) ((uint8_t *)labels)[first + x] = (uint8_t)winner[x];
        else
            for (int32_t x = 0; x < count; x++) ((uint16_t *)labels)[first + x] = (uint16_t)winner[x];
    }
}
