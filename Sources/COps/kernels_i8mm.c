// Only what multiplies bytes differs from kernels_neon.c and tokens_neon.c: `usdot`.
#include "COps.h"
#if defined(__aarch64__) && !defined(MKEDGE_NEON_ONLY)
#pragma clang attribute push(__attribute__((target("i8mm"))), apply_to = function)
#define MKV_I8MM
#include "vec_neon.h"
#include "vec_neon_tokens.h"
#define MK_NAME mk_conv3d_i8mm
#define MK_TAG _s1
#define MK_STRIDE 1
#include "conv3d_body.h"
#define MK_NAME mk_conv3d_s2_i8mm
#define MK_TAG _s2
#define MK_STRIDE 2
#include "conv3d_body.h"
#undef MK_INLINE
#define MK_INLINE MKV
#define MK_ISA(name) name##_i8mm
#include "quads.h"
#include "depthwise_body.h"
#define MK_LIMIT(name) mk_limit_##name##_i8mm
#define MK_LIMIT_CHAINS 24
#define MK_LIMIT_DOT_ONLY
#include "limit_body.h"
#pragma clang attribute pop
#endif
