#pragma once
#include <cstdint>

namespace pcomp::kernel {

/// Which noise a `Stochastic` coder adds to one message: counter-based, so that any message can be reproduced.
///
/// Law: depends on its arguments alone, and is never 0. The receiver needs none of them.
/// Source: counter-based generators (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011); the mixer
///   is SplitMix64's (Steele, Lea and Flood, 2014).
/// Example: docs/feedback.md
constexpr std::uint64_t rng_counter(std::uint64_t boundary, bool gradient, std::uint64_t message) {
  std::uint64_t z = (2 * boundary + gradient + 1) * 0x9e3779b97f4a7c15u + message * 0xd1342543de82ef95u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  return z ? z : 1;
}

}  // namespace pcomp::kernel

namespace pcomp::detail {

/// Makes the noise of two messages differ where scale and position are the same; 0 for 0.
constexpr std::uint32_t fold_counter(std::uint64_t noise) {
  return static_cast<std::uint32_t>(noise ^ (noise >> 32));
}

}  // namespace pcomp::detail
