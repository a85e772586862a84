#pragma once
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <mutex>

#include "stage.hpp"

namespace pcomp::detail {

/// A number from LibTorch's generator for the CPU: the same after the same `manual_seed`, another the next time.
inline std::uint64_t next_seed() {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  return generator.get<at::CPUGeneratorImpl>()->random64();
}

/// Restores LibTorch's generators of the CPU and of the stages' GPUs when destroyed; `stages` may hold nulls.
class SameRandom {
 public:
  explicit SameRandom(const std::vector<const StageModule*>& stages = {}) {
    keep(at::kCPU);
    for (const StageModule* s : stages)
      if (s && s->device.is_cuda()) keep(s->device);
  }
  SameRandom(const SameRandom&) = delete;
  SameRandom& operator=(const SameRandom&) = delete;
  ~SameRandom() {
    for (auto& [generator, state] : states_) {
      const std::lock_guard lock(generator.mutex());
      generator.set_state(state);
    }
  }

 private:
  void keep(at::Device device) {
    at::Generator generator = at::globalContext().defaultGenerator(device);
    const std::lock_guard lock(generator.mutex());
    states_.emplace_back(generator, generator.get_state());
  }

  std::vector<std::pair<at::Generator, at::Tensor>> states_;
};

}  // namespace pcomp::detail
