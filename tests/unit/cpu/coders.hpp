#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <pcomp/core.hpp>
#include <vector>

/// The coders once more, written from docs/wire-format.md with arithmetic in double: they share no line with codec/.
namespace reference {

/// An IEEE format of 16 bits: `digits` of mantissa behind the leading one, exponents from `least` to `most`.
struct Format {
  int digits, least, most;

  /// The value of these bits, by scaling a whole number.
  double value(std::uint32_t bits) const {
    const std::uint32_t exponents = (1u << (15 - digits)) - 1;
    const std::uint32_t mantissa = bits & ((1u << digits) - 1), exponent = bits >> digits & exponents;
    const double sign = bits & 0x8000u ? -1 : 1;
    if (exponent == exponents)
      return mantissa ? std::nan("") : sign * std::numeric_limits<double>::infinity();
    return exponent
               ? sign * std::ldexp((1u << digits) + mantissa, static_cast<int>(exponent) - 1 + least - digits)
               : sign * std::ldexp(mantissa, least - digits);
  }
  double largest() const { return std::ldexp(2 - std::ldexp(1.0, -digits), most); }
  /// The nearest value, ties to the even mantissa; the largest one for what is finite and beyond it.
  double nearest(double x) const {
    if (x == 0 || !std::isfinite(x)) return x;
    const int exponent = std::max(std::ilogb(x), least);
    const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, digits - exponent)), exponent - digits);
    return std::copysign(std::min(std::abs(rounded), largest()), x);
  }
  /// The bits of a value of this format.
  std::uint32_t bits(double x) const {
    const std::uint32_t sign = std::signbit(x) ? 0x8000u : 0;
    if (std::isinf(x)) return sign | ((1u << (15 - digits)) - 1) << digits;
    if (x == 0) return sign;
    const int exponent = std::max(std::ilogb(x), least);
    const auto whole = static_cast<std::uint32_t>(std::ldexp(std::abs(x), digits - exponent));
    // A leading one counts one more in the exponent; a subnormal has none.
    return sign | ((static_cast<std::uint32_t>(exponent - least) << digits) + whole);
  }
};
inline constexpr Format binary16{10, -14, 15}, bfloat16{7, -126, 127};

/// The greatest number of `digits` significant digits that is at most x, and the least that is at least x.
inline double digits_down(double x, int digits) {
  if (x == 0) return x;
  const int exponent = std::max(std::ilogb(x), -126) - (digits - 1);
  return std::ldexp(std::floor(std::ldexp(x, -exponent)), exponent);
}
inline double digits_up(double x, int digits) { return -digits_down(-x, digits); }

/// Products, sums and differences in float, which no compiler fuses.
inline float times(float a, float b) {
  volatile float r = a * b;
  return r;
}
inline float plus(float a, float b) {
  volatile float r = a + b;
  return r;
}

/// A coder: `fit` sets the scale of a group, given its range (NaN, NaN: not finite), and returns the scale's bytes.
/// For a coder of one's own, its functions themselves.
template <class C>
struct Coder {
  using T = pcomp::detail::CoderTraits<C>;
  typename T::Scale scale{};
  std::vector<std::byte> fit(float lo, float hi) {
    scale = T::fit({lo, hi});
    std::vector<std::byte> bytes(sizeof scale);
    std::memcpy(bytes.data(), &scale, sizeof scale);
    return bytes;
  }
  std::uint32_t encode(float x, float noise) const { return T::encode(x, T::prepare(scale), noise); }
  float decode(std::uint32_t code) const { return T::decode(code, T::prepare(scale)); }
};

template <>
struct Coder<pcomp::ops::Float32> {
  std::vector<std::byte> fit(float, float) { return {}; }
  std::uint32_t encode(float x, float) const { return std::bit_cast<std::uint32_t>(x); }
  float decode(std::uint32_t code) const { return std::bit_cast<float>(code); }
};

/// A NaN keeps its sign and the upper bits of its mantissa, and becomes a quiet one.
template <const Format& format>
struct Coder16 {
  std::vector<std::byte> fit(float, float) { return {}; }
  std::uint32_t encode(float x, float) const {
    if (!std::isnan(x)) return format.bits(format.nearest(static_cast<double>(x)));
    const auto u = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t infinity = format.bits(std::numeric_limits<double>::infinity());
    return (u >> 31 << 15) | infinity | 1u << (format.digits - 1) | (u & 0x7fffffu) >> (23 - format.digits);
  }
  float decode(std::uint32_t code) const {
    if (!std::isnan(format.value(code))) return static_cast<float>(format.value(code));
    const std::uint32_t mantissa = code & ((1u << format.digits) - 1);
    const std::uint32_t quiet =
        &format == &bfloat16 ? 0 : 0x400000u;  // bfloat16's bits are a float's, as they are
    return std::bit_cast<float>((code & 0x8000u) << 16 | 0x7f800000u | quiet |
                                mantissa << (23 - format.digits));
  }
};
template <>
struct Coder<pcomp::ops::Half> : Coder16<binary16> {};
template <>
struct Coder<pcomp::ops::BFloat16> : Coder16<bfloat16> {};

