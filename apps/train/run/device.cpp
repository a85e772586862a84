#include "device.hpp"

#include <ATen/Context.h>

#include <pcomp/base/error.hpp>

namespace cifar {

#if defined(CIFAR_CUDA)
constexpr bool has_kernels = true;
#else
constexpr bool has_kernels = false;
#endif

std::string cuda_trouble(bool kernels, std::size_t gpus) {
  if (!kernels)
    return "this program was built without CUDA: configure with -DPCOMP_CUDA=ON, which needs nvcc and a "
           "LibTorch "
           "with CUDA, and build it again (docs/gpu.md)";
  if (gpus == 0)
    return "this program has CUDA, but LibTorch sees no GPU on this machine: nvidia-smi shows what the "
           "driver "
           "sees, and $CUDA_VISIBLE_DEVICES may hide it";
  return "";
}

at::Device find_device(const std::string& name, const pcomp::transport::LauncherEnvironment* launch) {
  if (name == "cpu") return at::kCPU;
  if (name != "cuda") throw pcomp::Error("--device " + name + ": cpu and cuda are known");
  const std::size_t gpus = at::hasCUDA() ? at::getNumGPUs() : 0;
  if (const std::string why = cuda_trouble(has_kernels, gpus); !why.empty())
    throw pcomp::Error("--device cuda: " + why);
  const int own = launch ? launch->device(static_cast<int>(gpus)) : 0;
  return {at::kCUDA, static_cast<c10::DeviceIndex>(own)};
}

}  // namespace cifar
