#pragma once
#include <cstdint>

#include "../codec/concepts.hpp"
#include "../codec/float_bits.hpp"

/// Arithmetic that all kernels share, on the CPU and on the GPU: scores, noise, ranges, canonical NaNs.
namespace pcomp::detail {

/// Selections whose score is the magnitude's bits.
template <class S>
inline constexpr bool is_magnitude = has_short_cut<S> && requires { requires S::magnitude; };

/// An element's score; no finite one is higher than that of a NaN or an infinity, so that these are not lost.
template <codec::SelectCodec S>
[[gnu::always_inline]] PCOMP_HD inline std::uint32_t score_of(float x, std::int64_t i) {
  if constexpr (is_magnitude<S>)
    return S::score(x, i);
  else
    return is_finite(x) ? S::score(x, i) : 0xffffffffu;
}

/// A score as a signed integer of the same order.
template <codec::SelectCodec S>
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

/// The empty range, that of a group with a value that is not finite, and the union of two.
inline constexpr codec::Range no_range{float_inf, -float_inf}, spoilt_range{float_nan, float_nan};
PCOMP_HD inline codec::Range joined(codec::Range a, codec::Range b) {
  if (a.lo != a.lo || b.lo != b.lo) return spoilt_range;
  return {b.lo < a.lo ? b.lo : a.lo, b.hi > a.hi ? b.hi : a.hi};
}

/// The sign of a sum's NaN depends on the order of its operands; that of the NaN sent does not.
[[gnu::always_inline]] PCOMP_HD inline float canonical(float x) { return x == x ? x : float_nan; }

/// The mean or the sum of a window whose columns were added up in doubles, as the nearest finite float.
PCOMP_HD constexpr float wide_pool(const double* column, std::int64_t columns, std::int64_t rows, bool mean) {
  double sum = column[0];
  for (std::int64_t x = 1; x < columns; ++x) sum += column[x];
  return to_finite(mean ? sum / static_cast<double>(rows * columns) : sum);
}

}  // namespace pcomp::detail
