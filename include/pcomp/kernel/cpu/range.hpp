#pragma once
#include <cstring>
#include <limits>

#include "../../codec/concepts.hpp"
#include "isa.hpp"

namespace pcomp::detail {

using Float16Lanes = float __attribute__((vector_size(64)));

/// The range of the finite values among n, lo > hi where there are none; -0 counts as 0, so that the order of
/// reading does not show.
struct FiniteRange {
  PCOMP_INLINE static Range run(const float* v, std::int64_t n) {
    constexpr float inf = std::numeric_limits<float>::infinity(), max = std::numeric_limits<float>::max();
    float lo = inf, hi = -inf;
    std::int64_t i = 0;
    if (n >= 16) {
      Float16Lanes low = Float16Lanes{} + inf, high = Float16Lanes{} - inf;
      for (; i + 16 <= n; i += 16) {
        Float16Lanes x;
        std::memcpy(&x, v + i, sizeof x);
        low = x < low ? x : low;  // false for NaN
        high = x > high ? x : high;
      }
      for (int l = 0; l < 16; ++l) {
        lo = low[l] < lo ? low[l] : lo;
        hi = high[l] > hi ? high[l] : hi;
      }
    }
    for (; i < n; ++i) {
      lo = v[i] < lo ? v[i] : lo;
      hi = v[i] > hi ? v[i] : hi;
    }
    if (lo < -max || hi > max) {  // an infinity took part: once more without
      lo = inf, hi = -inf;
      for (i = 0; i < n; ++i)
        if (v[i] >= -max && v[i] <= max) {
          lo = v[i] < lo ? v[i] : lo;
          hi = v[i] > hi ? v[i] : hi;
        }
    }
    return {lo + 0.0f, hi + 0.0f};
  }
};

PCOMP_INLINE Range joined(Range a, Range b) { return {b.lo < a.lo ? b.lo : a.lo, b.hi > a.hi ? b.hi : a.hi}; }

/// What a coder is fitted to: {0, 0} where there was no finite value.
PCOMP_INLINE Range settled(Range r) { return r.lo <= r.hi ? r : Range{}; }

}  // namespace pcomp::detail
