// Only what multiplies and adds differs from kernels_avx2.c and tokens_avx2.c: `vpdpbusd` and `vpdpwssd` of 256 bits,
// with the encoding of AVX-512: what kernels_avxvnni.c computes, on processors at hand.
#include "COps.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vnni"))), apply_to = function)
#define MKV_VNNI
// Instructions, not intrinsics: of those the compiler sometimes makes two.
#define MKV_DPBUSD(acc, x, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w))
#define MKV_DPWSSD(acc, x, w) __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w))
#include "vec_avx2.h"
#include "vec_avx2_tokens.h"
#define MK_NAME mk_conv3d_avx512vnni256
#define MK_TAG _s1
#define MK_STRIDE 1
#include "conv3d_body.h"
#define MK_NAME mk_conv3d_s2_avx512vnni256
#define MK_TAG _s2
#define MK_STRIDE 2
#include "conv3d_body.h"
#define MK_NAME mk_conv3d_wide_avx512vnni256
#define MK_TAG _w1
#define MK_STRIDE 1
#define MK_WIDE
#include "conv3d_body.h"
#define MK_NAME mk_conv3d_wide_s2_avx512vnni256
#define MK_TAG _w2
#define MK_STRIDE 2
#define MK_WIDE
#include "conv3d_body.h"
#undef MK_INLINE
#define MK_INLINE MKV
#define MK_ISA(name) name##_avx512vnni256
#include "quads.h"
#include "depthwise_body.h"
#define MK_LIMIT(name) mk_limit_##name##_avx512vnni256
#define MK_LIMIT_CHAINS 12
#define MK_LIMIT_DOT_ONLY
#include "limit_body.h"
#pragma clang attribute pop
#endif
