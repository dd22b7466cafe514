// What Swift's view of the C library leaves out.
#pragma once
#include <stdint.h>

// Makes freed blocks of 1 MiB and more go back to the system at once (a fixed threshold also stops glibc from raising
// it by itself), and keeps one heap for all threads.
void mk_return_freed_memory(void);

// A file without a name in `folder`, open for reading and writing; -1 where the file system has no such files (errno).
int mk_open_nameless(const char *folder);

// Of a clock that only runs forward.
uint64_t mk_nanoseconds(void);
