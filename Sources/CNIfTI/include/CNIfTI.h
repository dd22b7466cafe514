#pragma once
#include <nifti/nifti2_io.h>
#include <znzlib.h>
#include <zlib.h>
