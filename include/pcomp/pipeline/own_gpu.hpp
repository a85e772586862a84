#pragma once
#include <c10/core/impl/VirtualGuardImpl.h>

#include "../transport/world.hpp"

namespace pcomp::detail {

/// With a process per rank: makes the rank's GPU current on this thread, so that at::kCUDA without a number means it.
inline void take_own_gpu(const World& world) {
  if (!world.launch() || !c10::impl::hasDeviceGuardImpl(at::kCUDA)) return;
  const c10::impl::VirtualGuardImpl cuda(at::kCUDA);
  if (const int devices = cuda.deviceCount(); devices > 0)
    cuda.setDevice(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(world.launch()->device(devices))));
}

}  // namespace pcomp::detail
