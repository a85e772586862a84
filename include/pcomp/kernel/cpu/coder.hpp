#pragma once
#include <cstdint>
#include <limits>

#include "../../codec/concepts.hpp"
#include "isa.hpp"

namespace pcomp::detail {

/// Elements that a kernel holds in the first-level cache at a time; a multiple of every group and pack block.
inline constexpr std::int64_t chunk = 2048;
/// Floats of room behind an array that vectors are stored to.
inline constexpr std::int64_t slack = 16;

template <CodeCodec C>
using CodeWord = std::conditional_t<(C::bits <= 8), std::uint8_t,
                                    std::conditional_t<(C::bits <= 16), std::uint16_t, std::uint32_t>>;

/// Coders whose codes and values follow from their Prepared as Quant's do.
template <class C>
inline constexpr bool is_affine = requires {
  requires C::affine;
};

/// Coders whose codes are multiples of a fixed step, as Step's are.
template <class C>
inline constexpr bool is_step = requires {
  requires C::stepwise;
};

/// Selections whose score is the magnitude's bits.
template <class S>
inline constexpr bool is_magnitude = requires {
  requires S::magnitude;
};

/// A score as a signed number of the same order.
template <SelectCodec S>
PCOMP_INLINE std::int32_t as_key(std::uint32_t score) {
  if constexpr (is_magnitude<S>)
    return static_cast<std::int32_t>(score);
  else
    return static_cast<std::int32_t>(score ^ 0x80000000u);
}

/// A well-mixed 32-bit hash (Wellons' lowbias32).
PCOMP_INLINE constexpr std::uint32_t mix(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

/// The seed of a block's noise: its scale, which changes with the data, and its place.
template <class Scale>
PCOMP_INLINE std::uint32_t noise_seed(const Scale& s, std::int64_t block) {
  std::uint32_t h = static_cast<std::uint32_t>(block) * 0x9e3779b9u + static_cast<std::uint32_t>(block >> 32);
  const auto* p = reinterpret_cast<const unsigned char*>(&s);
  for (std::size_t i = 0; i < sizeof s; ++i) h = (h ^ p[i]) * 0x01000193u;
  return mix(h);
}

PCOMP_INLINE Range joined(Range a, Range b) { return {b.lo < a.lo ? b.lo : a.lo, b.hi > a.hi ? b.hi : a.hi}; }

/// What a coder is fitted to: {0, 0} where there was no finite value.
PCOMP_INLINE Range settled(Range r) { return r.lo <= r.hi ? r : Range{}; }

/// A sum's NaN has a sign that depends on the order of its operands; the one that is sent does not.
PCOMP_INLINE float canonical(float x) { return x == x ? x : std::numeric_limits<float>::quiet_NaN(); }

}  // namespace pcomp::detail
