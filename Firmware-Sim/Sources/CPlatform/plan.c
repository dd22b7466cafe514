// The plan region: what opening a model lists (layouts, offsets, steps) lies here for as long as the program runs. First fit
// among neighbours, merged when looked at; after `mkp_plan_close` whoever asks for more stops the board.
#include "CPlatform.h"

extern uint8_t _plan_start[], _plan_end[];
enum { UNIT = 16, STATUS_ALLOCATION = 32 };
typedef struct block { uint32_t bytes, is_used, unused[2]; } block;  // bytes: header and contents, whole units
_Static_assert(sizeof(block) == UNIT, "contents start at a unit");

static size_t high_water;
static _Bool is_closed;

static block *at(size_t offset) { return (block *)(_plan_start + offset); }
static size_t up(size_t value, size_t to) { return (value + to - 1) & ~(to - 1); }
size_t mkp_plan_size(void) { return (size_t)(_plan_end - _plan_start); }
size_t mkp_plan_used(void) { return high_water; }
void mkp_plan_close(void) { is_closed = 1; }

static _Noreturn void refuse(const char *text, size_t count) {
    mkp_write(text, count);
    mkp_exit(STATUS_ALLOCATION);
}

// Takes the block at `offset` apart so that a used one of `bytes` starts `lead` bytes in.
static void *take(size_t offset, size_t lead, size_t bytes) {
    const size_t whole = at(offset)->bytes;
    if (lead > 0) *at(offset) = (block){ (uint32_t)lead, 0, { 0 } };
    if (whole > lead + bytes) *at(offset + lead + bytes) = (block){ (uint32_t)(whole - lead - bytes), 0, { 0 } };
    *at(offset + lead) = (block){ (uint32_t)bytes, 1, { 0 } };
    if (offset + lead + bytes > high_water) high_water = offset + lead + bytes;
    return at(offset + lead) + 1;
}

int posix_memalign(void **result, size_t alignment, size_t count) {
    static const char closed[] = "memory was asked for after opening\n", full[] = "the plan region is full\n";
    const size_t size = mkp_plan_size();
    if (is_closed) refuse(closed, sizeof closed - 1);
    if (high_water == 0) *at(0) = (block){ (uint32_t)size, 0, { 0 } };
    if (alignment < UNIT) alignment = UNIT;
    for (size_t offset = 0; offset < size; offset += at(offset)->bytes) {
        block *const here = at(offset);
        if (here->is_used) continue;
        while (offset + here->bytes < size && !at(offset + here->bytes)->is_used) here->bytes += at(offset + here->bytes)->bytes;
        const size_t lead = up((size_t)(here + 1), alignment) - (size_t)(here + 1);
        if (count > size || lead + UNIT + up(count, UNIT) > here->bytes) continue;
        *result = take(offset, lead, UNIT + up(count, UNIT));
        return 0;
    }
    refuse(full, sizeof full - 1);
}

void free(void *contents) {
    if (contents) ((block *)contents - 1)->is_used = 0;
}
