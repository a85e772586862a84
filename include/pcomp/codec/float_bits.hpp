#pragma once
#include <cstdint>
#include <limits>

#include "../base/device.hpp"

/// Conversions between the bits of the three float formats, rounded to nearest even; a finite number that would round
/// to infinity becomes the largest finite one.
namespace pcomp::detail {

inline constexpr float float_max = std::numeric_limits<float>::max();
inline constexpr float float_min = std::numeric_limits<float>::min();
inline constexpr float float_inf = std::numeric_limits<float>::infinity();
inline constexpr float float_nan = std::numeric_limits<float>::quiet_NaN();

[[gnu::always_inline]] PCOMP_HD constexpr bool is_finite(float x) {
  return x >= -float_max && x <= float_max;
}
/// The nearest finite float.
PCOMP_HD constexpr float to_finite(double x) {
  constexpr double most = static_cast<double>(float_max);
  return static_cast<float>(x < -most ? -most : x > most ? most : x);
}

[[gnu::always_inline]] PCOMP_HD constexpr float from_bf16(std::uint16_t h) {
  return bits_as<float>(static_cast<std::uint32_t>(h) << 16);
}

[[gnu::always_inline]] PCOMP_HD constexpr std::uint16_t to_bf16(float x) {
  const std::uint32_t u = bits_as<std::uint32_t>(x), a = u & 0x7fffffffu;
  const std::uint32_t over = a - 0x7f7f8000u < 0x8000u;  // finite, and rounds to infinity
  const std::uint32_t rounded = ((u + 0x7fffu + ((u >> 16) & 1u)) >> 16) - over;
  return static_cast<std::uint16_t>(a > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
}

[[gnu::always_inline]] PCOMP_HD constexpr std::uint16_t to_half(float x) {
  const std::uint32_t u = bits_as<std::uint32_t>(x), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
  // Normal halves: rebias the exponent and round the 13 dropped bits to even.
  const std::uint32_t normal = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
  // Subnormal halves: adding 1/2 rounds at 2^-24, to even, in the low bits of the sum.
  const std::uint32_t small = bits_as<std::uint32_t>(bits_as<float>(a) + 0.5f) - 0x3f000000u;
  const std::uint32_t finite = a < 0x38800000u ? small : normal;
  const std::uint32_t nan = 0x7e00u | ((a >> 13) & 0x3ffu);
  const std::uint32_t large = a > 0x7f800000u ? nan : a == 0x7f800000u ? 0x7c00u : 0x7bffu;
  return static_cast<std::uint16_t>(sign | (a >= 0x477ff000u ? large : finite));
}

[[gnu::always_inline]] PCOMP_HD constexpr float from_half(std::uint32_t h) {
  const std::uint32_t sign = (h & 0x8000u) << 16, a = h & 0x7fffu;
  const std::uint32_t normal = (a << 13) + 0x38000000u;
  const std::uint32_t special =
      (a << 13) | (a == 0x7c00u ? 0x7f800000u : 0x7fc00000u);  // a NaN becomes a quiet one
  const std::uint32_t small =
      bits_as<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(a)) * 0x1p-24f);
  const std::uint32_t u = a < 0x400u ? small : a >= 0x7c00u ? special : normal;
  return bits_as<float>(sign | u);
}

}  // namespace pcomp::detail
