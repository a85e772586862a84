#pragma once
#include <bit>
#include <cstdint>

#include "concepts.hpp"

namespace pcomp {
namespace detail {

[[gnu::always_inline]] constexpr std::uint16_t to_bf16(float x) {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return static_cast<std::uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
}

[[gnu::always_inline]] constexpr std::uint16_t to_half(float x) {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(x), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
  // Normal halves: rebias the exponent and round the 13 dropped bits to even.
  const std::uint32_t normal = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
  // Subnormal halves: adding 1/2 rounds at 2^-24, to even, in the low bits of the sum.
  const std::uint32_t small = std::bit_cast<std::uint32_t>(std::bit_cast<float>(a) + 0.5f) - 0x3f000000u;
  const std::uint32_t finite = a < 0x38800000u ? small : normal;
  const std::uint32_t large = a > 0x7f800000u ? 0x7e00u | ((a >> 13) & 0x3ffu) : 0x7c00u;
  return static_cast<std::uint16_t>(sign | (a >= 0x477ff000u ? large : finite));
}

[[gnu::always_inline]] constexpr float from_half(std::uint32_t h) {
  const std::uint32_t sign = (h & 0x8000u) << 16, a = h & 0x7fffu;
  const std::uint32_t normal = (a << 13) + 0x38000000u;
  const std::uint32_t special = (a << 13) | 0x7f800000u;
  const std::uint32_t small =
      std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(a)) * 0x1p-24f);
  const std::uint32_t u = a < 0x400u ? small : a >= 0x7c00u ? special : normal;
  return std::bit_cast<float>(sign | u);
}

}  // namespace detail

namespace ops {

/// IEEE binary16, rounded to nearest even.
///
/// Law: |decode(encode(x)) - x| <= max(|x| 2^-11, 2^-25) for |x| < 65520; beyond that infinity, as the IEEE
/// cast
///   does. NaN stays NaN, infinities stay.
/// Bytes: 2n.
/// Shapes: any.
/// Source: IEEE 754-2019.
/// Example: examples/020-bytes
struct Half : Composable {
  static constexpr Role role = Role::code;
  static constexpr Name name = "Half";
  static constexpr int bits = 16;
  [[gnu::always_inline]] static constexpr std::uint32_t encode(float x) { return detail::to_half(x); }
  [[gnu::always_inline]] static constexpr float decode(std::uint32_t code) { return detail::from_half(code); }
  static constexpr double bound(double x) {
    const double a = x < 0 ? -x : x;
    return a >= 65520              ? std::numeric_limits<double>::infinity()
           : a * 0x1p-11 > 0x1p-25 ? a * 0x1p-11
                                   : 0x1p-25;
  }
};

/// bfloat16: the upper half of a float, rounded to nearest even.
///
/// Law: |decode(encode(x)) - x| <= max(|x| 2^-8, 2^-134); above the largest bfloat16 infinity. NaN stays NaN,
///   infinities stay.
/// Bytes: 2n.
/// Shapes: any.
/// Source: Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", 2019.
/// Example: examples/020-bytes
struct BFloat16 : Composable {
  static constexpr Role role = Role::code;
  static constexpr Name name = "BFloat16";
  static constexpr int bits = 16;
  [[gnu::always_inline]] static constexpr std::uint32_t encode(float x) { return detail::to_bf16(x); }
  [[gnu::always_inline]] static constexpr float decode(std::uint32_t code) {
    return std::bit_cast<float>(code << 16);
  }
  static constexpr double bound(double x) {
    const double a = x < 0 ? -x : x;
    return a > 0x1.fep127 ? std::numeric_limits<double>::infinity() : a * 0x1p-8 + 0x1p-134;
  }
};

/// What a wire without a coder sends: the float itself, 4 bytes, every bit kept.
struct Float32 : Composable {
  static constexpr Role role = Role::code;
  static constexpr Name name = "Float32";
  static constexpr int bits = 32;
  [[gnu::always_inline]] static constexpr std::uint32_t encode(float x) {
    return std::bit_cast<std::uint32_t>(x);
  }
  [[gnu::always_inline]] static constexpr float decode(std::uint32_t code) {
    return std::bit_cast<float>(code);
  }
  static constexpr double bound(double) { return 0; }
};

}  // namespace ops

inline constexpr ops::Half Half{};
inline constexpr ops::BFloat16 BFloat16{};

}  // namespace pcomp
