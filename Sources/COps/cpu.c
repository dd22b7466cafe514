#include "COps.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
// As the kernel's interface has them (asm/hwcap.h of older systems lacks the second).
enum { HWCAP_WORD_DOTPROD = 1 << 20, HWCAP2_WORD_I8MM = 1 << 13 };
#endif

uint32_t mk_cpu_features(void) {
    uint32_t mask = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) mask |= MK_CPU_AVX2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("avxvnni")) mask |= MK_CPU_AVXVNNI;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        mask |= MK_CPU_AVX512VNNI | (__builtin_cpu_supports("avx512vbmi2") ? MK_CPU_AVX512VBMI2 : 0);
#elif defined(__aarch64__) && defined(MKEDGE_NEON_ONLY)
    // Built without the others (kernels_neon.c).
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_WORD_DOTPROD) mask |= MK_CPU_DOTPROD;
    if (getauxval(AT_HWCAP2) & HWCAP2_WORD_I8MM) mask |= MK_CPU_I8MM;
#elif defined(__aarch64__)
    // With no operating system to ask, the processor is the one that the build is for.
#if defined(__ARM_FEATURE_DOTPROD)
    mask |= MK_CPU_DOTPROD;
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
    mask |= MK_CPU_I8MM;
#endif
#endif
    return mask;
}
