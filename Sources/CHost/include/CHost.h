// What Swift's view of the C library leaves out.
#pragma once

// Makes freed blocks of 1 MiB and more go back to the system at once (a fixed threshold also stops glibc from raising
// it by itself), and keeps one heap for all threads.
void mk_return_freed_memory(void);
