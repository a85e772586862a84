#pragma once
#include <cstdint>

#include "../base/device.hpp"
#include "../base/ratio.hpp"
#include "concepts.hpp"
#include "float_bits.hpp"

namespace pcomp::ops {

namespace lowest {

/// Rounds down to a multiple of s = N/D, sent as a saturating signed integer of `Bits` bits.
///
/// Law: decode(encode(x)) = q*s for the largest integer q with q*s <= x in float arithmetic, q clamped to
///   +-(2^(Bits-1) - 1); so 0 <= x - decode(encode(x)) < s inside that range, and encoding again changes nothing. NaN
///   and infinities decode to NaN: code 0 is kept for them.
/// Bytes: packed(n, Bits).
/// Shapes: any; s in the units of the tensor.
/// Refusals: a size of 0 or less; an unsupported bit width.
/// Source: step quantisation, x - (x mod s), of the GPipe compression study.
/// Example: examples/020-bytes
template <class S, int Bits>
struct Step : Composable {
  static_assert(refuse::step_size<(S::num > 0 && S::den > 0)>());
  static_assert(refuse::step_bit_width<((Bits >= 2 && Bits <= 8) || Bits == 16)>());
  static constexpr Role role = Role::code;
  static constexpr codec::FixedString name =
      codec::FixedString("Step<") + S::num + "/" + S::den + ", " + std::int64_t{Bits} + ">";
  static constexpr int bits = Bits;
  static constexpr float s = static_cast<float>(static_cast<double>(S::num) / static_cast<double>(S::den));
  static constexpr float most = static_cast<float>((1 << (Bits - 1)) - 1);
  static constexpr float least = -most;
  static constexpr std::int32_t bias = 1 << (Bits - 1);

  [[gnu::always_inline]] PCOMP_HD static constexpr std::uint32_t encode(float x) {
    // Floats throughout and no branches, so that it vectorises: adding 1.5 * 2^23 rounds to an integer.
    constexpr float inverse = 1 / s, round = 12582912.0f, last = 8388608.0f + static_cast<float>(bias);
    const float t = x * inverse;
    const float low = t > least ? t : least;
    const float in = low < most ? low : most;
    const float nearest = (in + round) - round;
    const float floor = nearest - (nearest * s > x ? 1.0f : 0.0f);
    const float q = floor > least ? floor : least;
    return detail::is_finite(x) ? detail::bits_as<std::uint32_t>(q + last) & 0xffffu : 0u;
  }
  [[gnu::always_inline]] PCOMP_HD static constexpr float decode(std::uint32_t code) {
    return code ? static_cast<float>(static_cast<std::int32_t>(code) - bias) * s : detail::float_nan;
  }
  /// The law's bound inside the range; outside it the value saturates.
  static constexpr double bound(double x) {
    const double lo = static_cast<double>(least) * static_cast<double>(s);
    const double hi = static_cast<double>(most) * static_cast<double>(s);
    const double over = x < lo ? lo - x : x > hi ? x - hi : 0;
    return over + static_cast<double>(s) + (x < 0 ? -x : x) * 0x1p-22;
  }
};

}  // namespace lowest

/// The same for any spelling of the size.
template <class S, int Bits = 8>
using Step = lowest::Step<typename S::lowest, Bits>;

}  // namespace pcomp::ops

namespace pcomp {

template <class S, int Bits = 8>
inline constexpr ops::Step<S, Bits> Step{};

}  // namespace pcomp
