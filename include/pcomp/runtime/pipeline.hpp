#pragma once
#include <boost/hana/for_each.hpp>
#include <boost/hana/tuple.hpp>

#include "../kernel/wire_kernels.hpp"
#include "../wire/wire.hpp"
#include "engine.hpp"

namespace pcomp {

/// One stage of a pipeline: its module's type, and the wire to the next stage; the last has none.
///
/// Refusals: a second parameter that is not a wire.
/// Example: examples/050-first-program
template <class Module, class W = void>
struct Stage {
  static constexpr bool has_wire = !std::is_void_v<W>;
  static_assert(refuse::not_a_wire<(!has_wire || codec::AnyWire<W>)>());
  using ModuleType = Module;
  using WireType = W;
};

}  // namespace pcomp

namespace pcomp::detail {

template <class T>
inline constexpr bool is_stage = false;
template <class M, class W>
inline constexpr bool is_stage<Stage<M, W>> = true;

/// Whether all stages but the last have a wire, and whether the last has one.
template <class... S>
struct WiresOf {
  static constexpr bool stages = sizeof...(S) > 0 && (is_stage<S> && ...);
  static constexpr bool has(std::size_t i) {
    if constexpr (stages) {
      const bool has_wire[] = {S::has_wire...};
      return has_wire[i];
    }
    return false;
  }
  static constexpr bool last_without = !stages || !has(sizeof...(S) - 1);
  static constexpr bool others_with = [] {
    for (std::size_t i = 0; stages && i + 1 < sizeof...(S); ++i)
      if (!has(i)) return false;
    return true;
  }();
};

/// How a stage whose module takes no arguments is built.
template <class M>
struct DefaultBuilder {
  M operator()() const { return M(); }
};

/// Whether a callable makes the module M: by value, in a holder or a shared pointer.
template <class F, class M>
constexpr bool makes() {
  if constexpr (std::invocable<F&>) {
    using Made = std::remove_cvref_t<std::invoke_result_t<F&>>;
    return std::is_same_v<Made, M> || std::is_convertible_v<Made, M> ||
           std::is_convertible_v<typename Held<Made>::type*, M*>;
  }
  return false;
}

}  // namespace pcomp::detail

namespace pcomp {

/// A network cut into stages, with the wire that each sends over, as a type that fixes kernels, sizes and schedules.
///
/// Law: the constructor's callables are called once each, on the rank that holds the stage. Without any, each stage is
///   made by its module's default constructor.
/// Shapes: `size` stages, `size - 1` wires.
/// Refusals: no stage, something that is not a Stage, a wire on the last stage, a missing wire between stages; a
///   constructor without one callable for each stage, or with none where a module needs arguments.
/// Source: torchgpipe (Kim et al., 2020) for a network as a sequence of stages.
/// Example: examples/050-first-program
template <class... Stages>
class Pipeline {
  using Wires = detail::WiresOf<Stages...>;
  static_assert(refuse::not_a_stage<Wires::stages>());
  static_assert(refuse::last_stage_with_wire<Wires::last_without>());
  static_assert(refuse::missing_wire<Wires::others_with>());
  static constexpr bool ok = Wires::stages && Wires::last_without && Wires::others_with;

 public:
  static constexpr int size = sizeof...(Stages);

  /// The schedule of this network under a policy.
  template <schedule::Policy P, int Microbatches, class Where = schedule::OneStagePerRank>
  using Plan = Schedule<P, size, Microbatches, Where>;

  /// Bytes per step of a plan over the boundary after stage `boundary`, for micro-batches of this shape.
  template <class Plan>
  static constexpr std::int64_t bytes_per_step(int boundary, const Extents& microbatch) {
    std::int64_t bytes = Plan::messages(boundary);
    int stage = 0;
    const auto add = [&]<class W>(std::type_identity<W>) {
      if constexpr (!std::is_void_v<W>)
        if (stage == boundary) bytes = Plan::bytes_per_step(boundary, W{}, microbatch);
      ++stage;
    };
    (add(std::type_identity<typename Stages::WireType>{}), ...);
    return bytes;
  }

  template <class... Builders>
  explicit Pipeline(Builders... builders) {
    if constexpr (ok && sizeof...(Builders) == sizeof...(Stages)) {
      constexpr bool each = (detail::makes<Builders, typename Stages::ModuleType>() && ...);
      static_assert(refuse::stage_callables<each>());
      if constexpr (each) specs_ = {runtime::stage_spec(std::move(builders))...};
    } else if constexpr (ok && sizeof...(Builders) == 0 &&
                         (std::default_initializable<typename Stages::ModuleType> && ...)) {
      specs_ = {runtime::stage_spec(detail::DefaultBuilder<typename Stages::ModuleType>{})...};
    } else {
      static_assert(refuse::stage_callables<!ok>());
    }
  }

  const std::vector<runtime::StageSpec>& stages() const { return specs_; }

  static std::vector<const kernel::WireKernels*> wires() {
    std::vector<const kernel::WireKernels*> all;
    if constexpr (ok)
      boost::hana::for_each(boost::hana::tuple_t<Stages...>, [&](auto stage) {
        using S = typename decltype(stage)::type;
        if constexpr (S::has_wire) all.push_back(&kernel::wire_kernels<typename S::WireType>());
      });
    return all;
  }

 private:
  std::vector<runtime::StageSpec> specs_;
};

}  // namespace pcomp
