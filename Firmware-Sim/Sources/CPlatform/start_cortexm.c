// Vector table, start-up and faults of a Cortex-M board.
#include "CPlatform.h"

extern uint32_t _stack_start[], _stack_end[], _bss_start[], _bss_end[], _data_start[], _data_end[], _data_load[];
_Noreturn void board_main(void);
_Noreturn void board_trapped(uintptr_t cause, uintptr_t address);
void _reset(void);

static void fault(void) { board_trapped(*(volatile uint32_t *)0xE000ED28, 0); }

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)_stack_end, (uintptr_t)_reset, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault,      (uintptr_t)fault,  (uintptr_t)fault, (uintptr_t)fault,
};

// Written without memset and memcpy: the compiler would call them before there is a stack to speak of.
__attribute__((naked, noreturn)) void _reset(void) {
    __asm__ volatile(
        // Coprocessors 10 and 11: the vector unit.
        "ldr r0, =0xE000ED88\n ldr r1, [r0]\n orr r1, r1, #0xF00000\n str r1, [r0]\n dsb\n isb\n"
        "ldr r0, =_stack_start\n ldr r1, =_stack_end\n ldr r2, =0x5AA5C33C\n"
        "1: str r2, [r0], #4\n cmp r0, r1\n blo 1b\n"
        "ldr r0, =_bss_start\n ldr r1, =_bss_end\n mov r2, #0\n b 3f\n"
        "2: str r2, [r0], #4\n 3: cmp r0, r1\n blo 2b\n"
        "ldr r0, =_data_start\n ldr r1, =_data_end\n ldr r3, =_data_load\n b 5f\n"
        "4: ldr r2, [r3], #4\n str r2, [r0], #4\n 5: cmp r0, r1\n blo 4b\n"
        "bl board_main\n");
}
