#pragma once
#include <c10/core/Device.h>

#include <pcomp/transport/launch.hpp>
#include <string>

namespace cifar {

/// Why there is no computing on a GPU, and what to do; empty: there is.
///
/// `kernels`: the program has the wires' kernels and LibTorch's CUDA libraries; `gpus`: what LibTorch sees.
std::string cuda_trouble(bool kernels, std::size_t gpus);

/// The device that --device names: cpu, or cuda for the first GPU, in one of several processes for its own.
///
/// Errors: `pcomp::Error` with that trouble.
at::Device find_device(const std::string& name, const pcomp::Launch* launch = nullptr);

}  // namespace cifar
