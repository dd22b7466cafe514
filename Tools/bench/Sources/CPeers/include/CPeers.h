#pragma once
#include <stdint.h>

// The selective scan in float32, as others do it. x, dt, y: [tokens][channels]; A: [states][channels], negative;
// B, C: [tokens][states]; state: [states][channels].
typedef struct float_scan {
    const float *x, *dt, *A, *B, *C;
    float *state, *y;
    int32_t tokens, channels, states;
} float_scan;

// Plain C with expf, token by token.
void float_scan_plain(const float_scan *scan);
// AVX-512, sixteen channels per vector and up to sixteen states in registers, in chunks of `chunk` tokens; exp as 2^n times a
// polynomial of degree 5. 0 where the processor cannot.
int float_scan_avx512(const float_scan *scan, int32_t chunk);
