#pragma once
#include <nifti/nifti2_io.h>
#include <znzlib.h>
#include <zlib.h>

// Both spatial forms of a header as libnifti2 derives them (quaternion, qfac and pixdim included).
// header: 348 (version 1) or 540 (version 2) bytes in native byte order, already checked by the caller.
// qform, sform: row-major 3x4, filled with zeros when the library has no such form.
// Returns 0, or -1 when the library refuses the header. Prints nothing.
int mk_nifti_forms(const void *header, int version, double qform[12], double sform[12]);

// Temporary files that a signal handler must remove. At most 8 at a time; a longer path or a ninth file is not kept.
// Returns the slot, or -1.
int mk_pending_add(const char *path);
// Called when the file is complete or removed; -1 is ignored.
void mk_pending_forget(int slot);
// Unlinks every file that is kept. Async-signal-safe.
void mk_pending_remove_all(void);
