// Apart from kernels_avx2.c, whose convolutions take long to compile.
#include "COps.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#include "vec_avx2.h"
#include "vec_avx2_tokens.h"
#define MK_INLINE MKV
#define MK_ISA(name) name##_avx2
#include "quads.h"
#include "depthwise_body.h"
#include "pointwise_body.h"
#include "layernorm_body.h"
#include "basis_body.h"
#include "edges_body.h"
#include "argmax_body.h"
#include "window_body.h"
#pragma clang attribute pop
#endif
