#pragma once
#include "concepts.hpp"
#include "float_bits.hpp"
#include "scope.hpp"

namespace pcomp {

/// Rounds to the nearest code, ties to even.
struct Nearest {};
/// Rounds up with a probability equal to the fraction. The noise is a hash of `TensorView::noise`, scale and position: the same
/// for any number of threads and instruction set, different for every message, known to the sender alone.
struct Stochastic {};

}  // namespace pcomp

namespace pcomp::detail {

/// The greatest float <= x whose low `drop` bits are zero, and likewise the least one >= x, for finite x.
PCOMP_HD constexpr float truncate_down(float x, int drop) {
  std::uint32_t u = bits_as<std::uint32_t>(x), mask = (1u << drop) - 1;
  if ((u >> 31) && (u & mask)) u += mask;
  return bits_as<float>(u & ~mask);
}
PCOMP_HD constexpr float truncate_up(float x, int drop) { return -truncate_down(-x, drop); }

/// Two scale formats with one meaning: value = lo + code * step.
struct ScaleBf16 {
  std::uint16_t lo, step;
  PCOMP_HD static constexpr int step_drop(int) { return 16; }
  static constexpr int lo_drop = 16;
  PCOMP_HD static constexpr ScaleBf16 of(float lo, float step) {
    return {static_cast<std::uint16_t>(bits_as<std::uint32_t>(lo) >> 16),
            static_cast<std::uint16_t>(bits_as<std::uint32_t>(step) >> 16)};
  }
  PCOMP_HD constexpr float lo_value() const { return from_bf16(lo); }
  PCOMP_HD constexpr float step_value() const { return from_bf16(step); }
};
struct ScaleF32 {
  float lo, step;
  PCOMP_HD static constexpr int step_drop(int bits) { return bits; }
  static constexpr int lo_drop = 0;
  PCOMP_HD static constexpr ScaleF32 of(float lo, float step) { return {lo, step}; }
  PCOMP_HD constexpr float lo_value() const { return lo; }
  PCOMP_HD constexpr float step_value() const { return step; }
};

}  // namespace pcomp::detail

namespace pcomp::ops {

/// Min-max affine quantisation to `Bits` bits.
///
/// Law: |decode(encode(x)) - x| <= step/2 (Nearest) or step (Stochastic), up to the rounding of one float
///   operation, for every finite x of a group with that stored step; step where it is the largest of its format,
///   as with one bit for a group wider than the float range. A group that holds a NaN or an infinity decodes to NaN.
/// Bytes: packed(n, Bits) + 4 per PerGroup<N>, or + 8 once for PerTensor.
/// Shapes: any; Bits 1..8 or 16. The step has so few significant bits that code * step is exact in float: the
///   bytes and the values do not depend on whether the machine fuses multiply and add.
/// Refusals: another bit width; a group that is not 128, 256, 512, 1024 or 2048.
/// Source: Jacob et al., "Quantization and Training of Neural Networks", CVPR 2018; QSGD (Alistarh et al.,
///   2017) for Stochastic.
/// Example: examples/020-bytes
template <int Bits, class Groups = PerGroup<128>, class Rounding = Nearest>
struct Quant : Composable {
  static_assert(refuse::bit_width<((Bits >= 1 && Bits <= 8) || Bits == 16)>());
  static constexpr Role role = Role::code;
  static constexpr std::int64_t group = detail::scale_group<Groups>;
  static_assert(refuse::group_size<(group == 0 || (group > 0 && detail::is_group_size(group)))>());
  static constexpr codec::FixedString name = codec::FixedString("Quant<") + std::int64_t{Bits} +
                                             detail::scope_name<Groups, PerGroup<128>> +
                                             (std::is_same_v<Rounding, Stochastic> ? ", Stochastic>" : ">");
  static constexpr int bits = Bits;
  static constexpr bool stochastic = std::is_same_v<Rounding, Stochastic>;
  static constexpr float levels = static_cast<float>((1 << Bits) - 1);

  using Scale = std::conditional_t<group == 0, detail::ScaleF32, detail::ScaleBf16>;

