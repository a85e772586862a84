#pragma once
#include <torch/nn/module.h>

#include <concepts>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/refuse.hpp"
#include "call.hpp"
#include "surroundings.hpp"

namespace pcomp::runtime {

/// A stage as the executor sees it: its function, the module that owns its state, if any, and where it computes.
struct StageModule {
  std::shared_ptr<torch::nn::Module> module;
  at::Device device = at::kCPU;
  std::function<Tensors(const Tensors&, const Microbatch&)> call;
  bool takes_microbatch = false;
  bool recompute = false;  ///< keeps no graph between its forward and backward pass

  /// Of a stage that makes one tensor of one.
  at::Tensor forward(const at::Tensor& x, const Microbatch& m = {}) const { return call({x}, m).at(0); }
};

/// A parameter of a stage: `{0, "table.weight"}`.
struct WeightName {
  int stage = 0;
  std::string name;
};

/// A stage that is not built yet: the rank that holds it calls `build`.
struct StageSpec {
  std::string name;
  std::function<StageModule()> build;
  bool recompute = false;
};

}  // namespace pcomp::runtime

namespace pcomp::detail {

/// The device of the first parameter or, without one, of the first buffer; without either, the CPU.
inline at::Device device_of(const torch::nn::Module& m) {
  for (const auto& tensors : {m.parameters(), m.buffers()})
    if (!tensors.empty()) return tensors.front().device();
  return at::kCPU;
}

template <class M>
runtime::StageModule stage_module(std::shared_ptr<M> m) {
  static_assert(refuse::stage_forward<StageCall<M>::possible>());
  runtime::StageModule stage;
  if constexpr (std::derived_from<M, torch::nn::Module>) {
    stage.module = m;
    stage.device = device_of(*m);
  }
  if constexpr (StageCall<M>::possible) {
    stage.takes_microbatch = StageCall<M>::takes_microbatch;
    stage.call = [m](const runtime::Tensors& x, const Microbatch& b) { return StageCall<M>::call(*m, x, b); };
  }
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
/// Shapes: the callable returns a module, a shared_ptr or holder of one, or any object with forward or operator(), from
///   a Tensor to a Tensor, or from and to several: as arguments, std::array, std::tuple or std::vector. A
///   `const Microbatch&` may come last. The first dimension of each tensor is the batch.
/// Refusals: anything without such a function.
/// Example: apps/train
template <std::invocable F>
[[nodiscard]] StageSpec stage_spec(F build, std::string name = "stage") {
  using Made = std::remove_cvref_t<std::invoke_result_t<F&>>;
  return {std::move(name),
          [build]() mutable { return detail::stage_module(detail::Held<Made>::take(build())); }};
}
/// The same stage, which keeps only its input, or the payload that it came in, and computes again before its backward
/// pass.
///
/// Law: losses, gradients, statistics and random numbers are those without, bit for bit.
/// Source: GPipe (Huang et al., 2019); Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
/// Example: docs/train.md
[[nodiscard]] inline StageSpec recompute(StageSpec spec) {
  spec.recompute = true;
  return spec;
}

}  // namespace pcomp::runtime
