#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

namespace bench {

/// Seconds that one call takes.
template <class F>
double seconds(F&& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> all) {
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  std::nth_element(all.begin(), middle, all.end());
  return *middle;
}

/// memcpy uses a second thread above this many elements: at::parallel_for's own grain.
inline constexpr std::int64_t copy_grain = 32768;

/// memcpy of n floats by the threads of `par`: what every ratio is relative to.
template <class Par>
void copy(const Par& par, const float* from, float* to, std::int64_t n) {
  const auto part = [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<std::size_t>(end - begin) * sizeof(float));
  };
  if (n > copy_grain)
    par(n, copy_grain, part);
  else
    part(0, n);
}

}  // namespace bench
