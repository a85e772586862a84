#pragma once
#include <concepts>
#include <cstdint>
#include <vector>

#include "action.hpp"

namespace pcomp {

/// How many stages and micro-batches a schedule is for.
struct Size {
  int stages = 1;
  int micros = 1;
};

/// A schedule's policy: a clock that says when each Forward and Backward would run if every stage had a rank
/// of its own and each took one tick.
///
/// Law: a tick is above those of what the operation needs: Forward(s, m) above Forward(s-1, m), Backward(s, m)
///   above Backward(s+1, m) and Forward(s, m); on one stage ticks differ and micro-batches ascend. From that
///   follows an order for every placement that cannot deadlock: see row.hpp.
/// Example: docs/schedules.md
template <class P>
concept Policy = requires(Size n) {
  { P::name } -> std::convertible_to<const char*>;
  { P::backward } -> std::convertible_to<bool>;
  { P::tick(Op::Forward, 0, 0, n) } -> std::convertible_to<std::int64_t>;
};

namespace detail {
/// vector(n, value); clang 14 takes only this in a constant expression.
template <class T>
constexpr std::vector<T> filled(std::size_t n, T value) {
  std::vector<T> v;
  v.reserve(n);
  for (std::size_t i = 0; i < n; ++i) v.push_back(value);
  return v;
}
}  // namespace detail

}  // namespace pcomp
