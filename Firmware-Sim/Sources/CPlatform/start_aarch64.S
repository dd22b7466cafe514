// Entry at EL1 with the MMU off: maps flash (read-only) and RAM as normal memory, enables the vector unit, paints the stack,
// clears .bss, calls the program.
.section .text.start, "ax"
.global _start
_start:
    adrp x1, _stack_end
    add x1, x1, :lo12:_stack_end
    mov sp, x1
    mov x0, #(3 << 20)
    msr cpacr_el1, x0
    adr x0, vectors
    msr vbar_el1, x0
    ldr x0, =0xFF             // attribute 0: normal memory, write-back
    msr mair_el1, x0
    ldr x0, =0x80803519       // 39 bits of address, 4 KiB granule, cached walks, nothing through TTBR1
    msr tcr_el1, x0
    adrp x0, tables
    add x0, x0, :lo12:tables
    msr ttbr0_el1, x0
    dsb sy
    tlbi vmalle1
    dsb sy
    isb
    mrs x0, sctlr_el1
    ldr x2, =0x1005           // MMU, data and instruction cache
    orr x0, x0, x2
    msr sctlr_el1, x0
    isb
    adrp x0, _stack_start
    add x0, x0, :lo12:_stack_start
    ldr w2, =0x5AA5C33C
1:  str w2, [x0], #4
    cmp x0, x1
    b.lo 1b
    adrp x0, _bss_start
    add x0, x0, :lo12:_bss_start
    adrp x1, _bss_end
    add x1, x1, :lo12:_bss_end
2:  cmp x0, x1
    b.hs 3f
    str xzr, [x0], #8
    b 2b
3:  bl board_main
4:  wfi
    b 4b

// Whatever is taken here ends the program with the status of a trap.
.balign 2048
vectors:
.rept 16
    .balign 128
    mrs x0, esr_el1
    mrs x1, elr_el1
    b board_trapped
.endr

// Blocks of 1 GiB: flash, read-only and never executed; RAM.
.section .rodata.tables, "a"
.balign 4096
tables:
    .quad 0x00000000 + 0x0060000000000000 + 0x781
    .quad 0x40000000 + 0x701
    .fill 510, 8, 0
