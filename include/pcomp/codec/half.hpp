#pragma once
#include "concepts.hpp"
#include "float_bits.hpp"

namespace pcomp::ops {

/// IEEE binary16, rounded to nearest even.
///
/// Law: |decode(encode(x)) - x| <= max(|x| 2^-11, 2^-25) for |x| < 65520; finite values from there on become +-65504.
///   NaN stays NaN, infinities stay.
/// Bytes: 2n.
/// Shapes: any.
/// Source: IEEE 754-2019.
/// Example: examples/020-bytes
struct Half : Composable {
  static constexpr Role role = Role::code;
  static constexpr codec::FixedString name = "Half";
  static constexpr int bits = 16;
  [[gnu::always_inline]] PCOMP_HD static constexpr std::uint32_t encode(float x) {
    return detail::to_half(x);
  }
  [[gnu::always_inline]] PCOMP_HD static constexpr float decode(std::uint32_t code) {
    return detail::from_half(code);
  }
  static constexpr double bound(double x) {
    const double a = x < 0 ? -x : x;
    return a >= 65520 ? a - 65504 : a * 0x1p-11 > 0x1p-25 ? a * 0x1p-11 : 0x1p-25;
  }
};

/// bfloat16: the upper half of a float, rounded to nearest even.
///
/// Law: |decode(encode(x)) - x| <= max(|x| 2^-8, 2^-134); what would round to infinity becomes the largest finite value.
///   NaN stays NaN, infinities stay.
/// Bytes: 2n.
/// Shapes: any.
/// Source: Kalamkar et al., "A Study of BFLOAT16 for Deep Learning Training", 2019.
/// Example: examples/020-bytes
struct BFloat16 : Composable {
  static constexpr Role role = Role::code;
  static constexpr codec::FixedString name = "BFloat16";
  static constexpr int bits = 16;
  [[gnu::always_inline]] PCOMP_HD static constexpr std::uint32_t encode(float x) {
    return detail::to_bf16(x);
  }
  [[gnu::always_inline]] PCOMP_HD static constexpr float decode(std::uint32_t code) {
    return detail::bits_as<float>(code << 16);
  }
  static constexpr double bound(double x) {
    const double a = x < 0 ? -x : x;
    return a * 0x1p-8 + 0x1p-134;
  }
};

/// What a wire without a coder sends: the float itself, 4 bytes, every bit kept.
struct Float32 : Composable {
  static constexpr Role role = Role::code;
  static constexpr codec::FixedString name = "Float32";
  static constexpr int bits = 32;
  [[gnu::always_inline]] PCOMP_HD static constexpr std::uint32_t encode(float x) {
    return detail::bits_as<std::uint32_t>(x);
  }
  [[gnu::always_inline]] PCOMP_HD static constexpr float decode(std::uint32_t code) {
    return detail::bits_as<float>(code);
  }
  static constexpr double bound(double) { return 0; }
};

}  // namespace pcomp::ops

namespace pcomp {

inline constexpr ops::Half Half{};
inline constexpr ops::BFloat16 BFloat16{};

}  // namespace pcomp
