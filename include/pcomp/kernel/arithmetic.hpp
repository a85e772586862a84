#pragma once
#include <cstdint>

#include "../codec/concepts.hpp"
#include "../codec/float_bits.hpp"

/// Arithmetic that all kernels share, on the CPU and on the GPU: score keys, noise, ranges, canonical NaNs.
namespace pcomp::detail {

/// Selections whose score is the magnitude's bits.
template <class S>
inline constexpr bool is_magnitude = has_short_cut<S>&& requires {
  requires S::magnitude;
};

/// A score as a signed integer of the same order.
template <SelectCodec S>
[[gnu::always_inline]] PCOMP_HD inline std::int32_t as_key(std::uint32_t score) {
  if constexpr (is_magnitude<S>)
    return static_cast<std::int32_t>(score);
  else
    return static_cast<std::int32_t>(score ^ 0x80000000u);
}

/// A well-mixed 32-bit hash (Wellons' lowbias32).
[[gnu::always_inline]] PCOMP_HD constexpr std::uint32_t mix(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

/// The seed of a block's noise, from its scale, which changes with the data, and its position.
template <class Scale>
[[gnu::always_inline]] PCOMP_HD inline std::uint32_t noise_seed(const Scale& s, std::int64_t block) {
  std::uint32_t h = static_cast<std::uint32_t>(block) * 0x9e3779b9u + static_cast<std::uint32_t>(block >> 32);
  const auto* p = reinterpret_cast<const unsigned char*>(&s);
  for (std::size_t i = 0; i < sizeof s; ++i) h = (h ^ p[i]) * 0x01000193u;
  return mix(h);
}
/// The noise of code j of a block, in [0, 1).
[[gnu::always_inline]] PCOMP_HD constexpr float noise_at(std::uint32_t seed, std::uint32_t j) {
  return static_cast<float>(static_cast<std::int32_t>(mix(seed + j * 0x9e3779b9u) >> 8)) * 0x1p-24f;
}

/// The empty range, and the union of two.
inline constexpr Range no_range{float_inf, -float_inf};
[[gnu::always_inline]] PCOMP_HD inline Range joined(Range a, Range b) {
  return {b.lo < a.lo ? b.lo : a.lo, b.hi > a.hi ? b.hi : a.hi};
}
/// A value's range: empty if it is not finite.
[[gnu::always_inline]] PCOMP_HD inline Range range_of(float x) {
  return x >= -float_max && x <= float_max ? Range{x, x} : Range{float_inf, -float_inf};
}
/// The range that a coder is fitted to: {0, 0} if there was no finite value.
[[gnu::always_inline]] PCOMP_HD inline Range settled(Range r) { return r.lo <= r.hi ? r : Range{}; }

/// The sign of a sum's NaN depends on the order of its operands; that of the NaN sent does not.
[[gnu::always_inline]] PCOMP_HD inline float canonical(float x) { return x == x ? x : float_nan; }

}  // namespace pcomp::detail
