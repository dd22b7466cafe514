// nifti2_io.h includes <znzlib.h>, which Debian keeps under nifti/.
#include <nifti/znzlib.h>
