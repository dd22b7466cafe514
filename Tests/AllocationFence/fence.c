#define _GNU_SOURCE
#include "AllocationFence.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

static _Thread_local int depth;
static atomic_long count;

void mk_fence_enter(void) { depth++; }
void mk_fence_leave(void) { depth--; }
long mk_fence_count(void) { return atomic_load(&count); }
void mk_fence_reset(void) { atomic_store(&count, 0); }

#ifdef __GLIBC__
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// glibc's own names for what is replaced here.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static void seen(void) {
    if (depth > 0) atomic_fetch_add(&count, 1);
}

void *malloc(size_t size) {
    seen();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    seen();
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
    seen();
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
    seen();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **result, size_t alignment, size_t size) {
    void *memory = memalign(alignment, size);
    if (!memory) return ENOMEM;
    *result = memory;
    return 0;
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
    seen();
    return (void *)syscall(SYS_mmap, address, length, protection, flags, descriptor, offset);
}
#endif
