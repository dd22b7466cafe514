// What the programs of this folder need from below: libc on Linux, semihosting on a board.
#pragma once
#include <stddef.h>
#include <stdint.h>

void mkp_write(const char *text, size_t count);
_Noreturn void mkp_exit(int32_t status);

// Linux only (linux.c).

// Maps a file read-only; null when it cannot be read.
const void *mkp_map(const char *path, size_t *count);
// Creates or replaces a file; false when that fails.
_Bool mkp_save(const char *path, const void *bytes, size_t count);
// Zeroed memory aligned to a page; null when there is not that much.
void *mkp_reserve(size_t count);

// Boards only (board.c).

// The fixed regions, from the linker script.
typedef struct mkp_region { uint8_t *start; size_t count; } mkp_region;
mkp_region mkp_arena(void);
mkp_region mkp_flash(void);    // read-only memory that holds the model file
mkp_region mkp_scanner(void);  // what the simulated scanner sends: not memory of the board
mkp_region mkp_store(void);    // keeps its contents over a reset; empty where the board has none

// The command line of the emulator, into `buffer` with a terminating zero.
void mkp_command_line(char *buffer, size_t count);
// Nanoseconds of virtual time since start, from the board's timer.
uint64_t mkp_nanoseconds(void);
// A few microseconds during which the timer is not read.
void mkp_pause(void);
// Resets the board as its watchdog would.
_Noreturn void mkp_reset(void);

// Bytes of the stack that were ever used, and its size (painted at start).
size_t mkp_stack_used(void);
size_t mkp_stack_size(void);
// Bytes that opening a model took from the plan region, and its size. Once closed, the next request stops the board.
size_t mkp_plan_used(void);
size_t mkp_plan_size(void);
void mkp_plan_close(void);
