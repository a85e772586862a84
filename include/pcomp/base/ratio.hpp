#pragma once
#include <cstdint>
#include <numeric>

#include "refuse.hpp"

namespace pcomp {

/// The exact fraction N/D.
///
/// Law: two spellings of one fraction have one `lowest` type, so they share every kernel.
/// Refusals: a denominator below 1; TopK refuses ratios outside (0, 1], Step those not above 0.
/// Example: examples/010-algebra
template <std::int64_t N, std::int64_t D>
struct Ratio {
  static_assert(refuse::ratio_denominator<(D > 0)>());
  static constexpr std::int64_t num = N / std::gcd(N, D);
  static constexpr std::int64_t den = D / std::gcd(N, D);
  using lowest = Ratio<num, den>;
  static constexpr double value = static_cast<double>(N) / static_cast<double>(D);

  /// floor(n * N / D), without overflow for N <= D and any n below 2^63 / D.
  static constexpr std::int64_t of(std::int64_t n) { return n / den * num + n % den * num / den; }
};

}  // namespace pcomp
