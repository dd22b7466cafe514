#include "COps.h"
#if defined(__aarch64__)
#include "vec_neon.h"
#include "vec_neon_tokens.h"
#define MK_INLINE MKV
#define MK_ISA(name) name##_neon
#include "quads.h"
#include "depthwise_body.h"
#include "pointwise_body.h"
#include "layernorm_body.h"
#include "basis_body.h"
#include "edges_body.h"
#include "argmax_body.h"
#include "window_body.h"

#ifdef MKEDGE_NEON_ONLY  // as in kernels_neon.c
extern __typeof__(mk_depthwise_neon) mk_depthwise_dotprod __attribute__((alias("mk_depthwise_neon")));
extern __typeof__(mk_depthwise_neon) mk_depthwise_i8mm __attribute__((alias("mk_depthwise_neon")));
#endif
#endif
