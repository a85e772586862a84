#pragma once
#include <algorithm>
#include <array>
#include <utility>

#include "concepts.hpp"

namespace pcomp::detail {

template <int... Ds>
consteval auto sorted_axes() {
  std::array<int, sizeof...(Ds)> all{Ds...};
  std::sort(all.begin(), all.end(), [](int a, int b) { return (a < 0) != (b < 0) ? b < 0 : a < b; });
  return all;
}
template <int... Ds>
consteval bool are_axes() {
  bool ok = true;
  int before = 0;
  for (const int d : sorted_axes<Ds...>()) {
    ok = ok && d != before && d != 0 && d < Extents::max_rank && d > -Extents::max_rank;
    before = d;
  }
  return ok;
}

}  // namespace pcomp::detail

namespace pcomp {

/// Dimensions by number: 1, 2, ... from the front, where 0 is the batch; -1, -2, ... from the back, where -1 is the last.
///
/// Law: two orders of one list have one `sorted` type, so they share every kernel.
/// Refusals: 0; a number twice; numbers outside -7..7.
/// Example: examples/020-bytes
template <int... Ds>
struct Axes {
  static_assert(refuse::axes<detail::are_axes<Ds...>()>());
  static constexpr int count = sizeof...(Ds);
  static constexpr std::array<int, sizeof...(Ds)> list{Ds...};

 private:
  template <std::size_t... i>
  static auto in_order(std::index_sequence<i...>) -> Axes<detail::sorted_axes<Ds...>()[i]...>;

 public:
  using sorted = decltype(in_order(std::make_index_sequence<sizeof...(Ds)>()));
};

}  // namespace pcomp

namespace pcomp::detail {

template <class T>
inline constexpr bool is_axes = false;
template <int... Ds>
inline constexpr bool is_axes<Axes<Ds...>> = true;

template <class A>
constexpr codec::FixedString<> axes_name() {
  codec::FixedString s;
  for (int d : A::list) s = (s.view().empty() ? codec::FixedString("Axes<") : s + ", ") + std::int64_t{d};
  return s + ">";
}

}  // namespace pcomp::detail

namespace pcomp::ops {

namespace lowest {

/// Sends the mean of each window of K x K elements; the receiver repeats each value K x K times.
///
/// The windows lie in the last two of four or more dimensions, the rows and columns of an image. Other dimensions are
/// named: `Downsample<2, Axes<1>>` takes windows of 2 along the token axis of [batch, token, feature] alone, and
/// `Axes<2, 3>` on four dimensions is the default. Mind what is pooled: along the token axis of a causal model the mean
/// holds later tokens, so the future leaks into the past.
///
/// Law: the linear part A = upsample(mean) is symmetric up to its ragged edges, and the gradient uses its
///   adjoint: the sum over a window at the sender, divided by its count at the receiver. Never the batch: samples do
///   not mix.
/// Bytes: those of the rest of the wire with every pooled extent e -> ceil(e/K).
/// Shapes: at least four dimensions, or those that Axes names; windows at ragged edges average what is there.
/// Errors: `Error` for a shape of fewer than four dimensions, or without a dimension that Axes names, or where Axes
///   names the batch or one dimension twice.
/// Refusals: K outside 1..256; such a shape where it is a type.
/// Source: average pooling as a wire codec, after the GPipe compression study.
/// Example: examples/020-bytes
template <int K, class A>
struct Downsample : Composable {
  static_assert(refuse::pool_factor<(K >= 1 && K <= 256)>());
  static constexpr Role role = Role::shape;
  static constexpr codec::FixedString name =
      A::count
          ? codec::FixedString("Downsample<") + std::int64_t{K} + ", " + detail::axes_name<A>().view() + ">"
          : codec::FixedString("Downsample<") + std::int64_t{K} + ">";
  static constexpr int factor = K;
  static constexpr int named = A::count;  ///< how many dimensions have windows; 0: the last two

  /// Whether a tensor of this many dimensions has those to pool, apart from each other and from the batch.
  static constexpr bool takes(int rank) {
    bool ok = A::count > 0 || rank >= 4;
    unsigned seen = 1;  // the batch
    for (const int a : A::list) {
      const int d = a < 0 ? rank + a : a;
      ok = ok && d > 0 && d < rank && !(seen >> d & 1);
      if (ok) seen |= 1u << d;
    }
    return ok;
  }
  /// Whether dimension d of `rank` is pooled.
  static constexpr bool pools(int d, int rank) {
    bool pooled = A::count == 0 && d >= rank - 2;
    for (const int a : A::list) pooled = pooled || d == (a < 0 ? rank + a : a);
    return pooled;
  }

  static constexpr Extents shaped(const Extents& e) {
    const int r = e.rank();
    if (!takes(r)) throw Error(why_not(e));
    Extents s = e;
    for (int d = 0; d < r; ++d)
      if (pools(d, r)) s = s.with(d, (e[d] + K - 1) / K);
    return s;
  }

 private:
  static std::string why_not(const Extents& e) {
    const std::string self(name.view());
    if (A::count == 0)
      return "pcomp: " + self + " pools rows and columns, the last two of four or more dimensions, but " +
             to_string(e) + " has " + std::to_string(e.rank()) +
             ": it would average over samples or features; name the dimensions to pool, as in " +
             self.substr(0, self.size() - 1) + ", Axes<1>>";
    return "pcomp: " + self + " does not fit the shape " + to_string(e) +
           ": Axes names each dimension once, from 1 or -1 on, and never the batch, dimension 0";
  }
};

}  // namespace lowest

/// The same for any order of the axes.
template <int K, class A = Axes<>>
using Downsample = lowest::Downsample<K, typename A::sorted>;

}  // namespace pcomp::ops

namespace pcomp {

template <int K, class A = Axes<>>
inline constexpr ops::Downsample<K, A> Downsample{};

}  // namespace pcomp
