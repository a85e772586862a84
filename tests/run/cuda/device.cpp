#define PCOMP_EMULATE_CUDA
#include "device.inc"
