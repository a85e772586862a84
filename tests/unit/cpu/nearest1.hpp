#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <pcomp/core.hpp>
#include <vector>

/// A user's selection: a seventh of every segment, those nearest to 1; of equal ones every third position goes first.
/// Its score is no magnitude, fills all 32 bits and depends on the position. One segment for each index of the first
/// dimension; of one dimension a little more than a third, so that the last one is shorter.
struct Nearest1 : pcomp::Composable {
  static constexpr pcomp::Role role = pcomp::Role::select;
  static constexpr pcomp::codec::FixedString name = "Nearest1";
  static constexpr std::int64_t segment(const pcomp::Extents& e) {
    return e.rank() > 1 ? e.size() / e[0] : e.size() / 3 + 5;
  }
  static constexpr std::int64_t keep(std::int64_t n) { return (n + 6) / 7; }
  PCOMP_HD static constexpr std::uint32_t score(float x, std::int64_t i) {
    const float d = x < 1 ? 1 - x : x - 1;
    const float capped = d < 4095.0f ? d : 4095.0f;
    return (4095u - static_cast<std::uint32_t>(static_cast<std::int32_t>(capped))) << 20 |
           (i % 3 == 0 ? 0xfffffu : 1u);
  }
};

/// Kind 0: many scores; 1: few, so that ties are everywhere; 2: the best lie where no sample looks.
inline std::vector<float> nearest1_values(std::int64_t n, int kind) {
  std::vector<float> x(static_cast<std::size_t>(n));
  std::uint32_t state = 12;
  for (std::size_t i = 0; i < x.size(); ++i) {
    state = state * 1664525u + 1013904223u;
    const float v = static_cast<float>(static_cast<std::int32_t>(state)) * 0x1p-31f;
    x[i] = kind == 1 ? static_cast<float>(static_cast<int>(v * 3)) : v * 5000;
    if (kind == 2 && i % 513 > 100 && i % 513 < 160) x[i] = 1 + v;
  }
  return x;
}

/// What a stable sort by the definition in words keeps; zeros elsewhere.
inline std::vector<float> nearest1_kept(const std::vector<float>& x, std::int64_t segment) {
  std::vector<float> y(x.size());
  const auto n = static_cast<std::int64_t>(x.size());
  for (std::int64_t begin = 0; begin < n; begin += segment) {
    const std::int64_t size = std::min(segment, n - begin);
    std::vector<std::pair<std::pair<int, int>, std::size_t>> order;  // whole distance, then place, then index
    for (std::int64_t i = begin; i < begin + size; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const int distance =
          static_cast<int>(std::min(4095.0, std::floor(std::abs(static_cast<double>(x[at]) - 1))));
      order.push_back({{distance, i % 3 != 0}, at});
    }
    std::sort(order.begin(), order.end());
    for (std::int64_t r = 0; r < (size + 6) / 7; ++r)
      y[order[static_cast<std::size_t>(r)].second] = x[order[static_cast<std::size_t>(r)].second];
  }
  return y;
}