  /// The largest step that a Scale can hold: with one bit, a group may ask for up to twice the float range.
  static constexpr double largest_step =
      static_cast<double>(detail::truncate_down(detail::float_max, Scale::step_drop(Bits)));

  PCOMP_HD static constexpr Scale fit(codec::Range r) {
    using detail::truncate_down, detail::truncate_up;
    if (!(r.lo <= r.hi)) return Scale::of(detail::float_nan, 0);
    constexpr float lowest = -truncate_down(detail::float_max, Scale::lo_drop);
    const float down = truncate_down(r.lo, Scale::lo_drop);
    const float lo = down < lowest ? lowest : down;  // rounding down may have reached -inf
    // Both ends lie within half a step of a code: hi by width, lo where it could not be rounded down.
    const double width = static_cast<double>(r.hi) - static_cast<double>(lo);
    const double below = 2 * (static_cast<double>(lo) - static_cast<double>(r.lo));
    const double wanted = width / levels > below ? width / levels : below;
    const double least = wanted < largest_step ? wanted : largest_step;
    if (!(least > 0)) return Scale::of(lo, 0);
    float step = static_cast<float>(least);
    if (static_cast<double>(step) < least)
      step = detail::bits_as<float>(detail::bits_as<std::uint32_t>(step) + 1);
    step = truncate_up(step, Scale::step_drop(Bits));
    return Scale::of(lo, step < detail::float_min ? detail::float_min : step);
  }

  /// A group wider than the float range is computed at half scale, so that no intermediate overflows.
  struct Prepared {
    float lo, step, inverse, pre, post, top;
    bool within;  // no code's value leaves the float range
  };
  PCOMP_HD static constexpr Prepared prepare(Scale s) {
    const float lo = s.lo_value(), step = s.step_value();
    const double reach =
        static_cast<double>(levels) * static_cast<double>(step) + static_cast<double>(lo < 0 ? -lo : lo);
    const bool within = !(reach > static_cast<double>(detail::float_max));
    const float pre = within ? 1.0f : 0.5f;
    const float inverse = step > 0 ? 1 / (step * pre) : 0.0f;
    return {lo * pre, step * pre, inverse, pre, 1 / pre, detail::float_max * pre, within};
  }

  [[gnu::always_inline]] PCOMP_HD static constexpr std::uint32_t encode(float x, const Prepared& p)
    requires(!stochastic)
  {
    // Adding 2^23 rounds to an integer, ties to even, in the low bits of the float.
    return detail::bits_as<std::uint32_t>(clamped(x, p) + 8388608.0f) & 0xffffu;
  }
  [[gnu::always_inline]] PCOMP_HD static constexpr std::uint32_t encode(float x, const Prepared& p,
                                                                        float noise)
    requires stochastic
  {
    const float t = clamped(x, p) + noise;
    return static_cast<std::uint32_t>(static_cast<std::int32_t>(t < levels ? t : levels));
  }
  [[gnu::always_inline]] PCOMP_HD static constexpr float decode(std::uint32_t code, const Prepared& p) {
    const float v = p.lo + static_cast<float>(static_cast<std::int32_t>(code)) * p.step;
    return (v > p.top ? p.top : v) * p.post;  // a NaN stays one
  }

  /// The law's bound for a value of a group with this scale.
  static constexpr double bound(double x, Scale s) {
    const double step = static_cast<double>(s.step_value());
    return step * (stochastic || step >= largest_step ? 1.0 : 0.5) * (1 + 0x1p-6) +
           (x < 0 ? -x : x) * 0x1p-23 + 0x1p-149;
  }

 private:
  [[gnu::always_inline]] PCOMP_HD static constexpr float clamped(float x, const Prepared& p) {
    const float t = (x * p.pre - p.lo) * p.inverse;
    const float above = t > 0.0f ? t : 0.0f;  // NaN becomes 0
    return above < levels ? above : levels;
  }
};

}  // namespace pcomp::ops

namespace pcomp {

template <int Bits, class Groups = PerGroup<128>, class Rounding = Nearest>
inline constexpr ops::Quant<Bits, Groups, Rounding> Quant{};

}  // namespace pcomp
