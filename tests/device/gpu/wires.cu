#include <pcomp/cuda.hpp>

#include "wires.hpp"

PCOMP_GPU_KERNELS(pcomp::Raw, pcomp::Quant<8>, thin, sample);
