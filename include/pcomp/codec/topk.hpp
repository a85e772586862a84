#pragma once
#include <cstdint>

#include "../base/device.hpp"
#include "../base/ratio.hpp"
#include "concepts.hpp"
#include "scope.hpp"

namespace pcomp::ops {

namespace lowest {

/// Keeps the k = max(1, floor(N*n/D)) elements of greatest magnitude; the rest decode to zero.
///
/// Law: exactly k survive of every segment that has an element, each with its own value; among equal magnitudes the lowest index wins. NaN counts
///   as greater than infinity, so that it is never lost silently.
/// Bytes: index block of (n, k), the smaller of n/8 and Elias-Fano; then the coder's bytes of k elements.
/// Shapes: up to 2^32 - 2 elements in all; n is the tensor, the sample or the group, by Scope; a last group may be
///   shorter and has its own k.
/// Refusals: a ratio outside (0, 1].
/// Source: Aji and Heafield, "Sparse Communication for Distributed Gradient Descent", EMNLP 2017.
/// Example: examples/020-bytes
template <class R, class Scope>
struct TopK : Composable {
  static_assert(refuse::ratio_outside_0_1<(R::den < 1 || (R::num > 0 && R::num <= R::den))>());
  static_assert(sizeof(Scope) > 0);  // completes Scope, which may refuse its parameters
  static constexpr Role role = Role::select;
  static constexpr codec::FixedString name =
      codec::FixedString("TopK<") + R::num + "/" + R::den + detail::scope_name<Scope, PerTensor> + ">";

  static constexpr std::int64_t segment(const Extents& e) { return Scope::segment(e); }
  static constexpr std::int64_t keep(std::int64_t n) {
    const std::int64_t k = R::of(n);
    return k < 1 && n > 0 ? 1 : k;
  }
  static constexpr bool per_sample = std::is_same_v<Scope, PerSample>;
  static constexpr bool magnitude = true;  // kernels may compute the score as the bits of |x|
  [[gnu::always_inline]] PCOMP_HD static constexpr std::uint32_t score(float x, std::int64_t) {
    return detail::bits_as<std::uint32_t>(x) & 0x7fffffffu;
  }
};

}  // namespace lowest

/// The same for any spelling of the ratio.
template <class R, class Scope = PerTensor>
using TopK = lowest::TopK<typename R::lowest, Scope>;

}  // namespace pcomp::ops

namespace pcomp::detail {

template <class R, class Scope>
inline constexpr bool has_short_cut<ops::lowest::TopK<R, Scope>> = true;

}  // namespace pcomp::detail

namespace pcomp {

template <class R, class Scope = PerTensor>
inline constexpr ops::TopK<R, Scope> TopK{};

}  // namespace pcomp
