// The states of the selective scan for CPUs that shift two halves as one (Ice Lake and later, Zen 4): a tenth fewer instructions.
#include "COps.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi2,evex512"))), apply_to = function)
#define MKV_DOUBLE_SHIFTS
#include "vec_avx512vnni.h"
#define MK_ADVANCE mk_scan_advance_avx512vbmi2
#include "scan_states_body.h"
#define MK_LIMIT(name) mk_limit_##name##_avx512vbmi2
#include "limit_scan_body.h"
#pragma clang attribute pop
#endif
