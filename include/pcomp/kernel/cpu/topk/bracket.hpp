#pragma once
#include <cmath>

#include "../scratch.hpp"
#include "../simd/simd.hpp"

namespace pcomp::detail {

/// A segment of at most this many elements is gathered whole instead of sampled.
inline constexpr std::int64_t gathered_whole = 8 * chunk;
/// The fewest pieces worth another thread, and how many threads then share n elements.
inline constexpr std::int64_t sweep_grain = 16;
inline std::int64_t sweep_writers(std::int64_t n) {
  return std::clamp<std::int64_t>(n / (sweep_grain * chunk), 1, 64);
}
/// The length of a run of consecutive elements that are sampled together, and how many runs sample n elements.
inline constexpr std::int64_t sample_run = 16;
inline std::int64_t sample_runs(std::int64_t n) { return std::clamp<std::int64_t>(n / 512, 128, 4096); }

/// The fewest runs, and the fewest pieces whose gathered keys hold the cut, that are worth another thread.
inline constexpr std::int64_t runs_grain = 1024, cut_grain = 512;

/// Half the ranks that a bracket spans among m sampled keys, `share` of which survive.
/// Neighbours are correlated, so a run counts for less than its length: twice the width of 4 sigma.
inline double half_bracket(std::int64_t m, double share) {
  return 8 * std::sqrt(static_cast<double>(m) * share * (1 - share)) + 8;
}
/// The whole width, as a share of all ranks.
inline double bracket_width(std::int64_t m, double share) {
  return 2 * half_bracket(m, share) / static_cast<double>(m);
}

/// Two keys between which the cut almost surely lies, and the expected share of all keys there.
struct Bracket {
  std::int32_t lo, hi;
  double inside;
};

/// From m sampled keys, `share` of which survive; overwrites them and needs room for a vector past their end.
inline Bracket bracket_of(std::int32_t* sample, std::int64_t m, double share) {
  constexpr auto least = std::numeric_limits<std::int32_t>::min(),
                 most = std::numeric_limits<std::int32_t>::max();
  const double half = half_bracket(m, share), middle = static_cast<double>(m) * share;
  const auto from = static_cast<std::int64_t>(middle - half),
             to = static_cast<std::int64_t>(middle + half) + 1;
  Bracket b{least, most, bracket_width(m, share)};
  if (to > m && from < 1) return b;
  const std::array<std::int64_t, 2> rank{std::max<std::int64_t>(from, 1), std::min(to, m)};
  Scratch frame;
  const auto key = PCOMP_DISPATCH(two_highest)(sample, frame.take<std::int32_t>(m + slack).data(), m, rank);
  if (from >= 1) b.hi = key[0];
  if (to <= m) b.lo = key[1];
  return b;
}

}  // namespace pcomp::detail
