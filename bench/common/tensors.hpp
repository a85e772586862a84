#pragma once
#include <algorithm>
#include <cstdint>
#include <pcomp/base/shape.hpp>
#include <random>
#include <vector>

namespace bench {

/// The shape of a micro-batch of 2^log2 floats, in channels of 32x32 if it is large enough.
inline pcomp::Extents shape_of(int log2) {
  const std::int64_t n = std::int64_t{1} << log2;
  if (log2 >= 15) return {n >> 15, 32, 32, 32};
  if (log2 >= 10) return {1, n >> 10, 32, 32};
  return {1, 1, std::int64_t{1} << (log2 / 2), std::int64_t{1} << (log2 - log2 / 2)};
}

/// Normal random numbers; with `relu`, the negative half is 0, as after a ReLU.
inline void fill_normal(float* x, std::int64_t n, unsigned seed, bool relu) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (std::int64_t i = 0; i < n; ++i) x[i] = relu ? std::max(normal(random), 0.0F) : normal(random);
}

}  // namespace bench
