#pragma once
#include <ATen/core/Tensor.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/error.hpp"
#include "microbatch.hpp"

namespace pcomp::runtime {

/// What enters or leaves a stage: one tensor, or several where it hands over a tuple, an array or a vector of them.
using Tensors = std::vector<at::Tensor>;

}  // namespace pcomp::runtime

/// How a stage's function is called with so many tensors: one by one, as a std::array, as a std::tuple or as a
/// std::vector, and with the Microbatch after them if it takes that.
namespace pcomp::detail {

template <std::size_t>
using OneTensor = at::Tensor;

template <class M, class... A>
concept HasForward = requires(M& m, const A&... a) { m.forward(a...); };
template <class M, class... A>
concept HasCall = requires(M& m, const A&... a) { m(a...); };
template <class M, class... A>
concept Callable = HasForward<M, A...> || HasCall<M, A...>;

template <class M, class... A>
auto call(M& m, const A&... a) {
  if constexpr (HasForward<M, A...>)
    return m.forward(a...);
  else
    return m(a...);
}

/// A `forward` that takes these and a Microbatch, but not anything at all in its place, as nn::Sequential's does.
struct Anything {};
template <class M, class... A>
constexpr bool takes_microbatch() {
  if constexpr (HasForward<M, A..., Microbatch>)
    return requires { &M::forward; } || !HasForward<M, A..., Anything>;
  else
    return HasCall<M, A..., Microbatch>;
}
/// Whether M can be called with these arguments, with a Microbatch or without.
template <class M, class... A>
constexpr bool can_call = takes_microbatch<M, A...>() || Callable<M, A...>;

template <class M, class... A>
auto call_with(M& m, const Microbatch& microbatch, const A&... a) {
  if constexpr (takes_microbatch<M, A...>())
    return call(m, a..., microbatch);
  else
    return call(m, a...);
}

/// How M takes n tensors.
enum class Takes { nothing, each, array, tuple, list };

/// What can be called with one tensor takes several one by one: a generic lambda would be tried with an array, which is
/// an error within it.
template <class M, std::size_t... I>
constexpr Takes takes() {
  if constexpr (can_call<M, OneTensor<I>...>)
    return Takes::each;
  else if constexpr (can_call<M, at::Tensor>)
    return Takes::nothing;
  else if constexpr (can_call<M, runtime::Tensors>)
    return Takes::list;
  else if constexpr (can_call<M, std::array<at::Tensor, sizeof...(I)>>)
    return Takes::array;
  else
    return can_call<M, std::tuple<OneTensor<I>...>> ? Takes::tuple : Takes::nothing;
}

/// Calls `m` with all of `x`, of which there are as many as indices.
template <class M, std::size_t... I>
struct CallShape {
  static constexpr Takes how = takes<M, I...>();
  static constexpr bool any = how != Takes::nothing;

  static auto make(M& m, const runtime::Tensors& x, const Microbatch& b) {
    if constexpr (how == Takes::each)
      return call_with(m, b, x[I]...);
    else if constexpr (how == Takes::array)
      return call_with(m, b, std::array<at::Tensor, sizeof...(I)>{x[I]...});
    else if constexpr (how == Takes::tuple)
      return call_with(m, b, std::tuple<OneTensor<I>...>{x[I]...});
    else
      return call_with(m, b, x);
  }
  /// Whether a Microbatch is given too.
  static constexpr bool microbatch() {
    if constexpr (how == Takes::each)
      return takes_microbatch<M, OneTensor<I>...>();
    else if constexpr (how == Takes::array)
      return takes_microbatch<M, std::array<at::Tensor, sizeof...(I)>>();
    else if constexpr (how == Takes::tuple)
      return takes_microbatch<M, std::tuple<OneTensor<I>...>>();
    else
      return how == Takes::list && takes_microbatch<M, runtime::Tensors>();
  }
};
template <class M, class Indices>
struct CallShapeOf;
template <class M, std::size_t... I>
struct CallShapeOf<M, std::index_sequence<I...>> {
  using type = CallShape<M, I...>;
};
template <class M, std::size_t n>
using CallOf = typename CallShapeOf<M, std::make_index_sequence<n>>::type;

/// The most tensors that a stage can take one by one.
inline constexpr std::size_t most_tensors = 8;

/// How many tensors a result is: -1 for a vector, whose number is known at run time alone, -2 for what is no tensors.
template <class R>
constexpr int tensors_in() {
  using T = std::remove_cvref_t<R>;
  if constexpr (std::is_convertible_v<R, at::Tensor>)
    return 1;
  else if constexpr (std::is_convertible_v<R, runtime::Tensors>)
    return -1;
  else if constexpr (requires { std::tuple_size<T>::value; })
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (std::is_convertible_v<std::tuple_element_t<I, T>, at::Tensor> && ...)
                 ? static_cast<int>(sizeof...(I))
                 : -2;
    }(std::make_index_sequence<std::tuple_size<T>::value>());
  else
    return -2;
}
template <class R>
runtime::Tensors tensors_of(R&& made) {
  if constexpr (std::is_convertible_v<R, at::Tensor>)
    return {at::Tensor(std::forward<R>(made))};
  else if constexpr (tensors_in<R>() == -1)
    return std::forward<R>(made);
  else
    return std::apply([](const auto&... each) { return runtime::Tensors{at::Tensor(each)...}; }, made);
}

/// How many tensors M makes of n: as tensors_in; -3 where it cannot be called with n.
template <class M, std::size_t n>
constexpr int makes_of() {
  if constexpr (CallOf<M, n>::any)
    return tensors_in<decltype(CallOf<M, n>::make(std::declval<M&>(), std::declval<const runtime::Tensors&>(),
                                                  std::declval<const Microbatch&>()))>();
  else
    return -3;
}

/// What M can be called with, as one function of a list.
template <class M>
struct StageCall {
  static constexpr bool possible = []<std::size_t... I>(std::index_sequence<I...>) {
    return ((makes_of<M, I + 1>() >= -1) || ...);
  }(std::make_index_sequence<most_tensors>());
  static constexpr bool takes_microbatch = []<std::size_t... I>(std::index_sequence<I...>) {
    return (CallOf<M, I + 1>::microbatch() || ...);
  }(std::make_index_sequence<most_tensors>());

  static runtime::Tensors call(M& m, const runtime::Tensors& x, const Microbatch& b) {
    return with<1>(m, x, b);
  }

 private:
  template <std::size_t n>
  static runtime::Tensors with(M& m, const runtime::Tensors& x, const Microbatch& b) {
    if constexpr (makes_of<M, n>() >= -1) {
      if (x.size() == n) return tensors_of(CallOf<M, n>::make(m, x, b));
    }
    if constexpr (n < most_tensors)
      return with<n + 1>(m, x, b);
    else if constexpr (CallOf<M, 1>::how == Takes::list)
      return tensors_of(call_with(m, b, x));
    else
      throw Error("the stage's function does not take " + std::to_string(x.size()) +
                  " tensors, as the stage before it hands over");
  }
};

}  // namespace pcomp::detail
