// What Swift's view of the C library leaves out.
#pragma once
#include <stdint.h>

// Makes freed blocks of 1 MiB and more go back to the system at once (a fixed threshold also stops glibc from raising
// it by itself), and keeps one heap for all threads.
void mk_return_freed_memory(void);

// A file without a name in `folder`, open for reading and writing; -1 where the file system has no such files (errno).
int mk_open_nameless(const char *folder);

// Cores that this process may use, 1 or more.
int mk_cores(void);

// Lets a core rest a little while it waits.
static inline void mk_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

// Of a clock that only runs forward.
uint64_t mk_nanoseconds(void);
