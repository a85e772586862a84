#pragma once
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <torch/nn/module.h>

#include <concepts>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/refuse.hpp"

namespace pcomp::detail {

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

}  // namespace pcomp::detail

namespace pcomp::runtime {

/// A stage as the executor sees it: a forward function, the module that owns its state, if any, and where it computes.
struct StageModule {
  std::shared_ptr<torch::nn::Module> module;
  at::Device device = at::kCPU;
  std::function<at::Tensor(const at::Tensor&)> forward;
};

/// A stage that is not built yet: the rank that holds it calls `build`.
struct StageSpec {
  std::string name;
  std::function<StageModule()> build;
};

}  // namespace pcomp::runtime

namespace pcomp::detail {

template <class M>
concept HasForward = requires(M& m, const at::Tensor& x) {
  { m.forward(x) } -> std::convertible_to<at::Tensor>;
};
template <class M>
concept HasCall = requires(M& m, const at::Tensor& x) {
  { m(x) } -> std::convertible_to<at::Tensor>;
};

/// The device of the first parameter or, without one, of the first buffer; without either, the CPU.
inline at::Device device_of(const torch::nn::Module& m) {
  for (const auto& tensors : {m.parameters(), m.buffers()})
    if (!tensors.empty()) return tensors.front().device();
  return at::kCPU;
}

template <class M>
runtime::StageModule stage_module(std::shared_ptr<M> m) {
  constexpr bool ok = HasForward<M> || HasCall<M>;
  static_assert(refuse::stage_forward<ok>());
  runtime::StageModule stage;
  if constexpr (std::derived_from<M, torch::nn::Module>) {
    stage.module = m;
    stage.device = device_of(*m);
  }
  if constexpr (HasForward<M>)
    stage.forward = [m](const at::Tensor& x) -> at::Tensor { return m->forward(x); };
  else if constexpr (HasCall<M>)
    stage.forward = [m](const at::Tensor& x) -> at::Tensor { return (*m)(x); };
  return stage;
}

/// The module type in a shared pointer, a torch::nn::ModuleHolder or a plain object, and a shared pointer to it.
template <class T>
struct Held {
  using type = T;
  static std::shared_ptr<T> take(T m) { return std::make_shared<T>(std::move(m)); }
};
template <class T>
struct Held<std::shared_ptr<T>> {
  using type = T;
  static std::shared_ptr<T> take(std::shared_ptr<T> m) { return m; }
};
template <class T>
  requires requires(T t) {
    typename T::ContainedType;
    t.ptr();
  }
struct Held<T> {
  using type = typename T::ContainedType;
  static std::shared_ptr<type> take(T m) { return m.ptr(); }
};

}  // namespace pcomp::detail

namespace pcomp::runtime {

/// Describes a stage by the callable that builds it.
///
/// Law: `build` is called once, on the rank that holds the stage. The stage computes on the device where its parameters
///   are then or, without any, its buffers, else on the CPU; its inputs are moved there.
/// Shapes: the callable returns a module, a shared_ptr or holder of one, or any object with forward(Tensor) or
///   operator()(Tensor) that returns a Tensor whose first dimension is still the batch.
/// Refusals: anything without such a function.
/// Example: apps/train
template <std::invocable F>
[[nodiscard]] StageSpec stage_spec(F build, std::string name = "stage") {
  using Made = std::remove_cvref_t<std::invoke_result_t<F&>>;
  return {std::move(name),
          [build]() mutable { return detail::stage_module(detail::Held<Made>::take(build())); }};
}

}  // namespace pcomp::runtime

namespace pcomp::detail {

/// A number from LibTorch's generator for the CPU: the same after the same `manual_seed`, another the next time.
inline std::uint64_t next_seed() {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  return generator.get<at::CPUGeneratorImpl>()->random64();
}

/// Restores LibTorch's generators of the CPU and of the stages' GPUs when destroyed; `stages` may hold nulls.
class RngStateGuard {
 public:
  explicit RngStateGuard(const std::vector<const runtime::StageModule*>& stages = {}) {
    keep(at::kCPU);
    for (const runtime::StageModule* s : stages)
      if (s && s->device.is_cuda()) keep(s->device);
  }
  RngStateGuard(const RngStateGuard&) = delete;
  RngStateGuard& operator=(const RngStateGuard&) = delete;
  ~RngStateGuard() {
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
