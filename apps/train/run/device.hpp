#pragma once
#include <c10/core/Device.h>

#include <pcomp/transport/world.hpp>
#include <string>

namespace cifar {

/// Why the program cannot compute on a GPU, and what to do; empty if it can.
///
/// `kernels`: the program has the wires' kernels and LibTorch's CUDA libraries; `gpus`: how many LibTorch sees.
std::string cuda_trouble(bool kernels, std::size_t gpus);

/// The device that --device names: cpu, or cuda for the first GPU or, with several processes, this process's own.
///
/// Errors: `pcomp::Error` with the text of `cuda_trouble`.
at::Device find_device(const std::string& name,
                       const pcomp::transport::LauncherEnvironment* launch = nullptr);

}  // namespace cifar
