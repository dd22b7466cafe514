#include "COps.h"

uint32_t mk_cpu_features(void) {
    uint32_t mask = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) mask |= MK_CPU_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        mask |= MK_CPU_AVX512VNNI;
#endif
    return mask;
}