template <>
struct Coder<pcomp::archetype::Sign> {
  std::vector<std::byte> fit(float, float) { return {}; }
  std::uint32_t encode(float x, float) const { return !std::isfinite(x) ? 3 : x < 0 ? 2 : x > 0 ? 1 : 0; }
  float decode(std::uint32_t code) const {
    const float values[] = {0, 1, -1, std::numeric_limits<float>::quiet_NaN()};
    return values[code & 3];
  }
};

template <class S, int Bits>
struct Coder<pcomp::ops::lowest::Step<S, Bits>> {
  static constexpr float s = static_cast<float>(static_cast<double>(S::num) / static_cast<double>(S::den));
  static constexpr int most = (1 << (Bits - 1)) - 1;
  std::vector<std::byte> fit(float, float) { return {}; }
  /// The largest q with q * s <= x, in float arithmetic.
  std::uint32_t encode(float x, float) const {
    if (!std::isfinite(x)) return 0;
    const double about = std::floor(static_cast<double>(x) / static_cast<double>(s));
    int q = static_cast<int>(std::clamp(about, -static_cast<double>(most), static_cast<double>(most)));
    while (q < most && times(static_cast<float>(q + 1), s) <= x) ++q;
    while (q > -most && times(static_cast<float>(q), s) > x) --q;
    return static_cast<std::uint32_t>(q + (1 << (Bits - 1)));
  }
  float decode(std::uint32_t code) const {
    if (code == 0) return std::numeric_limits<float>::quiet_NaN();
    return times(static_cast<float>(static_cast<int>(code) - (1 << (Bits - 1))), s);
  }
};

template <int Bits, class Groups, class Rounding>
struct Coder<pcomp::ops::Quant<Bits, Groups, Rounding>> {
  static constexpr bool whole = pcomp::detail::scale_group<Groups> == 0,
                        draws = std::is_same_v<Rounding, pcomp::Stochastic>;
  static constexpr int levels = (1 << Bits) - 1, step_digits = whole ? 24 - Bits : 8;
  static constexpr float top = std::numeric_limits<float>::max();
  float lo = 0, step = 0;
  bool halved = false;

  std::vector<std::byte> fit(float least, float greatest) {
    if (std::isnan(least)) {
      lo = std::numeric_limits<float>::quiet_NaN(), step = 0;
    } else {
      const double from = static_cast<double>(least);
      const double down = whole ? from : std::max(digits_down(from, 8), -bfloat16.largest());
      lo = static_cast<float>(down);
      const double wanted = std::max((static_cast<double>(greatest) - down) / levels, 2 * (down - from));
      const double largest = digits_down(static_cast<double>(top), step_digits);
      step = !(wanted > 0)
                 ? 0.0f
                 : static_cast<float>(std::max(0x1p-126, digits_up(std::min(wanted, largest), step_digits)));
    }
    halved =
        std::abs(static_cast<double>(lo)) + levels * static_cast<double>(step) > static_cast<double>(top);
    std::vector<std::byte> bytes(whole ? 8 : 4);
    for (std::size_t i = 0; i < 2; ++i) {
      const auto u = std::bit_cast<std::uint32_t>(i ? step : lo);
      for (std::size_t b = 0; b < bytes.size() / 2; ++b)
        bytes[i * bytes.size() / 2 + b] = static_cast<std::byte>(u >> (8 * (b + (whole ? 0 : 2))));
    }
    return bytes;
  }
  std::uint32_t encode(float x, float noise) const {
    if (std::isnan(lo) || std::isnan(x) || step == 0) return 0;
    const float half = halved ? 0.5f : 1.0f;
    const float inverse = 1.0f / times(step, half);
    const float t =
        std::clamp(times(plus(times(x, half), -times(lo, half)), inverse), 0.0f, static_cast<float>(levels));
    if (!draws) return static_cast<std::uint32_t>(std::nearbyint(t));
    return static_cast<std::uint32_t>(std::min(plus(t, noise), static_cast<float>(levels)));
  }
  float decode(std::uint32_t code) const {
    if (std::isnan(lo)) return lo;
    const float half = halved ? 0.5f : 1.0f;
    const float sum = plus(times(lo, half), times(static_cast<float>(code), times(step, half)));
    return std::min(sum, times(top, half)) / half;
  }
};

}  // namespace reference
