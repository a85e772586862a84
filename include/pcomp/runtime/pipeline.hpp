#pragma once
#include <array>
#include <boost/hana/for_each.hpp>
#include <boost/hana/tuple.hpp>
#include <initializer_list>
#include <tuple>
#include <type_traits>

#include "../kernel/boundary_wires.hpp"
#include "engine.hpp"

namespace pcomp {

/// In a Stage's list of wires: it computes again before its backward pass, see runtime::recompute.
struct Recompute {};

}  // namespace pcomp

namespace pcomp::detail {

template <class W>
inline constexpr bool is_recompute = std::is_same_v<W, Recompute>;
/// What may stand after a stage's module.
template <class W>
concept StageOption = codec::AnyWire<W> || VerbatimWire<W> || is_recompute<W> || std::is_void_v<W>;

}  // namespace pcomp::detail

namespace pcomp {

/// One stage of a pipeline: its module's type, and a wire to the next stage for each tensor that it hands over; the last
/// has none. `Recompute` among them: it keeps no graph between its forward and backward passes.
///
/// Refusals: anything else among the wires.
/// Example: examples/050-first-program
template <class Module, class... Options>
struct Stage {
  static_assert(refuse::not_a_wire<(detail::StageOption<Options> && ...)>());
  static constexpr int wires = (0 + ... + (!detail::is_recompute<Options> && !std::is_void_v<Options>));
  static constexpr bool recomputes = (detail::is_recompute<Options> || ...);
  using ModuleType = Module;
};

}  // namespace pcomp

namespace pcomp::detail {

template <class T>
inline constexpr bool is_stage = false;
template <class M, class... W>
inline constexpr bool is_stage<Stage<M, W...>> = true;

/// Calls f(std::type_identity<wire>) for each wire of a stage.
template <class M, class... W, class F>
constexpr void for_each_wire(std::type_identity<Stage<M, W...>>, F f) {
  [[maybe_unused]] const auto call = [&]<class One>(std::type_identity<One> one) {
    if constexpr (!is_recompute<One> && !std::is_void_v<One>) f(one);
  };
  (call(std::type_identity<W>{}), ...);
}

/// How many tensors a module makes of n; -1 if its type does not tell, -3 if it cannot take n.
template <class Module, int n>
constexpr int makes_tensors() {
  if constexpr (n < 1 || n > static_cast<int>(most_tensors))
    return -1;
  else if constexpr (!StageCall<typename Held<Module>::type>::possible)
    return -1;  // refused where it is built
  else
    return makes_of<typename Held<Module>::type, static_cast<std::size_t>(n)>();
}

/// Whether stages and wires fit each other, as far as types tell.
template <class... S>
struct WiresOf {
  static constexpr bool stages = sizeof...(S) > 0 && (is_stage<S> && ...);
  static constexpr std::size_t last = sizeof...(S) - 1;
  static constexpr auto counts() {
    if constexpr (stages)
      return std::array<int, sizeof...(S)>{S::wires...};
    else
      return std::array<int, 1>{};
  }
  static constexpr bool last_without = !stages || counts()[last] == 0;
  static constexpr bool others_with = [] {
    for (std::size_t i = 0; stages && i < last; ++i)
      if (counts()[i] == 0) return false;
    return true;
  }();
  /// Checks f(i) for every stage; all hold if the list itself does not.
  template <class F>
  static constexpr bool all(F f) {
    if constexpr (stages && last_without && others_with)
      return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return (f.template operator()<I>() && ...);
      }(std::make_index_sequence<sizeof...(S)>());
    else
      return true;
  }
  template <std::size_t i>
  static constexpr int made = [] {
    constexpr int given = i == 0 ? 1 : counts()[i == 0 ? 0 : i - 1];
    return makes_tensors<typename std::tuple_element_t<i, std::tuple<S...>>::ModuleType, given>();
  }();
  static constexpr bool takes = all([]<std::size_t i>() { return made<i> != -3; });
  static constexpr bool hands_over =
      all([]<std::size_t i>() { return made<i> < 0 || made<i> == (i == last ? 1 : counts()[i]); });
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
  static_assert(refuse::stage_takes<Wires::takes>());
  static_assert(refuse::stage_hands_over<Wires::hands_over>());
  static constexpr bool ok =
      Wires::stages && Wires::last_without && Wires::others_with && Wires::takes && Wires::hands_over;

 public:
  static constexpr int size = sizeof...(Stages);

  /// The schedule of this network under a policy.
  template <schedule::Policy P, int Microbatches, class Where = schedule::OneStagePerRank>
  using Plan = Schedule<P, size, Microbatches, Where>;

  /// Bytes per step of a plan over the boundary after stage `boundary`, for micro-batches of this shape or, where several
  /// tensors cross it, of these. Verbatim counts 4 bytes an element.
  template <class Plan>
  static constexpr std::int64_t bytes_per_step(int boundary, const Extents& microbatch) {
    return bytes_per_step<Plan>(boundary, {microbatch});
  }
  template <class Plan>
  static constexpr std::int64_t bytes_per_step(int boundary, std::initializer_list<Extents> microbatch) {
    std::size_t forward = 0, gradient = 0;
    int stage = 0;
    const auto add = [&](auto each) {
      if (stage++ != boundary) return;
      const Extents* shape = microbatch.begin();
      detail::for_each_wire(each, [&]<class W>(std::type_identity<W>) {
        if (shape == microbatch.end()) throw Error("pcomp: bytes_per_step takes a shape for each tensor");
        const auto more = [](std::size_t end, std::size_t n) {
          return n ? detail::payload_start(end) + n : end;
        };
        forward = more(forward, wire_bytes(W{}, *shape));
        gradient = more(gradient, grad_wire_bytes(W{}, *shape));
        ++shape;
      });
    };
    (add(std::type_identity<Stages>{}), ...);
    return Plan::bytes_per_step(boundary, static_cast<std::int64_t>(forward),
                                static_cast<std::int64_t>(gradient));
  }

  template <class... Builders>
  explicit Pipeline(Builders... builders) {
    if constexpr (ok && sizeof...(Builders) == sizeof...(Stages)) {
      constexpr bool each = (detail::makes<Builders, typename Stages::ModuleType>() && ...);
      static_assert(refuse::stage_callables<each>());
      if constexpr (each) specs_ = {spec<Stages>(std::move(builders))...};
    } else if constexpr (ok && sizeof...(Builders) == 0 &&
                         (std::default_initializable<typename Stages::ModuleType> && ...)) {
      specs_ = {spec<Stages>(detail::DefaultBuilder<typename Stages::ModuleType>{})...};
    } else {
      static_assert(refuse::stage_callables<!ok>());
    }
  }

  const std::vector<runtime::StageSpec>& stages() const { return specs_; }

  static kernel::Wires wires() {
    std::vector<kernel::BoundaryWires> all;
    if constexpr (ok)
      boost::hana::for_each(boost::hana::tuple_t<Stages...>, [&](auto stage) {
        using S = typename decltype(stage)::type;
        std::vector<const kernel::WireKernels*> own;
        detail::for_each_wire(std::type_identity<S>{}, [&]<class W>(std::type_identity<W>) {
          own.push_back(&kernel::wire_kernels<W>());
        });
        if constexpr (S::wires > 0) all.emplace_back(std::move(own));
      });
    return all;
  }

 private:
  template <class S, class Builder>
  static runtime::StageSpec spec(Builder builder) {
    runtime::StageSpec made = runtime::stage_spec(std::move(builder));
    made.recompute = S::recomputes;
    return made;
  }

  std::vector<runtime::StageSpec> specs_;
};

}  // namespace pcomp
