#include "CHost.h"

#include <stdlib.h>  // says whether this is glibc

#ifdef __GLIBC__
#include <malloc.h>
#endif

void mk_return_freed_memory(void) {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    mallopt(M_ARENA_MAX, 1);
#endif
}
