#pragma once
#include <cstdint>

#include "../base/device.hpp"
#include "../base/ratio.hpp"
#include "concepts.hpp"

namespace pcomp {

/// One selection over the whole tensor.
struct Tensor {
  static constexpr Name suffix = "";
  static constexpr std::int64_t segment(const Extents& e) { return e.size(); }
};
/// One selection for every sample (index of the first dimension).
struct Sample {
  static constexpr Name suffix = ", Sample";
  static constexpr std::int64_t segment(const Extents& e) {
    return e.rank() > 1 && e[0] > 0 ? e.size() / e[0] : e.size();
  }
};
/// One selection for every B consecutive elements; the last block may be shorter.
template <std::int64_t B>
struct Block {
  static_assert(refuse::block_size<(B >= 1)>());
  static constexpr Name suffix = Name(", Block<") + B + ">";
  static constexpr std::int64_t segment(const Extents&) { return B; }
};

namespace ops {
namespace lowest {

/// Keeps the k = max(1, floor(N*n/D)) elements of greatest magnitude; the rest decode to zero.
///
/// Law: exactly k survive of every segment that has an element, each with its own value; among equal magnitudes the lowest index wins. NaN counts
///   as greater than infinity, so that it is never lost silently.
/// Bytes: index block of (n, k), the smaller of n/8 and Elias-Fano; then the coder's bytes of k elements.
/// Shapes: up to 2^32 - 2 elements in all; n is the tensor, the sample or the block, by Scope; a last block may be
///   shorter and has its own k.
/// Refusals: a ratio outside (0, 1].
/// Source: Aji and Heafield, "Sparse Communication for Distributed Gradient Descent", EMNLP 2017.
/// Example: examples/020-bytes
template <class R, class Scope>
struct TopK : Composable {
  static_assert(refuse::ratio_outside_0_1<(R::den < 1 || (R::num > 0 && R::num <= R::den))>());
  static_assert(sizeof(Scope) > 0);  // completes Scope, which may refuse its parameters
  static constexpr Role role = Role::select;
  static constexpr Name name = Name("TopK<") + R::num + "/" + R::den + Scope::suffix + ">";

  static constexpr std::int64_t segment(const Extents& e) { return Scope::segment(e); }
  static constexpr std::int64_t keep(std::int64_t n) {
    const std::int64_t k = R::of(n);
    return k < 1 && n > 0 ? 1 : k;
  }
  static constexpr bool per_sample = std::is_same_v<Scope, Sample>;
  static constexpr bool magnitude = true;  // kernels may compute the score as the bits of |x|
  [[gnu::always_inline]] PCOMP_HD static constexpr std::uint32_t score(float x, std::int64_t) {
    return detail::bits_as<std::uint32_t>(x) & 0x7fffffffu;
  }
};

}  // namespace lowest

/// The same for any spelling of the ratio.
template <class R, class Scope = Tensor>
using TopK = lowest::TopK<typename R::lowest, Scope>;

}  // namespace ops

namespace detail {
template <class R, class Scope>
inline constexpr bool has_short_cut<ops::lowest::TopK<R, Scope>> = true;
}  // namespace detail

template <class R, class Scope = Tensor>
inline constexpr ops::TopK<R, Scope> TopK{};

}  // namespace pcomp
