#pragma once
#include <torch/nn/module.h>

#include <concepts>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/refuse.hpp"

namespace pcomp {

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

namespace detail {

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
StageModule stage_module(std::shared_ptr<M> m) {
  constexpr bool ok = HasForward<M> || HasCall<M>;
  static_assert(refuse::stage_forward<ok>());
  StageModule stage;
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

}  // namespace detail

/// Describes a stage by the callable that builds it.
///
/// Law: `build` is called once, on the rank that holds the stage. The stage computes on the device where its parameters
///   are then or, without any, its buffers, else on the CPU; its inputs are moved there.
/// Shapes: the callable returns a module, a shared_ptr or holder of one, or any object with forward(Tensor) or
///   operator()(Tensor) that returns a Tensor whose first dimension is still the batch.
/// Refusals: anything without such a function.
/// Example: examples/100-mobilenetv2-cifar10
template <std::invocable F>
[[nodiscard]] StageSpec stage_spec(F build, std::string name = "stage") {
  using Made = std::remove_cvref_t<std::invoke_result_t<F&>>;
  return {std::move(name),
          [build]() mutable { return detail::stage_module(detail::Held<Made>::take(build())); }};
}

}  // namespace pcomp
