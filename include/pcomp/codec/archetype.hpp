#pragma once
#include "concepts.hpp"
#include "float_bits.hpp"

namespace pcomp::archetype {

/// The smallest coder, to copy: two bits per element, its sign, and nothing else. PCOMP_HD lets the GPU call it too.
///
/// Law: decodes to -1, 0 or 1, so |decode(encode(x)) - x| <= |x| + 1; NaN and infinities decode to NaN.
/// Bytes: packed(n, 2).
/// Source: Bernstein et al., "signSGD", ICML 2018.
/// Example: examples/030-your-own-codec
struct Sign : Composable {
  static constexpr Role role = Role::code;
  static constexpr FixedString name = "Sign";
  static constexpr int bits = 2;
  PCOMP_HD static constexpr std::uint32_t encode(float x) {
    return !detail::is_finite(x) ? 3u : x < 0 ? 2u : x > 0 ? 1u : 0u;
  }
  PCOMP_HD static constexpr float decode(std::uint32_t code) {
    return code == 3 ? detail::float_nan : code == 2 ? -1.0f : static_cast<float>(static_cast<int>(code));
  }
  /// Optional: the bound that check_codec holds it to.
  static constexpr double bound(double x) { return (x < 0 ? -x : x) + 1; }
};

}  // namespace pcomp::archetype
