#include "CLimit.h"

#if defined(__x86_64__)
#include <immintrin.h>

// `values` multiply-adds in an instruction, whose operands hold 3 and 5 in every element of `bits` bits.
#define RUN_512(name, product, bits, values)                                                                \
    __attribute__((target("avx512f,avx512vnni,avx512bw,evex512"))) static double name(long rounds) {        \
        __m512i acc[24];                                                                                    \
        for (int i = 0; i < 24; i++) acc[i] = _mm512_set1_epi32(i);                                         \
        __m512i x = _mm512_set1_epi##bits(3), w = _mm512_set1_epi##bits(5);                                 \
        for (long r = 0; r < rounds; r++) {                                                                 \
            _Pragma("unroll") for (int i = 0; i < 24; i++) acc[i] = product(acc[i], x, w);                  \
            __asm__ volatile("" : "+v"(x), "+v"(w));                                                        \
        }                                                                                                   \
        for (int i = 1; i < 24; i++) acc[0] = _mm512_add_epi32(acc[0], acc[i]);                             \
        volatile int sink = _mm512_reduce_add_epi32(acc[0]);                                                \
        (void)sink;                                                                                         \
        return (double)rounds * 24 * values;                                                                \
    }
RUN_512(run_vnni, _mm512_dpbusd_epi32, 8, 64)
RUN_512(run_vnni16, _mm512_dpwssd_epi32, 16, 32)

__attribute__((target("avx2"))) static double run_madd(long rounds) {
    __m256i acc[12];
    for (int i = 0; i < 12; i++) acc[i] = _mm256_set1_epi32(i);
    __m256i x = _mm256_set1_epi16(3), w = _mm256_set1_epi16(5);
    for (long r = 0; r < rounds; r++) {
#pragma unroll
        for (int i = 0; i < 12; i++) {
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(x, w));
            __asm__ volatile("" : "+x"(x), "+x"(w));
        }
    }
    for (int i = 1; i < 12; i++) acc[0] = _mm256_add_epi32(acc[0], acc[i]);
    volatile int sink = _mm256_extract_epi32(acc[0], 0);
    (void)sink;
    return (double)rounds * 12 * 16;
}

double limit_vpdpbusd_512(long rounds) {
    return __builtin_cpu_supports("avx512vnni") ? run_vnni(rounds) : 0;
}
double limit_vpdpwssd_512(long rounds) {
    return __builtin_cpu_supports("avx512vnni") ? run_vnni16(rounds) : 0;
}
double limit_vpmaddwd_256(long rounds) { return __builtin_cpu_supports("avx2") ? run_madd(rounds) : 0; }
#else
double limit_vpdpbusd_512(long rounds) { (void)rounds; return 0; }
double limit_vpdpwssd_512(long rounds) { (void)rounds; return 0; }
double limit_vpmaddwd_256(long rounds) { (void)rounds; return 0; }
#endif
