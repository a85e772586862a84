#pragma once
#include "concepts.hpp"

namespace pcomp {
namespace ops {

/// Sends the mean of each K x K window of the last two dimensions; the receiver repeats each value K x K times.
///
/// Law: the linear part A = upsample(mean) is symmetric up to its ragged edges, and the gradient uses its
///   adjoint: sum over K x K at the sender, divided by the count at the receiver.
/// Bytes: those of the rest of the wire for H x W -> ceil(H/K) x ceil(W/K).
/// Shapes: at least two dimensions; windows at ragged edges average what is there.
/// Errors: `Error` for a shape of fewer than two dimensions.
/// Refusals: K outside 1..256.
/// Source: average pooling as a wire codec, after the GPipe compression study.
/// Example: examples/020-bytes
template <int K>
struct Downsample : Composable {
  static_assert(refuse::pool_factor<(K >= 1 && K <= 256)>());
  static constexpr Role role = Role::shape;
  static constexpr Name name = Name("Downsample<") + std::int64_t{K} + ">";
  static constexpr int factor = K;

  static constexpr Extents shaped(const Extents& e) {
    const int r = e.rank();
    if (r < 2) throw Error("pcomp: Downsample needs at least 2 dimensions, not the shape " + to_string(e));
    return e.with(r - 2, (e[r - 2] + K - 1) / K).with(r - 1, (e[r - 1] + K - 1) / K);
  }
};

}  // namespace ops

template <int K>
inline constexpr ops::Downsample<K> Downsample{};

}  // namespace pcomp
