// A program of this folder as a Linux process.
#include "CPlatform.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern int32_t mk_program(int32_t count, const char *const *arguments);

int main(int count, char **arguments) { return mk_program(count, (const char *const *)arguments); }

void mkp_write(const char *text, size_t count) {
    while (count > 0) {
        ssize_t done = write(1, text, count);
        if (done <= 0) return;
        text += done;
        count -= (size_t)done;
    }
}

void mkp_exit(int32_t status) { _exit(status); }

const void *mkp_map(const char *path, size_t *count) {
    struct stat info;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    void *bytes = MAP_FAILED;
    if (fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0)
        bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (bytes == MAP_FAILED) return NULL;
    *count = (size_t)info.st_size;
    return bytes;
}

_Bool mkp_save(const char *path, const void *bytes, size_t count) {
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) return 0;
    const char *next = bytes;
    while (count > 0) {
        ssize_t done = write(file, next, count);
        if (done <= 0) break;
        next += done;
        count -= (size_t)done;
    }
    return close(file) == 0 && count == 0;
}

void *mkp_reserve(size_t count) {
    void *bytes = mmap(NULL, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return bytes == MAP_FAILED ? NULL : bytes;
}

// Embedded Swift seeds its hash tables with this; nothing here depends on the seed.
void arc4random_buf(void *bytes, size_t count) {
    unsigned char *next = bytes;
    for (size_t i = 0; i < count; i++) next[i] = (unsigned char)i;
}
