#include "CNIfTI.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static void copy_form(const nifti_dmat44 *from, double to[12]) {
    for (int row = 0; row < 3; row++)
        for (int column = 0; column < 4; column++)
            to[row * 4 + column] = from->m[row][column];
}

int mk_nifti_forms(const void *header, int version, double qform[12], double sform[12]) {
    // Level 1 is the default and prints on stderr, which belongs to the program.
    nifti_set_debug_level(0);
    nifti_image *image;
    if (version == 1) {
        nifti_1_header first;
        memcpy(&first, header, sizeof first);
        image = nifti_convert_n1hdr2nim(first, NULL);
    } else {
        nifti_2_header second;
        memcpy(&second, header, sizeof second);
        image = nifti_convert_n2hdr2nim(second, NULL);
    }
    memset(qform, 0, 12 * sizeof *qform);
    memset(sform, 0, 12 * sizeof *sform);
    if (image == NULL) return -1;
    copy_form(&image->qto_xyz, qform);
    if (image->sform_code > 0) copy_form(&image->sto_xyz, sform);
    nifti_image_free(image);
    return 0;
}

enum { pending_count = 8, pending_length = 4096 };
// 0 free, 1 being filled, 2 in use.
static atomic_int pending_state[pending_count];
static char pending_path[pending_count][pending_length];

int mk_pending_add(const char *path) {
    size_t length = strlen(path);
    if (length >= pending_length) return -1;
    for (int slot = 0; slot < pending_count; slot++) {
        int expected = 0;
        if (!atomic_compare_exchange_strong(&pending_state[slot], &expected, 1)) continue;
        memcpy(pending_path[slot], path, length + 1);
        atomic_store(&pending_state[slot], 2);
        return slot;
    }
    return -1;
}

void mk_pending_forget(int slot) {
    if (slot >= 0) atomic_store(&pending_state[slot], 0);
}

void mk_pending_remove_all(void) {
    for (int slot = 0; slot < pending_count; slot++)
        if (atomic_load(&pending_state[slot]) == 2) unlink(pending_path[slot]);
}
