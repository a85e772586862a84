#pragma once
#include <algorithm>
#include <cmath>
#include <numbers>

#include "options.hpp"

namespace cifar {

/// The learning rate of a step: a linear warm-up, at most a fifth of the run, then a cosine to 0.
///
/// Source: Goyal et al., 2017 (warm-up); SGDR (Loshchilov and Hutter, 2017), without restarts.
inline double learning_rate(const Settings& s, std::int64_t step, std::int64_t steps_per_epoch) {
  const auto all = static_cast<double>(steps_per_epoch * s.epochs);
  const double warmup = std::min(static_cast<double>(steps_per_epoch * s.warmup), all / 5);
  const auto now = static_cast<double>(step);
  if (now < warmup) return s.lr * std::min(1.0, (now + 1) / warmup);
  return s.lr * 0.5 * (1 + std::cos(std::numbers::pi * (now - warmup) / std::max(1.0, all - warmup)));
}

}  // namespace cifar
