#include "COps.h"
