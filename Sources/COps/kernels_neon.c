#include "COps.h"
#if defined(__aarch64__)
#include "vec_neon.h"
#include "vec_neon_scan.h"
#define MK_NAME mk_conv3d_neon
#define MK_TAG _s1
#define MK_STRIDE 1
#include "conv3d_body.h"
#define MK_NAME mk_conv3d_s2_neon
#define MK_TAG _s2
#define MK_STRIDE 2
#include "conv3d_body.h"
#define MK_NAME mk_conv3d_wide_neon
#define MK_TAG _w1
#define MK_STRIDE 1
#define MK_WIDE
#include "conv3d_body.h"
#define MK_NAME mk_conv3d_wide_s2_neon
#define MK_TAG _w2
#define MK_STRIDE 2
#define MK_WIDE
#include "conv3d_body.h"
#define MK_STATS mk_norm_stats_neon
#define MK_APPLY mk_norm_apply_neon
#include "norm_body.h"
#define MK_SCAN(stage) mk_scan_##stage##_neon
#include "scan_body.h"
#define MK_ADVANCE mk_scan_advance_neon
#include "scan_states_body.h"
#define MK_LIMIT(name) mk_limit_##name##_neon
#define MK_LIMIT_CHAINS 8
#include "limit_body.h"
#define MK_LIMIT(name) mk_limit_##name##_neon
#include "limit_scan_body.h"

#ifdef MKEDGE_NEON_ONLY
// For a small image on a processor that has no more: the names that Ops asks for, without their code.
#define MK_ALIAS(of, to) extern __typeof__(to) of __attribute__((alias(#to)));
MK_ALIAS(mk_conv3d_dotprod, mk_conv3d_neon)
MK_ALIAS(mk_conv3d_i8mm, mk_conv3d_neon)
MK_ALIAS(mk_conv3d_s2_dotprod, mk_conv3d_s2_neon)
MK_ALIAS(mk_conv3d_s2_i8mm, mk_conv3d_s2_neon)
#endif
#endif
