#pragma once
#include "../base/device.hpp"
#include "concepts.hpp"

namespace pcomp::codec {

/// The plain rotation: the first of each N elements is their sum, scaled.
struct PlainSigns {};
/// Flips signs first, by a hash of the block's number and the place in it, so that sums of equal signs do not pile up
/// in one element.
struct RandomSigns {};

}  // namespace pcomp::codec

namespace pcomp::ops {

/// Rotates every N consecutive elements of what is sent by the Walsh-Hadamard matrix, so that the coder sees no
/// outliers: one large value is spread over N.
///
/// Law: orthonormal, so the decoder rotates back by its transpose; a last block of fewer than N is left as it is.
///   The order of the additions is fixed: the same bytes on every machine. The coder's error keeps its norm over a
///   block; per element it is at most sqrt(N) times the coder's bound. The gradient is rotated likewise.
///   A NaN or an infinity makes its whole block NaN; what exceeds the float range becomes the largest finite float.
/// Bytes: those of the rest of the wire.
/// Shapes: any; blocks follow the order of what is sent, which after a selection is that of the survivors.
/// Refusals: N other than 32 and 64; no coder beside it.
/// Source: TAH-Quant (He et al., 2025) for activations in pipelines; random signs after QuaRot (Ashkboos et al., 2024).
/// Example: examples/020-bytes
template <int N, class Signs = codec::PlainSigns>
struct Hadamard : Composable {
  static_assert(refuse::rotation_size<(N == 32 || N == 64)>());
  static_assert(refuse::rotation_signs<(std::is_same_v<Signs, codec::PlainSigns> ||
                                        std::is_same_v<Signs, codec::RandomSigns>)>());
  static constexpr Role role = Role::rotate;
  static constexpr codec::FixedString name =
      codec::FixedString("Hadamard<") + std::int64_t{N} +
      (std::is_same_v<Signs, codec::RandomSigns> ? ", RandomSigns>" : ">");
  static constexpr int block = N;
  static constexpr bool random_signs = std::is_same_v<Signs, codec::RandomSigns>;
  static constexpr float scale = N == 64 ? 0.125f : 0.17677669529663687f;

  /// Bit i says whether element 32 * word + i of block `b` is negated.
  PCOMP_HD static constexpr std::uint32_t signs(std::int64_t b, int word) {
    std::uint32_t x = static_cast<std::uint32_t>(2 * b + word) + 0x9e3779b9u;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
  }
};

}  // namespace pcomp::ops

namespace pcomp {

template <int N, class Signs = codec::PlainSigns>
inline constexpr ops::Hadamard<N, Signs> Hadamard{};

}  // namespace pcomp
