// Counts what a thread allocates between mk_fence_enter and mk_fence_leave. The functions of the C library that give memory
// are replaced in the test program, and pass on.
#pragma once

// Counting begins on this thread; calls nest.
void mk_fence_enter(void);
void mk_fence_leave(void);
// Calls of malloc, calloc, realloc, memalign and mmap inside the fence since the last reset, on all threads.
long mk_fence_count(void);
void mk_fence_reset(void);
