#pragma once
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <torch/nn/module.h>

#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

/// What a forward pass reads and changes besides its arguments: autocast, the mode of its modules, random numbers.
namespace pcomp::detail {

/// The autocast state of this thread, which changes the dtypes of stage outputs.
inline std::string autocast() {
  std::string all;
  for (at::DeviceType device : {at::kCPU, at::kCUDA})
    if (at::autocast::is_autocast_enabled(device))
      all += c10::DeviceTypeName(device, true) + " to " +
             c10::toString(at::autocast::get_autocast_dtype(device)) + " ";
  return all;
}

/// Sets whether autocast keeps casts of weights on this thread, until destroyed.
class AutocastCache {
 public:
  explicit AutocastCache(bool on) : before_(at::autocast::is_autocast_cache_enabled()) {
    at::autocast::set_autocast_cache_enabled(on);
  }
  AutocastCache(const AutocastCache&) = delete;
  AutocastCache& operator=(const AutocastCache&) = delete;
  ~AutocastCache() { at::autocast::set_autocast_cache_enabled(before_); }

 private:
  bool before_;
};

/// Drops the casts of weights that autocast keeps for all threads, when made and when destroyed.
///
/// Why: a cast outlives the weights' next change, and one made without a graph, as by the shape probe, would hide them
///   from the backward pass. A plain loop drops them when its autocast region ends, once a step.
struct FreshCasts {
  FreshCasts() { at::autocast::clear_cache(); }
  FreshCasts(const FreshCasts&) = delete;
  FreshCasts& operator=(const FreshCasts&) = delete;
  ~FreshCasts() { at::autocast::clear_cache(); }
};

/// Puts a module into evaluation mode, then every submodule back into its own mode.
class EvalMode {
 public:
  explicit EvalMode(torch::nn::Module* m) {
    if (!m) return;
    for (const auto& part : m->modules()) modes_.emplace_back(part, part->is_training());
    m->eval();
  }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;
  ~EvalMode() {
    for (const auto& [part, training] : modes_) part->train(training);
  }

 private:
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> modes_;
};

/// A number from LibTorch's generator for the CPU: the same after the same `manual_seed`, another the next time.
inline std::uint64_t next_seed() {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  return generator.get<at::CPUGeneratorImpl>()->random64();
}

/// LibTorch's generator of a device.
inline at::Generator generator_of(at::Device device) { return at::globalContext().defaultGenerator(device); }

/// What the generators of the CPU and of some GPUs are about to draw.
class RandomState {
 public:
  RandomState() = default;
  explicit RandomState(const std::vector<at::Device>& devices) {
    keep(at::kCPU);
    for (const at::Device d : devices)
      if (d.is_cuda()) keep(d);
  }
  void restore() const {
    for (auto [generator, state] : states_) {
      const std::lock_guard lock(generator.mutex());
      generator.set_state(state);
    }
  }

 private:
  void keep(at::Device device) {
    at::Generator generator = generator_of(device);
    const std::lock_guard lock(generator.mutex());
    states_.emplace_back(generator, generator.get_state());
  }

  std::vector<std::pair<at::Generator, at::Tensor>> states_;
};

/// Restores LibTorch's generators of the CPU and of these devices when destroyed.
class RngStateGuard {
 public:
  explicit RngStateGuard(const std::vector<at::Device>& devices = {}) : before_(devices) {}
  RngStateGuard(const RngStateGuard&) = delete;
  RngStateGuard& operator=(const RngStateGuard&) = delete;
  ~RngStateGuard() { before_.restore(); }

 private:
  RandomState before_;
};

/// While it lives, modules compute on copies of their buffers and begin without gradients; then both are what they were,
/// the same tensors with the same values.
class ModuleStateGuard {
 public:
  explicit ModuleStateGuard(const std::vector<std::shared_ptr<torch::nn::Module>>& modules) {
    std::unordered_set<const void*> seen;
    const auto first = [&](const at::Tensor& t) { return seen.insert(t.unsafeGetTensorImpl()).second; };
    for (const auto& m : modules) {
      if (!m) continue;
      for (const at::Tensor& p : m->parameters())
        if (first(p)) gradients_.emplace_back(p, std::exchange(p.mutable_grad(), at::Tensor()));
      for (const at::Tensor& b : m->buffers())
        if (b.defined() && first(b)) {
          buffers_.emplace_back(b, b.variable_data());
          b.set_data(b.detach().clone());
        }
    }
  }
  ModuleStateGuard(const ModuleStateGuard&) = delete;
  ModuleStateGuard& operator=(const ModuleStateGuard&) = delete;
  ~ModuleStateGuard() {
    for (auto& [parameter, gradient] : gradients_) parameter.mutable_grad() = gradient;
    for (auto& [buffer, original] : buffers_) buffer.set_data(original);
  }

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> gradients_, buffers_;
};

/// While it lives, a stage's forward pass is computed a second time: what it counts was counted the first time. Its
/// buffers are copies; what a module counts beside them asks `now()`.
class SecondRun {
 public:
  explicit SecondRun(torch::nn::Module* m) : before_(std::exchange(running(), true)) {
    if (!m) return;
    for (const at::Tensor& b : m->buffers()) {
      originals_.emplace_back(b, b.variable_data());
      b.set_data(b.detach().clone());
    }
  }
  SecondRun(const SecondRun&) = delete;
  SecondRun& operator=(const SecondRun&) = delete;
  ~SecondRun() {
    for (auto& [buffer, original] : originals_) buffer.set_data(original);
    running() = before_;
  }
  static bool now() { return running(); }

 private:
  static bool& running() {
    static thread_local bool is = false;
    return is;
  }
  bool before_;
  std::vector<std::pair<at::Tensor, at::Tensor>> originals_;
};

}  // namespace pcomp::detail
