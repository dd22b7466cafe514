// What a program without an operating system needs: semihosting, the regions of the linker script, a timer, a reset, and the
// few functions that compiled code calls.
#include "CPlatform.h"

extern uint8_t _stack_start[], _stack_end[], _arena_start[], _arena_end[], _store_start[],
    _store_end[], _flash_start[], _scanner_start[];
extern int32_t mk_program(int32_t count, const char *const *arguments);

enum { PAINT = 0x5AA5C33C, STATUS_TRAP = 31, STATUS_STACK = 33 };

// ---- Semihosting: the debugger (here the emulator) is the terminal.

static uintptr_t semihost(uintptr_t operation, const void *argument) {
#ifdef __aarch64__
    register uintptr_t x0 __asm__("x0") = operation;
    register const void *x1 __asm__("x1") = argument;
    __asm__ volatile("hlt #0xf000" : "+r"(x0) : "r"(x1) : "memory");
    return x0;
#else
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
#endif
}

void mkp_write(const char *text, size_t count) {
    static uintptr_t terminal;  // handle of ":tt", plus one
    if (!terminal) {
        const struct { const char *name; uintptr_t mode, length; } open = { ":tt", 4, 3 };
        terminal = semihost(1, &open) + 1;
    }
    const struct { uintptr_t handle; const char *text; uintptr_t count; } write = { terminal - 1, text, count };
    semihost(5, &write);
}

_Noreturn void mkp_exit(int32_t status) {
    const struct { uintptr_t reason, status; } exit = { 0x20026, (uintptr_t)status };
    semihost(0x20, &exit);
    for (;;) {}
}

void mkp_command_line(char *buffer, size_t count) {
    struct { char *buffer; uintptr_t count; } line = { buffer, count };
    if (semihost(0x15, &line) != 0) buffer[0] = 0;
}

// ---- Regions

mkp_region mkp_arena(void) { return (mkp_region){ _arena_start, (size_t)(_arena_end - _arena_start) }; }
mkp_region mkp_store(void) { return (mkp_region){ _store_start, (size_t)(_store_end - _store_start) }; }
mkp_region mkp_flash(void) { return (mkp_region){ _flash_start, MKP_FLASH_KIB * 1024 }; }
mkp_region mkp_scanner(void) { return (mkp_region){ _scanner_start, 16 * 1024 * 1024 }; }

size_t mkp_stack_size(void) { return (size_t)(_stack_end - _stack_start); }
size_t mkp_stack_used(void) {
    const uint32_t *word = (const uint32_t *)_stack_start;
    while (*word == (uint32_t)PAINT) word++;
    return (size_t)(_stack_end - (const uint8_t *)word);
}

// ---- Time and reset

#ifdef __aarch64__
uint64_t mkp_nanoseconds(void) {
    uint64_t ticks, frequency;
    __asm__ volatile("isb\n mrs %0, cntvct_el0\n mrs %1, cntfrq_el0" : "=r"(ticks), "=r"(frequency));
    return ticks * (1000000000 / frequency);
}
_Noreturn void mkp_reset(void) {
    __asm__ volatile("mov x0, %0\n hvc #0" : : "r"((uint64_t)0x84000009) : "x0", "memory");  // PSCI SYSTEM_RESET
    for (;;) {}
}
#else
// The system counter of SSE-300: control frame at 0x58100000, 64 bits at the system clock of 32 MHz.
uint64_t mkp_nanoseconds(void) {
    volatile uint32_t *const counter = (volatile uint32_t *)0x58100000;
    if (!(counter[0] & 1)) counter[0] = 1;
    uint32_t high, low;
    do {
        high = counter[3];
        low = counter[2];
    } while (high != counter[3]);
    return ((uint64_t)high << 32 | low) * 1000 / 32;
}
_Noreturn void mkp_reset(void) {
    *(volatile uint32_t *)0xE000ED0C = 0x05FA0004;  // SYSRESETREQ
    for (;;) {}
}
#endif

void mkp_pause(void) {
    for (int i = 0; i < 500; i++) __asm__ volatile("" : : : "memory");
}

// ---- Entry and faults

_Noreturn void board_main(void) {
    static char line[160];
    static const char *arguments[16];
    int32_t count = 0;
    mkp_command_line(line, sizeof line);
    for (char *next = line; *next && count < 16;) {
        while (*next == ' ') *next++ = 0;
        if (*next) arguments[count++] = next;
        while (*next && *next != ' ') next++;
    }
    const int32_t status = mk_program(count, arguments);
    if (*(const uint32_t *)_stack_start != (uint32_t)PAINT) mkp_exit(STATUS_STACK);
    mkp_exit(status);
}

_Noreturn void board_trapped(uintptr_t cause, uintptr_t address) {
    static const char text[] = "trap\n";
    (void)cause, (void)address;
    mkp_write(text, sizeof text - 1);
    mkp_exit(STATUS_TRAP);
}

// ---- What compiled code calls

// Without the attribute the compiler would make calls of the functions themselves out of these loops.
__attribute__((no_builtin)) void *memset(void *to, int value, size_t count) {
    uint8_t *next = to;
    const uintptr_t word = (uintptr_t)-1 / 255 * (uint8_t)value;
    for (; count > 0 && (uintptr_t)next % sizeof word != 0; count--) *next++ = (uint8_t)value;
    for (; count >= sizeof word; count -= sizeof word, next += sizeof word) *(uintptr_t *)next = word;
    for (; count > 0; count--) *next++ = (uint8_t)value;
    return to;
}
__attribute__((no_builtin)) void *memcpy(void *restrict to, const void *restrict from, size_t count) {
    uint8_t *next = to;
    const uint8_t *source = from;
    if (((uintptr_t)next | (uintptr_t)source) % sizeof(uintptr_t) == 0)
        for (; count >= sizeof(uintptr_t); count -= sizeof(uintptr_t), next += sizeof(uintptr_t), source += sizeof(uintptr_t))
            *(uintptr_t *)next = *(const uintptr_t *)source;
    for (; count > 0; count--) *next++ = *source++;
    return to;
}
__attribute__((no_builtin)) void *memmove(void *to, const void *from, size_t count) {
    uint8_t *next = to;
    const uint8_t *source = from;
    if (next <= source || next >= source + count) return memcpy(to, from, count);
    while (count > 0) {
        count--;
        next[count] = source[count];
    }
    return to;
}
void arc4random_buf(void *bytes, size_t count) { memset(bytes, 7, count); }
int putchar(int c) {
    const char text = (char)c;
    mkp_write(&text, 1);
    return c;
}
