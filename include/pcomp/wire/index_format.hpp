#pragma once
#include <cstdint>

#include "packing.hpp"

namespace pcomp::detail {

/// The encoding of k ascending positions below n: nothing where all or none are kept, a bitmap, or
/// Elias-Fano.
///
/// Elias-Fano: position p with index i sets bit (p >> low_bits) + i of the high part; its low bits follow,
/// packed.
struct IndexFormat {
  enum Kind { none, bitmap, elias_fano } kind = none;
  int low_bits = 0;
  std::int64_t high_bytes = 0;  // of the bitmap, or of the high part
  std::int64_t low_at = 0;      // where the low part begins
  std::int64_t bytes = 0;
};

/// The smallest encoding; ties go to the bitmap, then to the fewest low bits.
constexpr IndexFormat index_format(std::int64_t n, std::int64_t k) {
  if (k == 0 || k == n) return {};
  IndexFormat best{IndexFormat::bitmap, 0, ceil_div(n, 8), 0, ceil_div(n, 8)};
  for (int low = 0; low < 32 && (low == 0 || (n - 1) >> (low - 1)); ++low) {
    const std::int64_t high = ceil_div(((n - 1) >> low) + k, 8);
    const std::int64_t at = low ? aligned(high) : high;
    const std::int64_t bytes = at + packed_bytes(k, low);
    if (bytes < best.bytes) best = {IndexFormat::elias_fano, low, high, at, bytes};
  }
  return best;
}

}  // namespace pcomp::detail
