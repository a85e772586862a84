#pragma once

/// The algebra and the CUDA kernels, without LibTorch: for units that nvcc compiles. docs/gpu.md says how.
#include "core.hpp"
#include "kernel/cuda/gpu_ops.cuh"
