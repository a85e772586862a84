#pragma once
#include "concepts.hpp"

namespace pcomp::archetype {

/// The smallest coder, to copy: one bit per element, its sign, and nothing else. PCOMP_HD lets the GPU call it too.
///
/// Law: |decode(encode(x)) - x| <= |x| + 1; NaN decodes to 1.
/// Bytes: packed(n, 1).
/// Source: Bernstein et al., "signSGD", ICML 2018.
/// Example: examples/030-your-own-codec
struct Sign : Composable {
  static constexpr Role role = Role::code;
  static constexpr Name name = "Sign";
  static constexpr int bits = 1;
  PCOMP_HD static constexpr std::uint32_t encode(float x) { return x < 0; }
  PCOMP_HD static constexpr float decode(std::uint32_t code) { return code ? -1.0f : 1.0f; }
  /// Optional: the bound that check_codec holds it to.
  static constexpr double bound(double x) { return (x < 0 ? -x : x) + 1; }
};

}  // namespace pcomp::archetype
