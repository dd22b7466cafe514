#include "CPeers.h"

#if defined(__x86_64__)
__attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#endif
void edge_tables(const uint8_t *x, const int16_t *tables, int16_t *y, int32_t tokens, int32_t inputs) {
    for (int32_t t = 0; t < tokens; t++) {
        int16_t sums[64] = { 0 };
        for (int32_t i = 0; i < inputs; i++) {
            const int16_t *row = tables + ((long)i * 256 + x[(long)t * inputs + i]) * 64;
            for (int o = 0; o < 64; o++) sums[o] += row[o];
        }
        for (int o = 0; o < 64; o++) y[(long)t * 64 + o] = sums[o];
    }
}
