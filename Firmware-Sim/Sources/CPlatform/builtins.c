// Integer arithmetic wider than the processor's, which compiled code calls for: divisions when a model is opened and once per
// channel of a normalization, never per voxel. Floating point is not here on purpose: a program that needs it does not link.
#include <stddef.h>
#include <stdint.h>

// Schoolbook division, one bit at a time.
#define DIVIDE(name, word, bits)                                        \
    static word name(word n, word d, word *remainder) {                 \
        word q = 0, r = 0;                                              \
        for (int i = bits - 1; i >= 0; i--) {                           \
            const _Bool carry = (_Bool)(r >> (bits - 1));               \
            r = r << 1 | (n >> i & 1);                                  \
            if (carry || r >= d) r -= d, q |= (word)1 << i;             \
        }                                                               \
        *remainder = r;                                                 \
        return q;                                                       \
    }

#ifdef __aarch64__
typedef unsigned __int128 u128;
DIVIDE(divide, u128, 128)

__int128 __divti3(__int128 n, __int128 d) {
    u128 remainder;
    const u128 q = divide(n < 0 ? -(u128)n : (u128)n, d < 0 ? -(u128)d : (u128)d, &remainder);
    return (__int128)((n < 0) != (d < 0) ? -q : q);
}
#else
DIVIDE(divide, uint64_t, 64)

// The run-time ABI for the Arm architecture: quotient in r0 and r1, remainder in r2 and r3.
uint64_t mkp_divide_unsigned(uint64_t n, uint64_t d, uint64_t *remainder) { return divide(n, d, remainder); }
int64_t mkp_divide_signed(int64_t n, int64_t d, int64_t *remainder) {
    uint64_t r;
    const uint64_t q = divide(n < 0 ? -(uint64_t)n : (uint64_t)n, d < 0 ? -(uint64_t)d : (uint64_t)d, &r);
    *remainder = n < 0 ? (int64_t)-r : (int64_t)r;
    return (n < 0) != (d < 0) ? (int64_t)-q : (int64_t)q;
}
#define DIVMOD(name, function)                                                                                        \
    __attribute__((naked)) void name(void) {                                                                          \
        __asm__("push {r4, lr}\n sub sp, #16\n add r4, sp, #8\n str r4, [sp]\n bl " #function                         \
                "\n ldrd r2, r3, [sp, #8]\n add sp, #16\n pop {r4, pc}");                                             \
    }
DIVMOD(__aeabi_uldivmod, mkp_divide_unsigned)
DIVMOD(__aeabi_ldivmod, mkp_divide_signed)

void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
void __aeabi_memcpy(void *to, const void *from, size_t n) { memcpy(to, from, n); }
void __aeabi_memmove(void *to, const void *from, size_t n) { memmove(to, from, n); }
void __aeabi_memset(void *to, size_t n, int value) { memset(to, value, n); }
void __aeabi_memclr(void *to, size_t n) { memset(to, 0, n); }
#define ALIAS(name, to) extern __typeof__(to) name __attribute__((alias(#to)));
ALIAS(__aeabi_memcpy4, __aeabi_memcpy)
ALIAS(__aeabi_memcpy8, __aeabi_memcpy)
ALIAS(__aeabi_memmove4, __aeabi_memmove)
ALIAS(__aeabi_memmove8, __aeabi_memmove)
ALIAS(__aeabi_memset4, __aeabi_memset)
ALIAS(__aeabi_memset8, __aeabi_memset)
ALIAS(__aeabi_memclr4, __aeabi_memclr)
ALIAS(__aeabi_memclr8, __aeabi_memclr)
#endif
