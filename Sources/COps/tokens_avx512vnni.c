// Apart from kernels_avx512vnni.c, whose convolutions take long to compile.
#include "COps.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,evex512"))), apply_to = function)
#include "vec_avx512vnni.h"
#include "vec_avx512vnni_tokens.h"
#define MK_INLINE MKV
#define MK_ISA(name) name##_avx512vnni
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
