#pragma once

/// The algebra and the CUDA kernels, without LibTorch: for units that nvcc compiles, as docs/gpu.md explains.
#if !defined(__CUDACC__) && !defined(PCOMP_EMULATE_CUDA)
#error \
    "pcomp: <pcomp/cuda.hpp> is for units that nvcc compiles; PCOMP_EMULATE_CUDA=<HEADER> runs them on the CPU, for tests"
#endif

#include "core.hpp"
#include "kernel/cuda/gpu_wire_kernels.cuh"
