#include "COps.h"
#if defined(__x86_64__)
// Function-level target attributes: SwiftPM has no per-file flags, and none are needed this way.
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#include "vec_avx2.h"
#define MK_NAME mk_conv3d_avx2
#define MK_TAG _s1
#define MK_STRIDE 1
#include "conv3d_body.h"
#define MK_NAME mk_conv3d_s2_avx2
#define MK_TAG _s2
#define MK_STRIDE 2
#include "conv3d_body.h"
#define MK_NAME mk_conv3d_wide_avx2
#define MK_TAG _w1
#define MK_STRIDE 1
#define MK_WIDE
#include "conv3d_body.h"
#define MK_NAME mk_conv3d_wide_s2_avx2
#define MK_TAG _w2
#define MK_STRIDE 2
#define MK_WIDE
#include "conv3d_body.h"
#define MK_STATS mk_norm_stats_avx2
#define MK_APPLY mk_norm_apply_avx2
#include "norm_body.h"
#define MK_SCAN(stage) mk_scan_##stage##_avx2
#include "scan_body.h"
#define MK_ADVANCE mk_scan_advance_avx2
#include "scan_states_body.h"
#define MK_LIMIT(name) mk_limit_##name##_avx2
#define MK_LIMIT_CHAINS 8
#include "limit_body.h"
#define MK_LIMIT(name) mk_limit_##name##_avx2
#include "limit_scan_body.h"
#pragma clang attribute pop
#endif
