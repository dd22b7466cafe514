#include "CPeers.h"

#include <math.h>

void float_scan_plain(const float_scan *s) {
    for (int32_t t = 0; t < s->tokens; t++) {
        const float *x = s->x + (long)t * s->channels, *dt = s->dt + (long)t * s->channels;
        const float *B = s->B + (long)t * s->states, *C = s->C + (long)t * s->states;
        float *y = s->y + (long)t * s->channels;
        for (int32_t c = 0; c < s->channels; c++) {
            float sum = 0;
            for (int32_t n = 0; n < s->states; n++) {
                float *h = s->state + n * s->channels + c;
                *h = expf(dt[c] * s->A[n * s->channels + c]) * *h + dt[c] * x[c] * B[n];
                sum += C[n] * *h;
            }
            y[c] = sum;
        }
    }
}

#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,evex512"))), apply_to = function)

static inline __attribute__((always_inline)) __m512 exponential(__m512 x) {
    const __m512 u = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
    const __m512 whole = _mm512_roundscale_ps(u, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 f = _mm512_sub_ps(u, whole);
    __m512 p = _mm512_set1_ps(1.3333558e-3f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6181291e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504109e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022651e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, whole);
}

// Tokens first ..< last of sixteen channels from `c` and sixteen states.
static void piece(const float_scan *s, int32_t c, int32_t first, int32_t last) {
    __m512 h[16], A[16];
    for (int n = 0; n < 16; n++) {
        h[n] = _mm512_loadu_ps(s->state + n * s->channels + c);
        A[n] = _mm512_loadu_ps(s->A + n * s->channels + c);
    }
    for (int32_t t = first; t < last; t++) {
        const __m512 dt = _mm512_loadu_ps(s->dt + (long)t * s->channels + c);
        const __m512 dx = _mm512_mul_ps(dt, _mm512_loadu_ps(s->x + (long)t * s->channels + c));
        const float *B = s->B + (long)t * 16, *C = s->C + (long)t * 16;
        __m512 sum = _mm512_setzero_ps();
#pragma clang loop unroll(full)
        for (int n = 0; n < 16; n++) {
            const __m512 injected = _mm512_mul_ps(dx, _mm512_set1_ps(B[n]));
            h[n] = _mm512_fmadd_ps(h[n], exponential(_mm512_mul_ps(dt, A[n])), injected);
            sum = _mm512_fmadd_ps(h[n], _mm512_set1_ps(C[n]), sum);
        }
        _mm512_storeu_ps(s->y + (long)t * s->channels + c, sum);
    }
    for (int n = 0; n < 16; n++) _mm512_storeu_ps(s->state + n * s->channels + c, h[n]);
}

int float_scan_avx512(const float_scan *s, int32_t chunk) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512f") || s->states != 16 || s->channels % 16) return 0;
    for (int32_t t = 0; t < s->tokens; t += chunk) {
        const int32_t last = t + chunk < s->tokens ? t + chunk : s->tokens;
        for (int32_t c = 0; c < s->channels; c += 16) piece(s, c, t, last);
    }
    return 1;
}
#pragma clang attribute pop
#else
int float_scan_avx512(const float_scan *s, int32_t chunk) { return 0; }
#endif
